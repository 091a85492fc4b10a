// The page: photos in, diagnoses out. The photo itself is drawn from the browser's own copy.

import { resultCard } from "./card.js";
import { resultsCsv } from "./csv.js";
import { byId, make, percent, reducedMotion, saveFile } from "./dom.js";
import { nameOf } from "./labels.js";

const MAX_ATTEMPTS = 5;
const DEFAULT_RETRY_SECONDS = 1;
const MIN_POOLED_PROBABILITY = 0.05;
const UNAUTHORISED = 401;
const TOO_MANY_REQUESTS = 429;

// What a proxy in front of the service answers by itself, without a reason that people can read.
const PROXY_REASONS = {
  413: "the photos are too large for the proxy in front of leafzoom",
  502: "the proxy in front of leafzoom does not reach it",
  504: "the proxy in front of leafzoom did not wait long enough",
};

// The defaults, until the service has sent its own limits.
let limits = { photos: 6, photo_bytes: 100 * 2 ** 20, request_bytes: 150 * 2 ** 20 };

// Whether the service's model has evidence maps.
let hasMaps = false;

// What the page shows.
let results = [];
let viewers = [];

// The controller of the newest request; an older one shows nothing any more.
let newestRequest = null;

function showStatus(text, isProblem = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", isProblem);
}

const showProblem = (text) => showStatus(text, true);

// Send photos to the service, and show its results.
async function diagnose(files) {
  if (!files.length) return;
  showStatus(`Looking at ${files.length > 1 ? `${files.length} photos` : files[0].name}…`);

  // The limits, and whether there are maps, come with the model.
  await modelIsKnown;
  const objection = objectionTo(files);
  if (objection) {
    showProblem(objection);
    return;
  }

  newestRequest?.abort();
  const request = new AbortController();
  newestRequest = request;

  const unreadable = await firstUnreadable(files);
  if (unreadable) {
    showProblem(`${unreadable.name} cannot be read: is it a folder, or was it changed?`);
    return;
  }

  let answer;
  let content;
  try {
    answer = await postPhotos(files, request.signal);
    content = await answer.json().catch(() => null);
  } catch {
    if (!request.signal.aborted)
      showProblem("The photos did not get through: is leafzoom still running?");
    return;
  }
  if (request !== newestRequest) return;

  const predictions = content?.predictions;
  if (!Array.isArray(predictions)) {
    const reason = content?.detail ?? PROXY_REASONS[answer.status] ?? `status ${answer.status}`;
    showProblem(`That did not work: ${reason}.`);
    return;
  }

  const cards = await Promise.all(
    predictions.map((result, index) => resultCard(result, files[index], showProblem)),
  );

  // Newer photos, or Clear, came while the cards were made.
  if (request !== newestRequest) return;
  showResults(predictions, content.pooled, cards);
}

// Why these files are not sent; null if they are.
function objectionTo(files) {
  if (files.length > limits.photos)
    return `Up to ${limits.photos} photos at a time, please: you chose ${files.length}.`;

  const large = files.find((file) => file.size > limits.photo_bytes);
  if (large)
    return `${large.name} is larger than ${limits.photo_bytes >> 20} MB: please make it smaller.`;

  const total = files.reduce((sum, file) => sum + file.size, 0);
  if (total > limits.request_bytes)
    return `Together, the photos are larger than ${limits.request_bytes >> 20} MB: fewer at a time, please.`;
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

// The service's answer; while the service is busy, it is asked again when it says so.
async function postPhotos(files, signal) {
  const form = new FormData();
  for (const file of files) form.append("photos", file, file.name);

  for (let attempt = 1; ; attempt++) {
    const query = hasMaps ? "?pooled=true&maps=true" : "?pooled=true";
    const answer = await fetch(`api/v1/predictions${query}`, { method: "POST", body: form, signal });
    if (answer.status !== TOO_MANY_REQUESTS || attempt === MAX_ATTEMPTS) return answer;

    showStatus("Looking again in a second: leafzoom is busy…");
    const seconds = Number(answer.headers.get("Retry-After")) || DEFAULT_RETRY_SECONDS;
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
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
  const readCount = results.filter((result) => !result.error).length;
  if (readCount < results.length) {
    const text = `${readCount} of ${results.length} photos could be read.`;
    showStatus(text, readCount === 0);
    return;
  }
  showStatus(readCount === 1 ? "One diagnosis is below." : `${readCount} diagnoses are below.`);
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
    .map(([label, probability]) =>
      make(
        "li",
        `${nameOf(label)}: expected on ${percent(pooled.share[label])} of these leaves; ` +
          `on at least one with ${percent(probability)}`,
      ),
    );

  const list = make("ul");
  list.append(...items);
  byId("pooled").replaceChildren(make("h2", `All ${pooled.leaves} leaves together`), list);
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
}

async function showModel() {
  try {
    const answer = await fetch("api/v1/model");

    // The cookie has ended, or the token is another one now: the page asks for it.
    if (answer.status === UNAUTHORISED) location.reload();
    if (!answer.ok) throw new Error(`status ${answer.status}`);

    const model = await answer.json();
    limits = model.limits;
    hasMaps = model.maps;
    const coverage = model.coverage
      ? ` Where several answers are named, the true one is among them for ${Number((100 * model.coverage).toFixed(1))} ` +
        "of 100 leaves like those of the training."
      : "";
    const text = `Model ${model.name}, leafzoom ${model.leafzoom}.${coverage} ${model.licence}`;
    byId("model").textContent = text;
  } catch {
    showProblem("leafzoom cannot be reached: is it still running?");
  }
}

const modelIsKnown = showModel();
listenForPhotos();
listenForButtons();
