// The page: photos in, diagnoses shown. The photo itself is drawn from the browser's own copy.

import { LABELS, nameOf } from "./labels.js";
import { Viewer, annotated } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const results = [];
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
let limits = { photos: 6, photo_bytes: 25 * 2 ** 20 };

const percent = (share) => `${Math.round(100 * share)} %`;

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
  say(files.length > 1 ? `Looking at ${files.length} photos…` : "Looking…");
  const form = new FormData();
  for (const file of files) form.append("photos", file, file.name);
  let answer;
  try {
    for (let attempt = 0; ; attempt++) {
      answer = await fetch("/api/v1/predictions", { method: "POST", body: form });
      if (answer.status !== 429 || attempt === 4) break;
      await new Promise((done) => setTimeout(done, 1000 * (Number(answer.headers.get("Retry-After")) || 1)));
    }
  } catch {
    return say("leafzoom cannot be reached: is it still running?", true);
  }
  const said = await answer.json().catch(() => null);
  if (!Array.isArray(said)) return say(`That did not work: ${said?.detail ?? `status ${answer.status}`}.`, true);
  clear();
  for (const [place, one] of said.entries()) {
    results.push(one);
    $("results").append(await card(one, files[place]));
  }
  pool(said);
  $("downloads").hidden = false;
  const bad = said.filter((one) => one.error).length;
  say(bad ? `${said.length - bad} of ${said.length} photos could be read.` : "", bad === said.length);
  $("results").querySelector("article")?.scrollIntoView({ behavior: still ? "auto" : "smooth", block: "start" });
}

function clear() {
  results.length = 0;
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

async function card(one, file) {
  const article = $("card").content.firstElementChild.cloneNode(true);
  const part = (name) => article.querySelector(`.${name}`);
  const [title, text] = headline(one);
  article.classList.add(one.error ? "failed" : one.verdict);
  part("verdict").textContent = title;
  part("explain").append(make("span", one.photo, "file"), ` · ${text}`);
  const picture = one.error ? null : await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
  if (!picture) {
    part("look").remove();
    part("actions").remove();
  } else {
    const viewer = new Viewer(part("view"), part("slider"), part("play"), part("caption"), picture, one, still);
    part("view").setAttribute("aria-label", `${one.photo}: ${title}. The boxes show where the second and the third look went.`);
    part("slider").setAttribute("aria-label", "Look closer: from the whole leaf to the first and the second zoom");
    part("save").addEventListener("click", async () => save(await annotated(picture, one, title), `${stem(one.photo)}-leafzoom.png`));
    viewer.start();
  }
  if (one.error) return article;
  const columns = [["All looks together", one.probabilities, ""]];
  const looks = ["The whole leaf", "The first zoom", "The second zoom", "The third zoom"];
  for (const scale of one.scales) columns.push([looks[scale.scale - 1] ?? `Look ${scale.scale}`, scale.probabilities, ["", "second", "third"][scale.scale - 1] ?? ""]);
  for (const [name, probabilities, colour] of columns) {
    const column = make("div");
    const heading = make("h3");
    if (colour) heading.append(make("span", "", `mark ${colour}`));
    heading.append(name);
    column.append(heading, bars(probabilities, name === columns[0][0] ? Infinity : 3));
    part("said").append(column);
  }
  if (one.verdict === "diagnosis")
    for (const label of one.labels.filter((name) => LABELS[name])) {
      const about = make("p", `${LABELS[label].name}: ${LABELS[label].about} `);
      if (LABELS[label].source) about.append(make("cite", LABELS[label].source));
      part("about").append(about);
    }
  return article;
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
  clear();
  say("");
});
fetch("/api/v1/model")
  .then((answer) => answer.json())
  .then((model) => {
    limits = model.limits;
    $("model").textContent = `Model ${model.name}, leafzoom ${model.leafzoom}. ${model.licence}`;
  })
  .catch(() => say("leafzoom cannot be reached: is it still running?", true));
