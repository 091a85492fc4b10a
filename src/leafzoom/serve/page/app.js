// The page: photos in, diagnoses shown. The photo itself is drawn from the browser's own copy.

import { LABELS, nameOf } from "./labels.js";
import { Viewer, annotated, cut } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const results = [];
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
let limits = { photos: 6, photo_bytes: 25 * 2 ** 20 };

const percent = (share) => `${share < 1 ? Math.min(Math.round(100 * share), 99) : 100} %`;
const viewers = [];
let running = null; // the request under way

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

async function diagnose(files) {
  if (!files.length) return;
  if (files.length > limits.photos) return say(`Up to ${limits.photos} photos at a time, please: you chose ${files.length}.`, true);
  const heavy = files.find((file) => file.size > limits.photo_bytes);
  if (heavy) return say(`${heavy.name} is larger than ${limits.photo_bytes >> 20} MB: please make it smaller.`, true);
  running?.abort();
  const own = (running = new AbortController());
  const what = files.length > 1 ? `${files.length} photos` : files[0].name;
  say(`Looking at ${what}…`);
  const form = new FormData();
  for (const file of files) {
    const readable = await file.slice(0, 1).arrayBuffer().then(() => true, () => false);
    if (!readable) return say(`${file.name} cannot be read: is it a folder, or was it changed?`, true);
    form.append("photos", file, file.name);
  }
  let answer, said;
  try {
    for (let attempt = 0; ; attempt++) {
      answer = await fetch("/api/v1/predictions", { method: "POST", body: form, signal: own.signal });
      if (answer.status !== 429 || attempt === 4) break;
      say("Looking again in a second: leafzoom is busy…");
      await new Promise((done) => setTimeout(done, 1000 * (Number(answer.headers.get("Retry-After")) || 1)));
    }
    said = await answer.json().catch(() => null);
  } catch {
    if (!own.signal.aborted) say("The photos did not get through: is leafzoom still running?", true);
    return;
  }
  if (own !== running) return;
  if (!Array.isArray(said)) return say(`That did not work: ${said?.detail ?? `status ${answer.status}`}.`, true);
  const cards = await Promise.all(said.map((one, place) => card(one, files[place])));
  if (own !== running) return; // newer photos, or Clear
  clear();
  results.push(...said);
  for (const [article, viewer] of cards) {
    $("results").append(article);
    if (viewer) viewers.push(viewer);
    viewer?.start();
  }
  pool(said);
  $("downloads").hidden = false;
  const good = said.filter((one) => !one.error).length;
  const count = good === 1 ? "One diagnosis is below" : `${good} diagnoses are below`;
  say(good < said.length ? `${good} of ${said.length} photos could be read.` : `${count}.`, !good);
  const first = $("results").querySelector("h2");
  first?.focus({ preventScroll: true });
  first?.closest("article").scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
}

function clear() {
  results.length = 0;
  for (const viewer of viewers.splice(0)) viewer.close();
  $("results").replaceChildren();
  $("pooled").hidden = $("downloads").hidden = true;
}

// What all photos of one tree say together: each is another leaf, so labels are counted.
function pool(said) {
  const leaves = said.filter((one) => one.verdict && one.verdict !== "not_a_leaf");
  if (leaves.length < 2) return;
  const counts = new Map();
  for (const one of leaves) for (const label of one.labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const parts = [...counts].sort((a, b) => b[1] - a[1]).map(([label, count]) => `${nameOf(label)} on ${count}`);
  const nothing = leaves.filter((one) => one.verdict === "diagnosis" && !one.labels.length).length;
  if (nothing) parts.push(`no label on ${nothing}`);
  const unsure = leaves.filter((one) => one.verdict === "unsure").length;
  if (unsure) parts.push(`unsure about ${unsure}`);
  $("pooled").replaceChildren(make("h2", `All ${leaves.length} leaves together`), make("p", `${parts.join("; ")}.`));
  $("pooled").hidden = false;
}

function headline(one) {
  if (one.error) return ["This photo could not be read", `${one.error}.`];
  const likely = one.likely.map(nameOf).join(" + ") || "No label";
  if (one.verdict === "not_a_leaf")
    return ["Not a clear apple leaf", "This does not look like the apple leaves that leafzoom knows. Try a sharper photo of one leaf, in daylight, filling the picture."];
  if (one.verdict === "unsure")
    return ["Not sure", `Perhaps ${likely} (${percent(one.confidence)}). A sharper photo of one leaf in daylight, or another leaf of the same tree, would help.`];
  return [likely, `${percent(one.confidence)} sure.`];
}

const stops = ["whole leaf", "first zoom", "second zoom"];

async function card(one, file) {
  const article = $("card").content.firstElementChild.cloneNode(true);
  const part = (name) => article.querySelector(`.${name}`);
  const [title, text] = headline(one);
  article.classList.add(one.error ? "failed" : one.verdict);
  part("verdict").textContent = title;
  part("explain").append(make("span", one.photo, "file"), ` · ${text}`);
  const picture = one.error ? null : await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  let viewer = null;
  if (!picture) {
    if (!one.error) part("explain").append(" This browser cannot show the photo itself.");
    part("look").remove();
    part("actions").remove();
  } else {
    viewer = new Viewer(part("view"), part("slider"), part("play"), part("caption"), picture, one, still);
    part("view").setAttribute("aria-label", `${one.photo}: ${title}. The boxes show where leafzoom looked again.`);
    part("slider").setAttribute("aria-label", "Look closer: from the whole leaf into the zooms");
    part("stops").replaceChildren(...one.scales.map((scale) => make("span", stops[scale.scale - 1] ?? `zoom ${scale.scale - 1}`)));
    part("save").addEventListener("click", async () => {
      const drawn = await annotated(picture, one, title);
      if (drawn) save(drawn, `${stem(one.photo)}-leafzoom.png`);
      else say("This browser could not draw the picture.", true);
    });
  }
  if (one.error) return [article, null];
  const columns = [["All looks together", one.probabilities, "", null]];
  const looks = ["The whole leaf", "The first zoom", "The second zoom", "The third zoom"];
  for (const scale of one.scales) columns.push([looks[scale.scale - 1] ?? `Look ${scale.scale}`, scale.probabilities, ["", "second", "third"][scale.scale - 1] ?? "", scale.box]);
  for (const [name, probabilities, colour, box] of columns) {
    const column = make("div");
    const heading = make("h3");
    if (colour) heading.append(make("span", "", `mark ${colour}`));
    heading.append(name);
    column.append(heading);
    if (picture && colour) column.append(cut(picture, box, `${one.photo}: ${name.toLowerCase()}`));
    column.append(bars(probabilities, name === columns[0][0] ? Infinity : 3));
    part("said").append(column);
  }
  if (one.verdict === "diagnosis")
    for (const label of one.labels.filter((name) => LABELS[name])) {
      const about = make("p", `${LABELS[label].name}: ${LABELS[label].about} `);
      if (LABELS[label].source) about.append(make("cite", LABELS[label].source));
      part("about").append(about);
    }
  return [article, viewer];
}

// The most probable labels, as bars.
function bars(probabilities, most) {
  const list = make("ul", undefined, "bars");
  for (const [label, share] of Object.entries(probabilities).sort((a, b) => b[1] - a[1]).slice(0, most)) {
    const row = make("li");
    const bar = make("progress");
    bar.max = 1;
    bar.value = share;
    bar.setAttribute("aria-label", `${nameOf(label)} ${percent(share)}`);
    row.append(make("span", nameOf(label)), bar, make("span", percent(share)));
    list.append(row);
  }
  return list;
}

const stem = (name) => name.replace(/\.[^.]*$/, "");

function save(blob, name) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function table() {
  const labels = Object.keys(results.find((one) => one.probabilities)?.probabilities ?? {});
  const cell = (value) => {
    const text = String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&"); // no spreadsheet takes it for a formula
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = results.map((one) =>
    [one.photo, one.verdict, one.labels?.join(" "), one.confidence, ...labels.map((label) => one.probabilities?.[label]), one.error].map(cell).join(","),
  );
  return [["photo", "verdict", "labels", "confidence", ...labels, "error"].join(","), ...rows, ""].join("\n");
}

for (const input of [$("choose"), $("camera")])
  input.addEventListener("change", async () => {
    await diagnose([...input.files]);
    input.value = "";
  });
for (const event of ["dragover", "dragleave", "drop"])
  document.addEventListener(event, (moved) => {
    moved.preventDefault();
    $("drop").classList.toggle("over", event === "dragover");
    if (event === "drop") diagnose([...(moved.dataTransfer?.files ?? [])]);
  });
document.addEventListener("paste", (pasted) => diagnose([...(pasted.clipboardData?.files ?? [])]));
$("csv").addEventListener("click", () => save(new Blob([table()], { type: "text/csv" }), "leafzoom.csv"));
$("clear").addEventListener("click", () => {
  running?.abort();
  running = null;
  clear();
  say("");
});
fetch("/api/v1/model")
  .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
  .then((model) => {
    limits = model.limits;
    $("model").textContent = `Model ${model.name}, leafzoom ${model.leafzoom}. ${model.licence}`;
  })
  .catch(() => say("leafzoom cannot be reached: is it still running?", true));
