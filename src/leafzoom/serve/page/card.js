// The card of one result: the diagnosis, the photo with its zooms, and what each look predicts.

import { byId, make, percent, reducedMotion, saveFile } from "./dom.js";
import { annotatedPicture, cropCanvas, looksOf } from "./drawing.js";
import { LABELS, nameOf } from "./labels.js";
import { Viewer } from "./viewer.js";

const MAX_LOOK_LABELS = 3;
const MAX_NAMED_ANSWERS = 3;

// By scale.
const STOP_NAMES = { 1: "whole leaf", 2: "first zoom", 3: "second zoom", closest: "closest look" };
const LOOK_HEADINGS = {
  1: "The whole leaf",
  2: "The first zoom",
  3: "The second zoom",
  4: "The third zoom",
  closest: "The closest look",
};
const MARK_CLASSES = { 2: "second", 3: "third", closest: "closest" };
const CLOSEST_NOTE = "Near the place that speaks most for the answer, where the network responds most.";

const NOT_A_LEAF =
  "This does not look like the apple leaves that leafzoom knows. Try a sharper photo of one " +
  "leaf, in daylight, filling the picture.";
const UNSURE_ADVICE =
  "A sharper photo of one leaf in daylight, or another leaf of the same tree, would help.";

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
  else part("explain").append(" This browser cannot show the photo itself.");

  part("scales").append(...lookColumns(result, picture));
  part("about").append(...labelNotes(result));
  return { article, viewer };
}

// The browser's own copy of the photo, upright; null for formats that it does not know.
function decodedPicture(file) {
  return createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
}

function headline(result) {
  if (result.error) return { title: "This photo could not be read", text: `${result.error}.` };
  if (result.verdict === "not_a_leaf") return { title: "Not a clear apple leaf", text: NOT_A_LEAF };

  const likely = answerName(result.likely);
  const confidence = percent(result.confidence);

  // With a coverage, the service names all answers that are possible.
  const possible = result.possible ?? [];
  if (possible.length > 1) {
    const answers = answersName(possible);
    const best = `${likely} is the best answer (${confidence}).`;
    if (result.verdict === "unsure")
      return { title: "Not sure", text: `Possible: ${answers}. ${best} ${UNSURE_ADVICE}` };
    return { title: answers, text: `None of these can be ruled out; ${best}` };
  }

  if (result.verdict === "unsure")
    return { title: "Not sure", text: `Perhaps ${likely} (${confidence}). ${UNSURE_ADVICE}` };
  return { title: likely, text: `${confidence} sure.` };
}

// A combination of labels for people.
const answerName = (labels) => labels.map(nameOf).join(" + ") || "No label";

// Several answers, the likeliest first: "Apple scab, or frogeye leaf spot".
function answersName(answers) {
  const names = answers.slice(0, MAX_NAMED_ANSWERS).map(answerName);
  const more = answers.length - names.length;
  if (more > 0) names.push(`one of ${more} others`);

  const lower = (name) => name[0].toLowerCase() + name.slice(1);
  const [first, ...others] = names;
  const last = others.pop();
  return `${[first, ...others.map(lower)].join(", ")}, or ${lower(last)}`;
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

  const description = `${prediction.photo}: ${title}. The boxes show where leafzoom looked again.`;
  part("view").setAttribute("aria-label", description);
  part("slider").setAttribute("aria-label", "Look closer: from the whole leaf into the zooms");

  const stops = looksOf(prediction).map(({ name }) => STOP_NAMES[name] ?? `zoom ${name - 1}`);
  part("stops").replaceChildren(...stops.map((stop) => make("span", stop)));

  if (prediction.evidence) addToggles(part("evidence"), viewer, prediction);
  else part("evidence").remove();

  part("save").addEventListener("click", async () => {
    const blob = await annotatedPicture(picture, prediction, title);
    const stem = prediction.photo.replace(/\.[^.]*$/, "");
    if (blob) saveFile(blob, `${stem}-leafzoom.png`);
    else onProblem("This browser could not draw the picture.");
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
  element.append(make("span", "Show what speaks for:"), ...toggles);
}

// A column for the fused prediction, and one for each look.
function lookColumns(prediction, picture) {
  const fused = make("div");
  fused.append(make("h3", "All looks together"), bars(prediction.probabilities, Infinity));

  const looks = prediction.scales.map((scale) => lookColumn(scale, prediction.photo, picture));
  const closest = prediction.evidence?.closest_box;
  if (picture && closest) looks.push(closestColumn(closest, prediction.photo, picture));
  return [fused, ...looks];
}

function closestColumn(box, photo, picture) {
  const column = make("div");
  const heading = make("h3");
  heading.append(make("span", "", `mark ${MARK_CLASSES.closest}`), LOOK_HEADINGS.closest);
  const name = `${photo}: ${LOOK_HEADINGS.closest.toLowerCase()}`;
  column.append(heading, cropCanvas(picture, box, name), make("p", CLOSEST_NOTE, "note"));
  return column;
}

function lookColumn({ scale, box, probabilities }, photo, picture) {
  const column = make("div");
  const heading = make("h3");
  const name = LOOK_HEADINGS[scale] ?? `Look ${scale}`;
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

  const described = prediction.labels.filter((label) => LABELS[label]);
  return described.map((label) => {
    const { name, about, source } = LABELS[label];
    const note = make("p", `${name}: ${about} `);
    if (source) note.append(make("cite", source));
    return note;
  });
}
