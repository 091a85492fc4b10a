// The card of one result: the diagnosis, the photo with its zooms, and what each look predicts.

import { byId, make, percent, reducedMotion, saveFile } from "./dom.js";
import { annotatedPicture, cropCanvas, looksOf } from "./drawing.js";
import { describe, nameOf } from "./labels.js";
import { has, language, t } from "./messages.js";
import { Viewer } from "./viewer.js";

const MAX_LOOK_LABELS = 3;
const MAX_NAMED_ANSWERS = 3;
const MARK_CLASSES = { 2: "second", 3: "third", closest: "closest" };

const stopName = (look) =>
  has(`stop.${look}`) ? t(`stop.${look}`) : t("stop.other", { number: look - 1 });
const lookHeading = (look) =>
  has(`look.${look}`) ? t(`look.${look}`) : t("look.other", { number: look });

// The card's element, and the viewer in it: null where no photo can be shown.
// result: of the API. file: the photo. onProblem: shows a sentence about what went wrong.
export async function resultCard(result, file, onProblem) {
  const article = byId("card").content.firstElementChild.cloneNode(true);
  const part = (name) => article.querySelector(`.${name}`);

  const { title, text } = headline(result);
  article.classList.add(result.error ? "failed" : result.verdict);
  part("verdict").textContent = title;
  part("explain").append(make("span", result.photo, "file"), ` · ${text}`);

  const picture = result.error ? null : await decodedPicture(file);
  if (!picture) {
    part("look").remove();
    part("actions").remove();
  }
  if (result.error) return { article, viewer: null };

  let viewer = null;
  if (picture) viewer = addViewer(part, picture, result, title, onProblem);
  else part("explain").append(` ${t("card.not_shown")}`);

  part("scales").append(...lookColumns(result, picture));
  part("about").append(...labelNotes(result));
  return { article, viewer };
}

// The browser's own copy of the photo, upright; null for formats that it does not know.
function decodedPicture(file) {
  return createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
}

function headline(result) {
  if (result.error) return { title: t("card.unreadable"), text: `${result.error}.` };
  if (result.verdict === "not_a_leaf")
    return { title: t("card.no_leaf"), text: t("card.no_leaf_advice") };

  const likely = answerName(result.likely);
  const confidence = percent(result.confidence);
  const advice = t("card.unsure_advice");

  // With a coverage, the service names all answers that are possible.
  const possible = result.possible ?? [];
  if (possible.length > 1) {
    const answers = answersName(possible);
    const best = t("card.best", { answer: likely, confidence });
    if (result.verdict === "unsure") {
      const text = `${t("card.possible", { answers })} ${best} ${advice}`;
      return { title: t("card.unsure"), text };
    }
    return { title: answers, text: t("card.not_ruled_out", { best }) };
  }

  if (result.verdict === "unsure") {
    const perhaps = t("card.perhaps", { answer: likely, confidence });
    return { title: t("card.unsure"), text: `${perhaps} ${advice}` };
  }
  return { title: likely, text: t("card.sure", { confidence }) };
}

// A combination of labels for people.
export const answerName = (labels) => labels.map(nameOf).join(" + ") || t("label.none");

// Several answers, the likeliest first: "Apple scab, or frogeye leaf spot".
function answersName(answers) {
  const names = answers.slice(0, MAX_NAMED_ANSWERS).map(answerName);
  const more = answers.length - names.length;
  if (more > 0) names.push(t("card.others", { number: more }));

  // German writes nouns with a capital inside a sentence too.
  const isKept = language() === "de";
  const lower = (name) => (isKept ? name : name[0].toLowerCase() + name.slice(1));
  const [first, ...others] = names;
  const last = others.pop();
  return `${[first, ...others.map(lower)].join(", ")}${t("card.or")}${lower(last)}`;
}

function addViewer(part, picture, prediction, title, onProblem) {
  const viewer = new Viewer({
    canvas: part("view"),
    slider: part("slider"),
    playButton: part("play"),
    caption: part("caption"),
    picture,
    prediction,
    reducedMotion,
  });

  const description = `${prediction.photo}: ${title}. ${t("card.boxes")}`;
  part("view").setAttribute("aria-label", description);
  part("slider").setAttribute("aria-label", t("card.slider"));

  const stops = looksOf(prediction).map(({ name }) => stopName(name));
  part("stops").replaceChildren(...stops.map((stop) => make("span", stop)));

  if (prediction.evidence) addToggles(part("evidence"), viewer, prediction);
  else part("evidence").remove();

  part("save").textContent = t("card.save");
  part("save").addEventListener("click", async () => {
    const blob = await annotatedPicture(picture, prediction, title);
    const stem = prediction.photo.replace(/\.[^.]*$/, "");
    if (blob) saveFile(blob, `${stem}-leafzoom.png`);
    else onProblem(t("card.not_drawn"));
  });
  return viewer;
}

// A button for each label, the likeliest first: what speaks for it is shown over the photo.
function addToggles(element, viewer, prediction) {
  const ranked = Object.entries(prediction.probabilities).sort((a, b) => b[1] - a[1]);
  const toggles = ranked.map(([label]) => {
    const toggle = make("button", nameOf(label), "toggle");
    toggle.type = "button";
    toggle.setAttribute("aria-pressed", "false");
    toggle.addEventListener("click", () => {
      const isShown = toggle.getAttribute("aria-pressed") === "true";
      for (const other of toggles) other.setAttribute("aria-pressed", "false");
      toggle.setAttribute("aria-pressed", String(!isShown));
      viewer.showEvidence(isShown ? null : label);
    });
    return toggle;
  });
  element.append(make("span", t("card.evidence")), ...toggles);
}

// A column for the fused prediction, and one for each look.
function lookColumns(prediction, picture) {
  const fused = make("div");
  fused.append(make("h3", t("look.all")), bars(prediction.probabilities, Infinity));

  const looks = prediction.scales.map((scale) => lookColumn(scale, prediction.photo, picture));
  const closest = prediction.evidence?.closest_box;
  if (picture && closest) looks.push(closestColumn(closest, prediction.photo, picture));
  return [fused, ...looks];
}

function closestColumn(box, photo, picture) {
  const column = make("div");
  const heading = make("h3");
  heading.append(make("span", "", `mark ${MARK_CLASSES.closest}`), lookHeading("closest"));
  const name = `${photo}: ${t("look.closest").toLowerCase()}`;
  column.append(heading, cropCanvas(picture, box, name), make("p", t("card.closest_note"), "note"));
  return column;
}

function lookColumn({ scale, box, probabilities }, photo, picture) {
  const column = make("div");
  const heading = make("h3");
  const name = lookHeading(scale);
  const markClass = MARK_CLASSES[scale] ?? "";

  // The zooms that are outlined in the view: a mark in the box's colour, and the part itself.
  if (markClass) heading.append(make("span", "", `mark ${markClass}`));
  heading.append(name);
  column.append(heading);
  if (picture && markClass)
    column.append(cropCanvas(picture, box, `${photo}: ${name.toLowerCase()}`));

  column.append(bars(probabilities, MAX_LOOK_LABELS));
  return column;
}

// The most probable labels, as bars.
function bars(probabilities, maxLabels) {
  const ranked = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  const list = make("ul", undefined, "bars");

  for (const [label, probability] of ranked.slice(0, maxLabels)) {
    const name = nameOf(label);
    const share = percent(probability);

    const bar = make("progress");
    bar.max = 1;
    bar.value = probability;
    bar.setAttribute("aria-label", `${name} ${share}`);

    const row = make("li");
    row.append(make("span", name), bar, make("span", share));
    list.append(row);
  }
  return list;
}

// A paragraph about each label of a diagnosis.
function labelNotes(prediction) {
  if (prediction.verdict !== "diagnosis") return [];

  const described = prediction.labels.map(describe).filter(Boolean);
  return described.map(({ name, about, source }) => {
    const note = make("p", `${name}: ${about} `);
    if (source) note.append(make("cite", source));
    return note;
  });
}
