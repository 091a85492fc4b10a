// The page of a review: one photograph at a time, a key or a button a decision.

const byId = (id) => document.getElementById(id);

const KINDS = {
  all: "all",
  duplicate: "conflicting near-duplicates",
  label: "suspect labels",
  outlier: "outliers",
  unlabelled: "to label first",
};

const CHOICES = {
  keep: "the given labels are kept",
  change: "new labels",
  leave_out: "left out of the table",
  unsure: "unsure",
};

let review;
let current = -1;

// A new element. Texts come from files: they are set as text, never as markup.
function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

const words = (labels) => labels.join(" + ").replaceAll("_", " ") || "no label";

// 100 % is for certainty alone.
const percent = (share) => `${share < 1 ? Math.min(Math.round(100 * share), 99) : 100} %`;

function say(text, isBad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", isBad);
}

// The numbers of the items that are shown, in their order.
function shownNumbers() {
  const kind = byId("kind").value;
  const openOnly = byId("open").checked;
  const numbers = [...review.items.keys()];
  return numbers.filter(
    (number) =>
      (kind === "all" || review.items[number].kinds.includes(kind)) &&
      (!openOnly || !review.decisions[number] || number === current),
  );
}

function fillKinds() {
  for (const [kind, title] of Object.entries(KINDS)) {
    const count = review.items.filter((i) => kind === "all" || i.kinds.includes(kind)).length;
    if (!count) continue;
    const option = make("option", `${title} (${count})`);
    option.value = kind;
    byId("kind").append(option);
  }
}

function figure(address, caption, alternative, className) {
  const element = make("figure", undefined, className);
  const image = make("img");
  image.src = address;
  image.alt = alternative;
  image.addEventListener("error", () => {
    element.replaceChildren(make("p", `${caption}: the picture cannot be shown`, "bad"));
  });
  const text = make("figcaption");
  if (className?.startsWith("zoom")) text.append(make("span", undefined, "mark"));
  text.append(caption);
  element.append(image, text);
  return element;
}

function showViews() {
  const item = review.items[current];
  const label = byId("evidence").value;
  const query = label ? `?evidence=${encodeURIComponent(label)}` : "";
  const about = label ? `, what speaks for ${words([label])} is tinted` : "";
  const address = (scale) => `api/items/${current}/views/${scale}.jpg${query}`;

  const figures = [figure(address(1), "the photograph", `the photograph${about}`, "wide")];
  for (const number of item.boxes.keys()) {
    const name = `zoom ${number + 1}`;
    figures.push(figure(address(number + 2), name, `${name}${about}`, `zoom${number + 1}`));
  }
  if (item.twin) {
    const caption = `${item.twin}, labelled ${words(item.twin_labels)}`;
    const twin = `api/items/${current}/twin.jpg`;
    figures.push(figure(twin, `near-duplicate: ${caption}`, "its near-duplicate", "wide"));
  }
  byId("views").replaceChildren(...figures);
}

function showLabels() {
  const item = review.items[current];
  const decision = review.decisions[current];
  const ticked = decision ? decision.labels : item.suggested;

  const entries = review.labels.map((name, index) => {
    const box = make("input");
    box.type = "checkbox";
    box.value = name;
    box.checked = ticked.includes(name);

    const bar = make("progress");
    bar.max = 1;
    bar.value = item.probabilities[name];
    bar.setAttribute("aria-hidden", "true");

    const label = make("label");
    const key = make("kbd", index < 9 ? String(index + 1) : "");
    key.hidden = index >= 9;
    label.append(box, key, make("span", words([name])));
    label.append(make("span", percent(item.probabilities[name]), "share"), bar);
    const entry = make("li");
    entry.append(label);
    return entry;
  });
  byId("labels").replaceChildren(...entries);
}

function showDecision() {
  const item = review.items[current];
  const decision = review.decisions[current];
  byId("undo").disabled = !decision;
  byId("keep").disabled = !item.given.length;
  byId("accept").disabled = !item.suggested.length;
  byId("decided").textContent = "";
  if (!decision) return;
  const labels = decision.choice === "change" ? `: ${words(decision.labels)}` : "";
  byId("decided").textContent = `Decided: ${CHOICES[decision.choice]}${labels}`;
}

function showProgress() {
  const numbers = shownNumbers();
  const place = numbers.indexOf(current) + 1;
  const decided = Object.keys(review.decisions).length;
  byId("progress").textContent =
    `${place} of ${numbers.length}; ${decided} of ${review.items.length} decided`;
}

function show(number) {
  current = number;
  const item = review.items[number];
  byId("item").hidden = false;
  byId("name").textContent = item.image_name;
  const reasons = item.reason.split("\n").map((reason) => make("li", reason));
  byId("reasons").replaceChildren(...reasons);
  byId("given").textContent = `Given: ${words(item.given)}`;
  byId("suggested").textContent = `Suggested: ${words(item.suggested)}`;
  byId("evidence").value = "";
  showViews();
  showLabels();
  showDecision();
  showProgress();
}

// Go to the next or previous item that is shown; stay at the ends.
function step(by) {
  const numbers = shownNumbers();
  const place = numbers.indexOf(current) + by;
  if (place < 0 || place >= numbers.length) {
    say(by > 0 ? "This is the last photograph of the list." : "This is the first photograph.");
    return;
  }
  show(numbers[place]);
  say("");
  byId("item").focus({ preventScroll: true });
}

function showFirst() {
  const numbers = shownNumbers();
  const isOpen = (number) => !review.decisions[number];
  const first = numbers.find(isOpen) ?? numbers[0];
  if (first === undefined) {
    byId("item").hidden = true;
    say("There is nothing to review here.");
    return;
  }
  show(first);
}

async function send(method, number, body) {
  const options = { method };
  if (body) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(`api/decisions/${number}`, options);
  } catch {
    throw new Error("leafzoom review does not answer: is it still running?");
  }
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.detail ?? `status ${answer.status}`);
  return content;
}

let isSending = false;

async function decide(choice, labels = []) {
  if (isSending || current < 0) return;
  isSending = true;
  const number = current;
  try {
    review.decisions[number] = await send("PUT", number, { choice, labels });
  } catch (error) {
    say(`Not saved: ${error.message}`, true);
    return;
  } finally {
    isSending = false;
  }

  const decision = review.decisions[number];
  showDecision();
  const isLast = shownNumbers().at(-1) === number;
  if (!isLast) step(1);
  const made = decision.choice === "change" ? words(decision.labels) : CHOICES[decision.choice];
  say(`Saved for ${review.items[number].image_name}: ${made}.`);
  showProgress();
}

async function takeBack() {
  if (isSending || current < 0 || !review.decisions[current]) return;
  isSending = true;
  try {
    await send("DELETE", current);
    delete review.decisions[current];
    say("The decision was taken back.");
  } catch (error) {
    say(`Not taken back: ${error.message}`, true);
  } finally {
    isSending = false;
  }
  showLabels();
  showDecision();
  showProgress();
}

function tickedLabels() {
  const boxes = [...byId("labels").querySelectorAll("input")];
  return boxes.filter((box) => box.checked).map((box) => box.value);
}

function tick(index) {
  const box = byId("labels").querySelectorAll("input")[index];
  if (!box) return;
  box.checked = !box.checked;
  say(`${words([box.value])} ${box.checked ? "ticked" : "not ticked"}.`);
}

// Nothing, then every label in turn.
function nextEvidence() {
  if (!review.has_evidence) return;
  const select = byId("evidence");
  select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
  showViews();
  say(select.value ? `What speaks for ${words([select.value])} is tinted.` : "The plain photo.");
}

const acceptSuggestion = () => {
  if (!byId("accept").disabled) decide("change", review.items[current].suggested);
};
const keepGiven = () => {
  if (!byId("keep").disabled) decide("keep");
};

const ACTIONS = {
  j: () => step(1),
  k: () => step(-1),
  g: keepGiven,
  a: acceptSuggestion,
  s: () => decide("change", tickedLabels()),
  u: () => decide("unsure"),
  x: () => decide("leave_out"),
  z: takeBack,
  e: nextEvidence,
};

function onKey(event) {
  if (!byId("keys").checked || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof HTMLSelectElement || byId("item").hidden) return;
  const key = event.key.toLowerCase();
  if (key >= "1" && key <= "9" && key.length === 1) {
    tick(Number(key) - 1);
  } else if (ACTIONS[key]) {
    ACTIONS[key]();
  } else {
    return;
  }
  event.preventDefault();
}

function listen() {
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("keep").addEventListener("click", keepGiven);
  byId("accept").addEventListener("click", acceptSuggestion);
  byId("unsure").addEventListener("click", () => decide("unsure"));
  byId("leave").addEventListener("click", () => decide("leave_out"));
  byId("undo").addEventListener("click", takeBack);
  byId("evidence").addEventListener("change", showViews);
  byId("kind").addEventListener("change", showFirst);
  byId("open").addEventListener("change", showFirst);
  byId("decide").addEventListener("submit", (event) => {
    event.preventDefault();
    decide("change", tickedLabels());
  });
  document.addEventListener("keydown", onKey);
}

async function start() {
  const answer = await fetch("api/review");
  review = await answer.json();
  byId("ranked").textContent = `${review.ranked} Model: ${review.model_name}.`;
  byId("saved").textContent = review.saved_in;
  byId("speaks").hidden = !review.has_evidence;
  byId("evidence-key").hidden = !review.has_evidence;
  for (const label of review.has_evidence ? review.labels : []) {
    const option = make("option", words([label]));
    option.value = label;
    byId("evidence").append(option);
  }
  fillKinds();
  listen();
  showFirst();
}

start().catch((error) => say(`The review cannot be shown: ${error.message}`, true));
