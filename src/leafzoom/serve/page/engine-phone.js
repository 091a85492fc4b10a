// The engine for a page without a server: this device's own processor, by WebAssembly in a worker.

import { pool } from "./decision.js";
import { t } from "./messages.js";

const MAX_PHOTOS = 6;
const MAX_BYTES = 100 * 2 ** 20;
const PHOTO_TIMEOUT_MS = 120_000; // a photo that takes longer hangs

export class PhoneEngine {
  constructor({ threads } = {}) {
    this.kind = "phone";
    this.limits = {
      photos: MAX_PHOTOS,
      photo_bytes: MAX_BYTES,
      request_bytes: MAX_PHOTOS * MAX_BYTES,
    };
    this.wantedThreads = threads;
    this.worker = null;
    this.calls = new Map();
    this.nextId = 1;
    this.opening = null;
  }

  // Opens the worker once; what fails may be tried again.
  open() {
    this.opening ??= this.start().catch((error) => {
      this.stop();
      throw error;
    });
    return this.opening;
  }

  async start() {
    this.worker = new Worker(new URL("./phone-worker.js", import.meta.url), { type: "module" });
    this.worker.addEventListener("message", ({ data }) => {
      const call = this.calls.get(data.id);
      this.calls.delete(data.id);
      if (data.error === undefined) call?.resolve(data.result);
      else call?.reject(new Error(data.error));
    });
    this.worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.stop();
    });
    const { model, threads } = await this.call({
      task: "open",
      options: { threads: this.wantedThreads },
    });
    this.model = model;
    this.threads = threads;
    return this;
  }

  // End the worker; the calls that wait for it fail, and the next one starts another.
  stop() {
    this.worker?.terminate();
    this.worker = null;
    this.opening = null;
    for (const call of this.calls.values()) call.reject(new Error("the worker has ended"));
    this.calls.clear();
  }

  call(message) {
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.calls.set(id, { resolve, reject });
      this.worker.postMessage({ id, ...message });
    });
  }

  // Have all parts of the network ready before the first photo comes.
  async warm() {
    await this.open();
    await this.call({ task: "warm" });
  }

  // { predictions, pooled, exif }, in the order of the files. onEach: called after each photo.
  async diagnose(files, { quick = false, coverage = null, signal, onEach } = {}) {
    const predictions = [];
    const exif = [];
    this.timings = [];
    for (const file of files) {
      if (signal?.aborted) throw new DOMException("newer photos came", "AbortError");
      const answer = await this.diagnoseOne(file, { quick, coverage });
      if (answer.prediction) predictions.push(answer.prediction);
      else predictions.push({ photo: file.name, error: t(`photo_error.${answer.code}`) });
      exif.push(answer.exif ?? {});
      if (answer.timing) this.timings.push(answer.timing);
      onEach?.(predictions.length);
    }
    return { predictions, pooled: pool(predictions, this.model), exif };
  }

  async diagnoseOne(file, options) {
    await this.open();
    let timer;
    const timeout = new Promise((resolve) => {
      timer = setTimeout(() => resolve({ code: "failed", isSlow: true }), PHOTO_TIMEOUT_MS);
    });
    const diagnosed = this.call({ task: "diagnose", name: file.name, blob: file, options }).catch(
      () => ({ code: "failed" }),
    );
    const answer = await Promise.race([diagnosed, timeout]);
    clearTimeout(timer);
    if (answer.isSlow) this.stop();
    return answer;
  }
}
