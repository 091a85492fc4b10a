// What each label means. Diseases after Sutton, Aldwinckle, Agnello and Walgenbach (eds.),
// "Compendium of Apple and Pear Diseases and Pests", 2nd edition, APS Press 2014; the label
// `complex` after the data set's authors. The words are in messages.json.

import { has, t } from "./messages.js";

const COMPENDIUM = "Compendium of Apple and Pear Diseases and Pests, 2nd ed., APS Press 2014";
const DATASET = "Plant Pathology 2021 (FGVC8), description of the data";

const SOURCES = {
  scab: COMPENDIUM,
  rust: COMPENDIUM,
  frog_eye_leaf_spot: COMPENDIUM,
  powdery_mildew: COMPENDIUM,
  complex: DATASET,
  healthy: "",
};

// A label for people; one that is not listed is written with spaces.
export const nameOf = (label) =>
  has(`label.${label}`) ? t(`label.${label}`) : label.replaceAll("_", " ");

// { name, about, source } of a label that is described; else null.
export function describe(label) {
  if (!has(`about.${label}`)) return null;
  return { name: nameOf(label), about: t(`about.${label}`), source: SOURCES[label] ?? "" };
}
