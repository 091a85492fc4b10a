// What each label means. Diseases after Sutton, Aldwinckle, Agnello and Walgenbach (eds.),
// "Compendium of Apple and Pear Diseases and Pests", 2nd edition, APS Press 2014; the label
// `complex` after the data set's authors.

const COMPENDIUM = "Compendium of Apple and Pear Diseases and Pests, 2nd ed., APS Press 2014";
const DATASET = "Plant Pathology 2021 (FGVC8), description of the data";

export const LABELS = {
  scab: {
    name: "Apple scab",
    about:
      "A fungus, Venturia inaequalis. Look for olive to dark brown, velvety spots with feathery " +
      "edges, often along the veins.",
    source: COMPENDIUM,
  },
  rust: {
    name: "Rust",
    about:
      "Fungi of the genus Gymnosporangium, which need junipers as well as apples. Look for " +
      "bright yellow to orange spots on the upper side.",
    source: COMPENDIUM,
  },
  frog_eye_leaf_spot: {
    name: "Frogeye leaf spot",
    about:
      "The leaf stage of black rot, a fungus of the genus Botryosphaeria. Look for round spots " +
      "with a tan centre and a purple rim.",
    source: COMPENDIUM,
  },
  powdery_mildew: {
    name: "Powdery mildew",
    about:
      "A fungus, Podosphaera leucotricha. Look for a white to grey powder, and for leaves that " +
      "are narrow, folded or curled.",
    source: COMPENDIUM,
  },
  complex: {
    name: "Several problems",
    about:
      "The label for leaves with more damage than one name tells. Look at the spots one by one, " +
      "and at other leaves of the tree.",
    source: DATASET,
  },
  healthy: {
    name: "Healthy",
    about: "None of the diseases this model knows was seen on this leaf.",
    source: "",
  },
};

// A label for people; one that is not listed is written with spaces.
export const nameOf = (label) => LABELS[label]?.name ?? label.replaceAll("_", " ");
