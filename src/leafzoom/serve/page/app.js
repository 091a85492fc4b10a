// The page: photos in, diagnoses out. The photo itself is drawn from the browser's own copy.

import { openCamera } from "./camera.js";
import { resultCard } from "./card.js";
import { resultsCsv } from "./csv.js";
import { byId, make, percent, reducedMotion, saveFile } from "./dom.js";
import { chooseEngine, offeredEngines } from "./engine.js";
import { PhoneEngine } from "./engine-phone.js";
import { ServerRefusal } from "./engine-server.js";
import { History } from "./history.js";
import { nameOf } from "./labels.js";
import { chooseLanguage, keepSetting, language, loadMessages, readSetting, t } from "./messages.js";
import { keepFiles } from "./offline.js";

const MIN_POOLED_PROBABILITY = 0.05;
const CHECKBOXES = ["keep", "place", "quick"];

// The texts; a promise that what is shown waits for.
const loaded = loadMessages().catch(() => null);

// The engine that diagnoses, once it is open; a promise that photos wait for.
let opened = null;
let offered = { server: true, phone: false };
const history = new History(showProblem);

// What the page shows.
let results = [];
let viewers = [];

// The controller of the newest request; an older one shows nothing any more.
let newestRequest = null;

function showStatus(text, isProblem = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", isProblem);
}

function showProblem(text) {
  showStatus(text, true);
}

// Diagnose photos, and show the results.
async function diagnose(files) {
  if (!files.length) return;
  newestRequest?.abort();
  const request = new AbortController();
  newestRequest = request;
  const isNewest = () => request === newestRequest;

  // In English, as the rest of the page, until the texts are there.
  showStatus(`Looking at ${files[0].name}…`);
  await loaded;
  if (isNewest()) showStatus(lookingText(files));

  // What the engine takes, and whether it has maps, is known once it is open.
  const engine = await opened;
  if (!isNewest()) return;
  if (!engine) {
    showProblem(t("status.no_engine"));
    return;
  }
  const objection = objectionTo(files, engine.limits);
  if (objection) {
    showProblem(objection);
    return;
  }

  const unreadable = await firstUnreadable(files);
  if (unreadable) {
    if (isNewest()) showProblem(t("status.unreadable", { name: unreadable.name }));
    return;
  }

  const answer = await answerOf(engine, files, request);
  if (!answer || !isNewest()) return;
  const { predictions, pooled, exif } = answer;
  const cards = await Promise.all(
    predictions.map((result, index) => resultCard(result, files[index], showProblem)),
  );

  // Newer photos, or Clear, came while the cards were made.
  if (!isNewest()) return;
  showResults(predictions, pooled, cards);
  if (byId("keep").checked) await keep(predictions, files, exif);
}

// The engine's answer; null after a problem, which is shown.
async function answerOf(engine, files, request) {
  const { signal } = request;
  const options = {
    signal,
    quick: byId("quick").checked,
    onBusy: () => showStatus(t("status.busy")),
    onEach: (done) => {
      const values = { done, count: files.length };
      if (request === newestRequest && done < files.length)
        showStatus(t("status.looking_done", values));
    },
  };
  try {
    return await engine.diagnose(files, options);
  } catch (error) {
    if (signal.aborted) return null;
    if (error instanceof ServerRefusal) showProblem(error.message);
    else if (engine.kind === "server" && offered.phone) {
      // The server is gone; this device goes on alone.
      opened = openEngine(new PhoneEngine());
      const phone = await opened;
      return phone ? answerOf(phone, files, request) : null;
    } else showProblem(t(engine.kind === "server" ? "status.not_through" : "status.failed"));
    return null;
  }
}

const lookingText = (files) =>
  files.length > 1
    ? t("status.looking_many", { count: files.length })
    : t("status.looking_one", { name: files[0].name });

// Why these files are not looked at; null if they are.
function objectionTo(files, limits) {
  if (files.length > limits.photos)
    return t("status.too_many", { limit: limits.photos, count: files.length });

  const large = files.find((file) => file.size > limits.photo_bytes);
  if (large)
    return t("status.large_photo", { name: large.name, limit: limits.photo_bytes >> 20 });

  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (total > limits.request_bytes)
    return t("status.large_request", { limit: limits.request_bytes >> 20 });
  return null;
}

async function firstUnreadable(files) {
  for (const file of files) {
    const readable = await file.slice(0, 1).arrayBuffer().then(
      () => true,
      () => false,
    );
    if (!readable) return file;
  }
  return null;
}

// Keep results on this device, where the reader wants that.
async function keep(predictions, files, exif) {
  const tree = byId("tree").value.trim();
  await history.keep({ predictions, files, exif, tree, wantsPlace: byId("place").checked });
}

// Replace what the page shows, and lead to the first card.
function showResults(newResults, pooled, cards) {
  clearResults();
  results = newResults;
  for (const { article, viewer } of cards) {
    byId("results").append(article);
    if (viewer) viewers.push(viewer);
    viewer?.start();
  }
  showPooled(pooled);
  byId("downloads").hidden = false;
  showCount();

  const firstHeading = byId("results").querySelector("h2");
  firstHeading?.focus({ preventScroll: true });
  firstHeading?.closest("article").scrollIntoView({
    behavior: reducedMotion ? "auto" : "smooth",
    block: "start",
  });
}

function showCount() {
  const read = results.filter((result) => !result.error).length;
  if (read < results.length) {
    showStatus(t("status.some_read", { read, count: results.length }), read === 0);
    return;
  }
  showStatus(read === 1 ? t("status.one") : t("status.many", { count: read }));
}

function clearResults() {
  for (const viewer of viewers) viewer.close();
  viewers = [];
  results = [];
  byId("results").replaceChildren();
  byId("pooled").hidden = true;
  byId("downloads").hidden = true;
}

// All leaves of one tree together, as probabilities; null without a leaf.
function showPooled(pooled) {
  if (!pooled || pooled.leaves < 2) return;

  const ranked = Object.entries(pooled.any_leaf).sort(
    ([first], [second]) => pooled.share[second] - pooled.share[first],
  );
  const items = ranked
    .filter(([, probability]) => probability >= MIN_POOLED_PROBABILITY)
    .map(([label, probability]) => {
      const values = {
        label: nameOf(label),
        share: percent(pooled.share[label]),
        any: percent(probability),
      };
      return make("li", t("pooled.line", values));
    });

  const list = make("ul");
  list.append(...items);
  const title = make("h2", t("pooled.title", { count: pooled.leaves }));
  byId("pooled").replaceChildren(title, list);
  byId("pooled").hidden = false;
}

function listenForPhotos() {
  for (const input of [byId("choose"), byId("camera")]) {
    input.addEventListener("change", async () => {
      await diagnose([...input.files]);

      // The same photo may be chosen again.
      input.value = "";
    });
  }

  for (const type of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", type === "dragover");
      if (type === "drop") diagnose([...(event.dataTransfer?.files ?? [])]);
    });
  }

  document.addEventListener("paste", (event) => {
    diagnose([...(event.clipboardData?.files ?? [])]);
  });

  byId("viewfinder").addEventListener("click", async () => {
    const photos = await openCamera(showProblem);
    await diagnose(photos);
  });
}

function listenForButtons() {
  byId("csv").addEventListener("click", () => {
    saveFile(new Blob([resultsCsv(results)], { type: "text/csv" }), "leafzoom.csv");
  });

  byId("clear").addEventListener("click", () => {
    newestRequest?.abort();
    newestRequest = null;
    clearResults();
    showStatus("");
  });

  byId("language").addEventListener("change", ({ target }) => {
    chooseLanguage(target.value);
    clearResults();
    showStatus("");
    history.show();
    opened.then(showEngine);
  });

  for (const name of CHECKBOXES) {
    byId(name).addEventListener("change", ({ target }) => {
      keepSetting(`leafzoom-${name}`, target.checked ? "yes" : "no");
    });
  }
}

// The engine after its start; null if it cannot start, which is shown.
async function openEngine(engine) {
  try {
    await engine.open();
    history.useModel(engine.model.decision ?? engine.model);
    showEngine(engine);
    if (engine.kind === "phone") engine.warm().catch(() => null);
    return engine;
  } catch {
    showProblem(t(engine.kind === "server" ? "status.unreachable" : "status.not_started"));
    return null;
  }
}

// What looks at the photos, and which model it has.
function showEngine(engine) {
  if (!engine) return;
  const isPhone = engine.kind === "phone";
  const { model } = engine;
  byId("api").hidden = isPhone;
  byId("quick-option").hidden = !isPhone || model.early_exit === null;
  byId("privacy").textContent = t(isPhone ? "privacy.phone" : "privacy.server");

  const share = Number((100 * (model.coverage ?? 0)).toFixed(1));
  const coverage = model.coverage ? ` ${t("model.coverage", { share })}` : "";
  const name = t("model.name", { name: model.name, version: model.leafzoom });
  byId("model").textContent = `${name}${coverage} ${model.licence}`;
}

// The viewfinder where there is a camera; where there may be one, the system's own way.
async function showCameraButton() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  const hasCamera = devices.some(({ kind }) => kind === "videoinput");
  byId("viewfinder").hidden = !hasCamera;
  byId("camera-fallback").hidden = hasCamera;
}

async function start() {
  await loaded;
  byId("language").value = language();
  try {
    offered = await offeredEngines();
  } catch {
    showProblem(t("status.unreachable"));
    return null;
  }

  // Results stay on a phone unless its owner wants otherwise; a server's page keeps none unasked.
  const defaults = { keep: offered.server ? "no" : "yes", place: "no", quick: "no" };
  for (const name of CHECKBOXES)
    byId(name).checked = (readSetting(`leafzoom-${name}`) ?? defaults[name]) === "yes";
  showCameraButton();

  // The files are loaded once, by the service worker, before the engine needs them.
  if (offered.phone) await keepFiles();
  return openEngine(await chooseEngine(offered));
}

opened = start();
opened.then(() => history.show());
listenForPhotos();
listenForButtons();
