// The viewfinder: a frame for the leaf, advice before the shot, up to six leaves in a row.

import { byId, make } from "./dom.js";
import { adviceFor, SAMPLE_SIDE } from "./frame-quality.js";
import { t } from "./messages.js";

const MAX_SHOTS = 6;
const ADVICE_MS = 250; // from one look at the picture to the next
const JPEG_QUALITY = 0.95;
const FRAME_SHARE = 0.5; // of the shorter side, around the middle: what is judged

// Let the reader take photos, and give them as files; none if the camera is closed or not there.
export async function openCamera(onProblem) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false,
      video: { facingMode: "environment", width: { ideal: 4096 }, height: { ideal: 3072 } },
    });
  } catch (error) {
    onProblem(t(error?.name === "NotAllowedError" ? "camera.refused" : "camera.missing"));
    return [];
  }
  return new Finder(stream).run();
}

class Finder {
  constructor(stream) {
    this.stream = stream;
    this.shots = [];
    this.encoding = Promise.resolve();
    this.video = byId("finder-video");
    this.canvas = document.createElement("canvas");
    this.canvas.width = SAMPLE_SIDE;
    this.canvas.height = SAMPLE_SIDE;
    this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  async run() {
    const dialog = byId("finder");
    this.video.srcObject = this.stream;
    dialog.showModal();
    this.showShots();

    const timer = setInterval(() => this.advise(), ADVICE_MS);
    const listening = new AbortController();
    const files = await new Promise((resolve) => {
      const on = (element, type, action) =>
        element.addEventListener(type, action, { signal: listening.signal });
      on(byId("finder-shoot"), "click", async () => {
        await this.shoot();
        if (this.shots.length === MAX_SHOTS) resolve(this.shots);
      });
      on(byId("finder-undo"), "click", () => {
        this.shots.pop();
        this.showShots();
      });
      on(byId("finder-done"), "click", () => this.encoding.then(() => resolve(this.shots)));
      on(byId("finder-close"), "click", () => resolve([]));
      on(dialog, "cancel", () => resolve([]));
      this.video.play().catch(() => resolve([]));
    });

    clearInterval(timer);
    listening.abort();
    for (const track of this.stream.getTracks()) track.stop();
    this.video.srcObject = null;
    this.clearShots();
    dialog.close();
    return files;
  }

  // Say what would make the photo better, before it is taken.
  advise() {
    const { video, pen } = this;
    const { videoWidth: width, videoHeight: height } = video;
    if (!width) return;
    const side = FRAME_SHARE * Math.min(width, height);
    const left = (width - side) / 2;
    const top = (height - side) / 2;
    pen.drawImage(video, left, top, side, side, 0, 0, SAMPLE_SIDE, SAMPLE_SIDE);
    const { data } = pen.getImageData(0, 0, SAMPLE_SIDE, SAMPLE_SIDE);
    const advice = adviceFor(data, SAMPLE_SIDE);
    const text = t(`camera.${advice}`);
    if (byId("finder-advice").textContent !== text) byId("finder-advice").textContent = text;
    byId("finder").dataset.advice = advice;
  }

  // The picture is that of the click; it is encoded after those before it, and keeps its place.
  shoot() {
    const { video } = this;
    if (!video.videoWidth) return this.encoding;
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    navigator.vibrate?.(30);
    this.encoding = this.encoding.then(() => this.keep(canvas));
    return this.encoding;
  }

  async keep(canvas) {
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
    if (!blob || this.shots.length >= MAX_SHOTS) return;

    const number = this.shots.length + 1;
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    this.shots.push(new File([blob], `leaf-${stamp}-${number}.jpg`, { type: "image/jpeg" }));
    this.showShots();
  }

  showShots() {
    this.clearShots();
    for (const [index, shot] of this.shots.entries()) {
      const image = make("img");
      image.src = URL.createObjectURL(shot);
      image.alt = t("camera.shot", { number: index + 1 });
      byId("finder-shots").append(image);
    }
    byId("finder-count").textContent = `${this.shots.length} / ${MAX_SHOTS}`;
    byId("finder-undo").disabled = !this.shots.length;
    byId("finder-done").disabled = !this.shots.length;
  }

  clearShots() {
    for (const image of byId("finder-shots").children) URL.revokeObjectURL(image.src);
    byId("finder-shots").replaceChildren();
  }
}
