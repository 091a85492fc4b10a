// A season's results by tree, as they are kept on this device.

import { answerName } from "./card.js";
import { pool } from "./decision.js";
import { byId, make, percent, saveFile } from "./dom.js";
import { historyCsv, historyGeojson, historyPictures } from "./history-exports.js";
import { nameOf } from "./labels.js";
import { locale, t } from "./messages.js";
import { addEntries, allEntries, deleteAll, deleteEntries, StoreError } from "./store.js";

const MAX_PICTURE_SIDE = 800;
const PICTURE_QUALITY = 0.85;
const PLACE_TIMEOUT_MS = 5000;
const MIN_SHOWN_SHARE = 0.05;

export class History {
  // onProblem: shows a sentence about what went wrong.
  constructor(onProblem) {
    this.onProblem = onProblem;
    this.model = null;
    this.entries = [];
    this.addresses = [];
    this.listen();
  }

  // The model whose decision pools a day's leaves.
  useModel(model) {
    this.model = model;
  }

  // Keep the results of one request. exif: of each photo, as far as the engine knows it.
  async keep({ predictions, files, exif, tree, wantsPlace }) {
    const time = new Date().toISOString();
    const here = wantsPlace ? await currentPlace() : {};
    const entries = [];
    for (const [index, result] of predictions.entries()) {
      if (result.error) continue;

      // Maps are large, and can be made again from the photo.
      const { evidence, ...plain } = result;
      const { taken, latitude, longitude } = exif[index];
      const ownPlace = latitude === undefined ? here : { latitude, longitude };
      entries.push({
        id: entryId(time, index),
        time,
        tree,
        result: plain,
        picture: await smallPicture(files[index]),
        ...(taken ? { taken } : {}),
        ...(wantsPlace ? ownPlace : {}),
      });
    }
    if (!entries.length) return;
    await this.attempt(async () => {
      await addEntries(entries);
      await this.load();
    });
  }

  // Read and show everything.
  show() {
    return this.attempt(() => this.load(), { isQuiet: true });
  }

  async attempt(work, { isQuiet = false } = {}) {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (!isQuiet) this.onProblem(t(`store.${error.code}`));
    }
  }

  async load() {
    this.entries = await allEntries();
    this.draw();
  }

  draw() {
    for (const address of this.addresses) URL.revokeObjectURL(address);
    this.addresses = [];

    const byTree = Map.groupBy?.(this.entries, ({ tree }) => tree) ?? grouped(this.entries);
    const names = [...byTree.keys()].sort((a, b) => a.localeCompare(b, locale()));
    byId("history").hidden = !this.entries.length;
    byId("history-geojson").disabled = !this.entries.some(({ latitude }) => latitude !== undefined);
    byId("history-trees").replaceChildren(
      ...names.map((name) => this.treeElement(name, byTree.get(name))),
    );

    const options = names.filter(Boolean).map((name) => {
      const option = make("option");
      option.value = name;
      return option;
    });
    byId("trees").replaceChildren(...options);
  }

  // A tree with its days, the newest first.
  treeElement(name, entries) {
    const element = make("section", undefined, "tree");
    element.append(make("h3", name || t("history.no_tree")));
    const days = new Map();
    for (const entry of entries) {
      const day = (entry.taken ?? entry.time).slice(0, 10);
      days.set(day, [...(days.get(day) ?? []), entry]);
    }
    for (const day of [...days.keys()].sort().reverse())
      element.append(this.dayElement(day, days.get(day)));
    return element;
  }

  dayElement(day, entries) {
    const element = make("div", undefined, "day");
    const date = new Date(`${day}T12:00:00`).toLocaleDateString(locale(), { dateStyle: "medium" });
    const count = entries.length === 1 ? t("history.leaf") : t("history.leaves", { count: entries.length });
    element.append(make("h4", `${date} · ${count}`));
    const summary = this.summaryOf(entries);
    if (summary) element.append(make("p", summary, "note"));

    const list = make("ul", undefined, "entries");
    list.append(...entries.map((entry) => this.entryElement(entry)));
    element.append(list);
    return element;
  }

  // The expected share of a day's leaves with each label.
  summaryOf(entries) {
    const known = entries.filter(({ result }) => this.model?.name === result.model);
    if (known.length < 2 || known.length < entries.length) return "";
    const pooled = pool(known.map(({ result }) => result), this.model);
    if (!pooled) return "";
    return Object.entries(pooled.share)
      .filter(([, share]) => share >= MIN_SHOWN_SHARE)
      .sort(([, first], [, second]) => second - first)
      .map(([label, share]) => `${nameOf(label)} ${percent(share)}`)
      .join(", ");
  }

  entryElement({ id, result, picture }) {
    const item = make("li");
    if (picture) {
      const image = make("img");
      image.src = URL.createObjectURL(picture);
      this.addresses.push(image.src);
      image.alt = result.photo;
      image.loading = "lazy";
      item.append(image);
    }
    const answer = answerName(result.likely);
    const confidence = percent(result.confidence);
    const texts = {
      diagnosis: `${answer} (${confidence})`,
      unsure: `${t("card.unsure")}: ${answer} (${confidence})`,
      not_a_leaf: t("card.no_leaf"),
    };
    item.append(make("span", texts[result.verdict]));

    const button = make("button", "✕", "round small");
    button.type = "button";
    button.setAttribute("aria-label", t("history.delete_one", { photo: result.photo }));
    button.addEventListener("click", () =>
      this.attempt(async () => {
        await deleteEntries([id]);
        await this.load();
      }),
    );
    item.append(button);
    return item;
  }

  listen() {
    const save = (content, type, name) => saveFile(new Blob([content], { type }), name);
    byId("history-csv").addEventListener("click", () =>
      save(historyCsv(this.entries), "text/csv", "leafzoom-history.csv"),
    );
    byId("history-geojson").addEventListener("click", () =>
      save(historyGeojson(this.entries), "application/geo+json", "leafzoom-history.geojson"),
    );
    byId("history-pictures").addEventListener("click", async () => {
      saveFile(await historyPictures(this.entries), "leafzoom-pictures.zip");
    });
    byId("history-delete").addEventListener("click", () => {
      if (!confirm(t("history.confirm"))) return;
      this.attempt(async () => {
        await deleteAll();
        await this.load();
      });
    });
  }
}

// Entries of the same time are read in the order of these: that of their photos.
function entryId(time, index) {
  const unique = crypto.randomUUID?.() ?? Math.random();
  return `${time}-${String(index).padStart(3, "0")}-${unique}`;
}

function grouped(entries) {
  const groups = new Map();
  for (const entry of entries) groups.set(entry.tree, [...(groups.get(entry.tree) ?? []), entry]);
  return groups;
}

// A copy of a photo that is small enough to keep hundreds of; null where it cannot be drawn.
async function smallPicture(file) {
  try {
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
    const scale = Math.min(1, MAX_PICTURE_SIDE / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const pen = canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", PICTURE_QUALITY));
  } catch {
    return null;
  }
}

// Where the device is; empty where it does not know, or its owner does not say.
function currentPlace() {
  if (!navigator.geolocation) return Promise.resolve({});
  return new Promise((resolve) => {
    navigator.geolocation.getCurrentPosition(
      ({ coords }) =>
        resolve({
          latitude: Number(coords.latitude.toFixed(6)),
          longitude: Number(coords.longitude.toFixed(6)),
        }),
      () => resolve({}),
      { timeout: PLACE_TIMEOUT_MS, maximumAge: 60_000, enableHighAccuracy: true },
    );
  });
}
