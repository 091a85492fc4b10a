// The phone's engine, in a worker so that the page stays quick: photos in, predictions out.

import { predictionOf } from "./decision.js";
import { PhotoError, readSource } from "./photo.js";

const RUNTIME = "./runtime/ort.wasm.min.mjs";
const MODEL = "./model/model.json";
const MAX_THREADS = 4;

let ort = null;
let model = null;

// The session of each part, opened when it is first needed; a promise.
const sessions = new Map();

const addressOf = (path) => new URL(path, self.location.href).href;

async function open({ threads }) {
  model = await (await fetch(addressOf(MODEL))).json();
  ort = await import(addressOf(RUNTIME));
  const { wasm } = ort.env;
  wasm.wasmPaths = {
    mjs: addressOf("./runtime/ort-wasm-simd-threaded.mjs"),
    wasm: addressOf("./runtime/ort-wasm-simd-threaded.wasm"),
  };
  const available = self.crossOriginIsolated ? navigator.hardwareConcurrency || 1 : 1;
  wasm.numThreads = Math.min(threads ?? available, available, MAX_THREADS);
  wasm.proxy = false;
  ort.env.logLevel = "error";

  // The first look is opened at once; the others when a photo needs them.
  await sessionOf(model.parts[0]);
  return { model, threads: wasm.numThreads };
}

function sessionOf(part) {
  if (!sessions.has(part.file)) {
    const opened = openSession(part);
    opened.catch(() => sessions.delete(part.file));
    sessions.set(part.file, opened);
  }
  return sessions.get(part.file);
}

async function openSession(part) {
  const answer = await fetch(addressOf(`./model/${part.file}`));
  if (!answer.ok) throw new Error(`${part.file}: status ${answer.status}`);
  const content = new Uint8Array(await answer.arrayBuffer());
  return ort.InferenceSession.create(content, {
    executionProviders: ["wasm"],
    graphOptimizationLevel: "all",
  });
}

// The prediction of one photo. options: { quick, coverage }: quick ends after a sure first look.
async function diagnose(name, blob, options) {
  const started = performance.now();
  const source = await readSource(blob, model.source_sizes);
  const decodedAt = performance.now();

  const shape = [1, source.side, source.side, 3];
  const tensors = { source: new ort.Tensor("uint8", source.pixels, shape) };
  let prediction = null;
  for (const [index, part] of model.parts.entries()) {
    const session = await sessionOf(part);
    const feeds = Object.fromEntries(session.inputNames.map((input) => [input, tensors[input]]));
    Object.assign(tensors, await session.run(feeds));

    const isLast = index === model.parts.length - 1;
    if (!isLast && !options.quick) continue;
    prediction = predictionFrom(name, tensors, source, !isLast, options.coverage);
    const isSure =
      prediction.verdict === "diagnosis" && prediction.confidence >= model.early_exit;
    if (isSure && options.quick) break;
  }

  const timing = { decoding: decodedAt - started, network: performance.now() - decodedAt };
  return { prediction, exif: source.exif, timing };
}

function predictionFrom(photo, tensors, source, isFirstLook, coverage) {
  const outputs = {};
  const maps = {};
  for (const [name, tensor] of Object.entries(tensors)) {
    outputs[name] = tensor.data;
    maps[name] = tensor.dims.slice(1);
  }
  return predictionOf({
    photo,
    outputs,
    maps,
    model,
    photoSize: source.photoSize,
    sourceSize: source.side,
    isFirstLook,
    coverage,
  });
}

async function answer({ task, name, blob, options }) {
  if (task === "open") return open(options);
  if (task === "source") return readSource(blob, model.source_sizes);
  if (task === "warm") return Promise.all(model.parts.map(sessionOf)).then(() => null);
  try {
    return await diagnose(name, blob, options);
  } catch (error) {
    if (error instanceof PhotoError) return { code: error.code };

    // Memory that ends, or a graph that fails, must not end the worker.
    return { code: "failed", reason: String(error?.message ?? error).slice(0, 200) };
  }
}

// One task after another: memory for two photos at once is what phones lack.
let queue = Promise.resolve();
self.addEventListener("message", ({ data }) => {
  queue = queue.then(async () => {
    try {
      self.postMessage({ id: data.id, result: await answer(data) });
    } catch (error) {
      self.postMessage({ id: data.id, error: String(error?.message ?? error).slice(0, 200) });
    }
  });
});
