// The history for other programs: a CSV, a GeoJSON of the places, the pictures in a ZIP archive.

import { csvText } from "./csv.js";
import { zipOf } from "./zip.js";

const NAME_CHARACTERS = /[^\p{L}\p{N}._-]+/gu;
const MAX_NAME = 60;

// A row a result. The columns are those of `predict --format csv`, behind the time and the tree.
export function historyCsv(entries) {
  const labels = [...new Set(entries.flatMap(({ result }) => Object.keys(result.probabilities)))];
  const header = [
    "time", "tree", "photo", "verdict", "labels", "confidence", ...labels,
    "taken", "latitude", "longitude", "model",
  ];
  const rows = entries.map(({ time, tree, result, taken, latitude, longitude }) => [
    time, tree, result.photo, result.verdict, result.labels.join(" "), result.confidence,
    ...labels.map((label) => result.probabilities[label]),
    taken, latitude, longitude, result.model,
  ]);
  return csvText([header, ...rows]);
}

// A point a result with a place; RFC 7946 has the longitude first.
export function historyGeojson(entries) {
  const features = entries
    .filter(({ latitude, longitude }) => latitude !== undefined && longitude !== undefined)
    .map(({ id, time, tree, result, taken, latitude, longitude }) => ({
      type: "Feature",
      id,
      geometry: { type: "Point", coordinates: [longitude, latitude] },
      properties: {
        time,
        tree,
        taken: taken ?? null,
        photo: result.photo,
        verdict: result.verdict,
        labels: result.labels,
        confidence: result.confidence,
        model: result.model,
      },
    }));
  return `${JSON.stringify({ type: "FeatureCollection", features }, null, 1)}\n`;
}

// The kept pictures, in a folder a tree.
export function historyPictures(entries) {
  const names = new Set();
  const files = entries
    .filter(({ picture }) => picture)
    .map(({ time, tree, result, picture }) => {
      const folder = plainName(tree) || "tree";
      const stem = plainName(result.photo.replace(/\.[^.]*$/, "")) || "photo";
      return { name: freeName(names, `${folder}/${time.slice(0, 10)}-${stem}`), blob: picture };
    });
  return zipOf(files);
}

const plainName = (text) => text.replace(NAME_CHARACTERS, "-").slice(0, MAX_NAME).replace(/^[.-]+/, "");

function freeName(names, stem) {
  let name = `${stem}.jpg`;
  for (let number = 2; names.has(name); number++) name = `${stem}-${number}.jpg`;
  names.add(name);
  return name;
}
