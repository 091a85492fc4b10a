// The photo with the zooms' boxes, and the way from the whole leaf into them.

import { lookName, looksOf, outlineZooms } from "./drawing.js";
import { drawEvidence, labelPictures } from "./evidence.js";
import { t } from "./messages.js";

const PLAY_MS = 1500; // from one look to the next
const PAUSE_MS = 700; // at each look
const LEG_MS = PLAY_MS + PAUSE_MS;

const KEY_DIRECTIONS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
const KEY_STEPS_PER_LOOK = 4;

const MAX_PIXEL_RATIO = 2;
const MIN_LINE_WIDTH = 2;
const LINES_PER_WIDTH = 220; // of the boxes' lines beside each other across the view

const mix = (a, b, t) => a + (b - a) * t;
const ease = (t) => t * t * (3 - 2 * t);

// The rectangle of the photo to show at a slider position: 0 for the whole leaf, 1 for the first
// zoom, and so on. Boxes are squares of the squashed source, so each has the photo's own shape, and
// every frame between two boxes keeps it.
export function frameAt(boxes, position) {
  const index = Math.min(Math.floor(position), boxes.length - 2);
  const t = position - index;
  const from = boxes[index];
  const to = boxes[index + 1];

  // The side shrinks by the same factor in the same time.
  const shrink = (to[2] - to[0]) / (from[2] - from[0]);
  const side = shrink ** t;
  const share = shrink === 1 ? t : (1 - side) / (1 - shrink);
  return [0, 1, 2, 3].map((edge) => mix(from[edge], to[edge], share));
}

export class Viewer {
  // canvas, slider, playButton, caption: elements of the card. picture: the photo, an ImageBitmap
  // that the viewer closes. prediction: of the photo. reducedMotion: jump from look to look.
  constructor({ canvas, slider, playButton, caption, picture, prediction, reducedMotion }) {
    Object.assign(this, { canvas, slider, playButton, caption, picture, reducedMotion });
    this.looks = looksOf(prediction);
    this.boxes = this.looks.map((look) => look.box);
    this.evidence = prediction.evidence;
    this.evidencePictures = null;
    this.animation = 0;
    this.playButton.setAttribute("aria-label", t("card.play"));

    this.slider.max = String(this.boxes.length - 1);
    this.canvas.style.setProperty("aspect-ratio", `${picture.width} / ${picture.height}`);
    this.listen();
    this.observe();
  }

  listen() {
    this.slider.addEventListener("keydown", (event) => this.step(event));
    this.slider.addEventListener("input", () => {
      this.stop();
      this.draw();
    });
    this.playButton.addEventListener("click", () => {
      if (this.animation) this.stop();
      else this.play();
    });
  }

  observe() {
    this.sizeObserver = new ResizeObserver(() => this.draw());
    this.sizeObserver.observe(this.canvas);

    this.sightObserver = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        this.sightObserver.disconnect();
        if (!this.reducedMotion) setTimeout(() => this.play(), PAUSE_MS);
      },
      { threshold: 0.5 },
    );
  }

  // Draw, and play once as soon as the view is on the screen.
  start() {
    this.draw();
    this.sightObserver.observe(this.canvas);
  }

  close() {
    this.stop();
    this.sizeObserver.disconnect();
    this.sightObserver.disconnect();
    this.picture.close();
    this.picture = null;
  }

  get position() {
    return Number(this.slider.value);
  }

  // An arrow key moves by a quarter of the way to the next look, not by the slider's hundredth.
  step(event) {
    const direction = KEY_DIRECTIONS[event.key];
    if (!direction) return;

    event.preventDefault();
    this.stop();
    const quarters = Math.round(KEY_STEPS_PER_LOOK * this.position + direction);
    this.slider.value = String(quarters / KEY_STEPS_PER_LOOK);
    this.draw();
  }

  stop() {
    cancelAnimationFrame(this.animation);
    this.animation = 0;
    this.playButton.textContent = "▶";
    this.playButton.setAttribute("aria-label", t("card.play"));
  }

  // Play from the current look to the last one; from the start if the slider is at the end.
  play() {
    if (!this.picture) return;

    const last = this.boxes.length - 1;
    const first = this.position >= last ? 0 : Math.floor(this.position);
    this.playButton.textContent = "❚❚";
    this.playButton.setAttribute("aria-label", t("card.pause"));

    let started;
    const drawFrame = (now) => {
      started ??= now;
      const legs = first + (now - started) / LEG_MS;
      const progress = Math.min(((legs % 1) * LEG_MS) / PLAY_MS, 1);
      const moving = Math.floor(legs) + ease(progress);
      const position = this.reducedMotion ? Math.round(legs) : moving;

      this.slider.value = String(Math.min(position, last));
      this.draw();
      if (position >= last) this.stop();
      else this.animation = requestAnimationFrame(drawFrame);
    };
    this.animation = requestAnimationFrame(drawFrame);
  }

  // Show what speaks for a label; with null, the photo alone.
  showEvidence(label) {
    this.evidencePictures = label === null ? null : labelPictures(this.evidence, label);
    this.draw();
  }

  draw() {
    const { canvas, picture, boxes, position } = this;
    if (!picture) return;
    this.fitCanvas();

    const [x0, y0, x1, y1] = frameAt(boxes, position);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, x0, y0, x1 - x0, y1 - y0, 0, 0, canvas.width, canvas.height);

    const toCanvas = (x, y) => [
      ((x - x0) * canvas.width) / (x1 - x0),
      ((y - y0) * canvas.height) / (y1 - y0),
    ];
    const index = Math.round(position);
    if (this.evidencePictures) {
      // The closest look has no map of its own: the last scale's goes on.
      const number = Math.min(index, this.evidencePictures.length - 1);
      const [left, top] = toCanvas(boxes[number][0], boxes[number][1]);
      const [right, bottom] = toCanvas(boxes[number][2], boxes[number][3]);
      drawEvidence(pen, this.evidencePictures[number], [left, top, right - left, bottom - top]);
    }

    const lineWidth = Math.max(MIN_LINE_WIDTH, canvas.width / LINES_PER_WIDTH);
    outlineZooms(pen, boxes, toCanvas, lineWidth);

    const name = lookName(this.looks[index].name);
    this.caption.textContent = name;
    this.slider.setAttribute("aria-valuetext", name);
  }

  // Give the canvas the pixels that the screen shows of it.
  fitCanvas() {
    const { canvas, picture } = this;
    const scale = Math.min(
      canvas.clientWidth / picture.width,
      canvas.clientHeight / picture.height,
    );
    const sharpScale = scale * Math.min(devicePixelRatio, MAX_PIXEL_RATIO);
    const width = Math.max(1, Math.round(picture.width * sharpScale));
    const height = Math.max(1, Math.round(picture.height * sharpScale));

    // Setting a side clears the canvas.
    if (canvas.width === width && canvas.height === height) return;
    canvas.width = width;
    canvas.height = height;
  }
}
