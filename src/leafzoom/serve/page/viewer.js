// The photo with the boxes that were looked into, and the way from the whole leaf into them.

const COLOURS = ["#0072b2", "#e69f00", "#cc79a7"];
const NAMES = ["the whole leaf", "the first zoom", "the second zoom", "the third zoom"];
const PLAY_MS = 1500; // from one look to the next
const PAUSE_MS = 700;

const mix = (a, b, t) => a + (b - a) * t;
const ease = (t) => t * t * (3 - 2 * t);

// The rectangle of the photo that is shown at a place of the slider: boxes are squares of the squashed source, so
// they have the photo's own shape, and the way from one to the next keeps it.
export function frameAt(boxes, place) {
  const index = Math.min(Math.floor(place), boxes.length - 2);
  const t = place - index;
  const [from, to] = [boxes[index], boxes[index + 1]];
  const shrink = (to[2] - to[0]) / (from[2] - from[0]);
  const side = shrink ** t; // the same factor in the same time
  const share = shrink === 1 ? t : (1 - side) / (1 - shrink);
  return [0, 1, 2, 3].map((edge) => mix(from[edge], to[edge], share));
}

export class Viewer {
  constructor(canvas, slider, play, caption, picture, said, still) {
    Object.assign(this, { canvas, slider, play, caption, picture, still });
    this.boxes = said.scales.map((scale) => scale.box);
    this.slider.max = String(this.boxes.length - 1);
    this.canvas.style.setProperty("aspect-ratio", `${picture.width} / ${picture.height}`);
    slider.addEventListener("keydown", (pressed) => {
      const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[pressed.key];
      if (!way) return;
      pressed.preventDefault(); // a quarter of the way to the next look, not a hundredth
      this.stop();
      this.slider.value = String(Math.round(4 * this.place + way) / 4);
      this.draw();
    });
    slider.addEventListener("input", () => {
      this.stop();
      this.draw();
    });
    play.addEventListener("click", () => (this.timer ? this.stop() : this.run()));
    this.size = new ResizeObserver(() => this.draw());
    this.size.observe(canvas);
    this.sight = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      this.sight.disconnect();
      if (!this.still) setTimeout(() => this.run(), PAUSE_MS);
    }, { threshold: 0.5 });
  }

  // Draw, and play once as soon as it is seen.
  start() {
    this.draw();
    this.sight.observe(this.canvas);
  }

  close() {
    this.stop();
    this.size.disconnect();
    this.sight.disconnect();
    this.picture.close();
    this.picture = null;
  }

  get place() {
    return Number(this.slider.value);
  }

  stop() {
    cancelAnimationFrame(this.timer);
    this.timer = 0;
    this.play.textContent = "▶";
    this.play.setAttribute("aria-label", "Play: look closer");
  }

  run() {
    if (!this.picture) return;
    const last = this.boxes.length - 1;
    const first = this.place >= last ? 0 : this.place;
    let started;
    this.play.textContent = "❚❚";
    this.play.setAttribute("aria-label", "Pause");
    const step = (now) => {
      started ??= now;
      const legs = (now - started) / (PLAY_MS + PAUSE_MS) + Math.floor(first);
      const within = Math.min(((legs % 1) * (PLAY_MS + PAUSE_MS)) / PLAY_MS, 1);
      const wanted = this.still ? Math.round(legs) : Math.floor(legs) + ease(within);
      this.slider.value = String(Math.min(wanted, last));
      this.draw();
      if (wanted >= last) this.stop();
      else this.timer = requestAnimationFrame(step);
    };
    this.timer = requestAnimationFrame(step);
  }

  draw() {
    const { canvas, picture, boxes, place } = this;
    if (!picture) return;
    const shown = Math.min(canvas.clientWidth / picture.width, canvas.clientHeight / picture.height);
    const sharpness = shown * Math.min(devicePixelRatio, 2);
    const wide = Math.max(1, Math.round(picture.width * sharpness));
    const high = Math.max(1, Math.round(picture.height * sharpness));
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    const [x0, y0, x1, y1] = frameAt(boxes, place);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(picture, x0, y0, x1 - x0, y1 - y0, 0, 0, wide, high);
    const factor = wide / (x1 - x0);
    outline(pen, boxes, (x, y) => [(x - x0) * factor, ((y - y0) * high) / (y1 - y0)], Math.max(2, wide / 220));
    this.caption.textContent = NAMES[Math.round(place)] ?? "";
    this.slider.setAttribute("aria-valuetext", NAMES[Math.round(place)] ?? "");
  }
}

// A part of the photo as a picture of its own.
export function cut(picture, [x0, y0, x1, y1], name) {
  const canvas = document.createElement("canvas");
  const shrink = Math.min(640 / (x1 - x0), 480 / (y1 - y0));
  [canvas.width, canvas.height] = [x1 - x0, y1 - y0].map((side) => Math.max(1, Math.round(side * shrink)));
  canvas.className = "cut";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, x0, y0, x1 - x0, y1 - y0, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function outline(pen, boxes, onto, width) {
  pen.lineWidth = width;
  pen.lineJoin = "round";
  for (const [number, box] of boxes.slice(1).entries()) {
    const [left, top] = onto(box[0], box[1]);
    const [right, bottom] = onto(box[2], box[3]);
    pen.strokeStyle = "rgb(255 255 255 / 75%)";
    pen.strokeRect(left - width / 2, top - width / 2, right - left + width, bottom - top + width);
    pen.strokeStyle = COLOURS[number % COLOURS.length];
    pen.strokeRect(left, top, right - left, bottom - top);
  }
}

// The photo with its boxes and the zooms beside it, as a PNG without the camera's data.
export async function annotated(picture, said, title) {
  const boxes = said.scales.map((scale) => scale.box);
  const shrink = Math.min(480 / picture.height, 900 / picture.width);
  const [wide, high] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * shrink)));
  const column = Math.max(wide, 160);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [boxes.length * (column + 12) + 12, high + 84];
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "#1d241b";
  pen.font = "600 24px system-ui, sans-serif";
  pen.fillText(`${title} · ${said.photo}`, 12, 34, canvas.width - 24);
  pen.font = "16px system-ui, sans-serif";
  boxes.forEach(([x0, y0, x1, y1], place) => {
    const left = 12 + place * (column + 12);
    pen.drawImage(picture, x0, y0, x1 - x0, y1 - y0, left, 48, wide, high);
    if (place === 0) outline(pen, boxes, (x, y) => [left + (x * wide) / picture.width, 48 + (y * high) / picture.height], 4);
    pen.fillText(NAMES[place] ?? "", left, high + 72);
  });
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
