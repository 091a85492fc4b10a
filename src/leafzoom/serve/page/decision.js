// From a network's outputs to an answer, as labels.py, verdict.py, prediction_sets.py and pooled.py
// compute it. Both engines use it: the phone for each photo, the page for a tree's photos together.
//
// model: the description that `leafzoom export --web` writes and `api/v1/model` has.

const MIN_PROBABILITY = 1e-7; // log-odds are computed no closer than this to 0 and 1
const MIN_CLASS_PROBABILITY = 1e-30;
const ROUNDING = 1e-9; // of (n + 1) times a coverage, which is meant to be exact

const rounded = (value, digits) => Number(value.toFixed(digits));
const sum = (values) => values.reduce((total, value) => total + value, 0);

function logOdds(probability) {
  const clipped = Math.min(Math.max(probability, MIN_PROBABILITY), 1 - MIN_PROBABILITY);
  return Math.log(clipped) - Math.log1p(-clipped);
}

// The row of the greatest value, the first of equal ones.
const greatestRow = (values) => values.indexOf(Math.max(...values));

const labelsOf = (row, model) => model.labels.filter((_, index) => row[index]);

// The calibrated probability of every combination that occurs; see labels.combination_probabilities.
export function combinationProbabilities(probabilities, decision, model) {
  const { thresholds, temperature, interactions, lapse_rate: lapseRate } = decision;
  const evidence = Array.from(probabilities, (probability, index) => {
    if (model.single_label) return Math.log(Math.max(probability, MIN_CLASS_PROBABILITY));
    return logOdds(probability) - (interactions.length ? logOdds(thresholds[index]) : 0);
  });
  const scores = model.combinations.map(
    (row, index) =>
      sum(row.map((isOn, label) => isOn * evidence[label])) / temperature +
      (interactions[index] ?? 0),
  );

  // The softmax, in logarithms so that large scores do not overflow.
  const greatest = Math.max(...scores);
  const logTotal = greatest + Math.log(sum(scores.map((score) => Math.exp(score - greatest))));
  return scores.map(
    (score) => (1 - lapseRate) * Math.exp(score - logTotal) + lapseRate / scores.length,
  );
}

// What an answer is worth where another combination is true: of exact match and F1, one to two.
function answerWorth(truth, answer) {
  const shared = sum(truth.map((isOn, label) => isOn * answer[label]));
  const total = sum(truth) + sum(answer);
  const isExact = truth.every((isOn, label) => isOn === answer[label]);
  const f1 = total > 0 ? (2 * shared) / total : 1;
  return ((isExact ? 1 : 0) + 2 * f1) / 3;
}

// The index of the best combination; see labels.decide.
export function decide(probabilities, decision, model) {
  const { combinations } = model;
  if (model.single_label) {
    const best = greatestRow(Array.from(probabilities));
    return combinations.findIndex((row) => row[best]);
  }

  if (decision.interactions.length) {
    const posterior = combinationProbabilities(
      probabilities,
      { ...decision, lapse_rate: 0 },
      model,
    );
    const worths = combinations.map((answer) =>
      sum(combinations.map((truth, index) => posterior[index] * answerWorth(truth, answer))),
    );
    return greatestRow(worths);
  }

  const evidence = Array.from(
    probabilities,
    (probability, index) => logOdds(probability) - logOdds(decision.thresholds[index]),
  );
  return greatestRow(
    combinations.map((row) => sum(row.map((isOn, label) => isOn * evidence[label]))),
  );
}

// `diagnosis`, `unsure` or `not_a_leaf`; see verdict.py. A score that is no number is no leaf.
export function verdictOf(confidence, oodScore, isSupported, model) {
  if (oodScore !== null && !(oodScore <= model.max_ood_score)) return "not_a_leaf";
  if (confidence < model.min_confidence || !isSupported) return "unsure";
  return "diagnosis";
}

// From which probability on a combination is possible; see calibration.least_probability.
export function leastProbability({ photographs, probabilities }, coverage) {
  const covered = Math.ceil((photographs + 1) * coverage - ROUNDING);
  const place = photographs + 1 - covered;
  if (place < 1) return 0;
  return place > probabilities.length ? Infinity : probabilities[place - 1];
}

// The combinations that are possible with a coverage, the likeliest first; never none.
export function possibleAnswers(probabilities, answer, decision, model, coverage) {
  const least = leastProbability(model.conformal, coverage);
  const posterior = combinationProbabilities(probabilities, decision, model);
  return model.combinations
    .map((row, index) => ({ row, index, probability: posterior[index] }))
    .sort((first, second) => second.probability - first.probability || first.index - second.index)
    .filter(({ index, probability }) => probability >= least || index === answer)
    .map(({ row }) => labelsOf(row, model));
}

// A box of the source as a rectangle on the photo, clipped to it.
export function photoBox(box, sourceSize, [width, height]) {
  const sides = [width, height, width, height];
  return Array.from(box, (edge, index) => {
    const side = sides[index];
    return rounded(Math.min(Math.max((edge * side) / sourceSize, 0), side), 2);
  });
}

const byLabel = (values, model) =>
  Object.fromEntries(model.labels.map((label, index) => [label, rounded(values[index], 6)]));

// The prediction of one photo, as the API gives it.
// outputs: {name: Float32Array} of one photo; maps: {name: [L, h, w]} has the shapes of its evidence.
// isFirstLook: whether the first look alone has answered.
export function predictionOf({
  photo, outputs, maps, model, photoSize, sourceSize, isFirstLook, coverage,
}) {
  const looks = isFirstLook ? model.look_heads.slice(0, 1) : model.look_heads;
  const head = isFirstLook ? looks[0] : model.head;
  const probabilities = outputs[`probabilities_${head}`];
  const decision = model.decisions[head];
  const answer = decide(probabilities, decision, model);
  const confidence = combinationProbabilities(probabilities, decision, model)[answer];

  // A fused answer that no look gives by itself is too uncertain for a diagnosis.
  const isSupported = looks.some((look) => {
    const own = outputs[`probabilities_${look}`];
    return decide(own, model.decisions[look], model) === answer;
  });
  const score = outputs[isFirstLook ? "strangeness_scale1" : "strangeness"]?.[0] ?? null;
  const verdict = verdictOf(confidence, score, isSupported, model);
  const likely = labelsOf(model.combinations[answer], model);

  const prediction = {
    photo,
    labels: verdict === "diagnosis" ? likely : [],
    probabilities: byLabel(probabilities, model),
    scales: looks.map((look, index) => ({
      scale: index + 1,
      box: photoBox(boxOf(look, outputs, sourceSize), sourceSize, photoSize),
      probabilities: byLabel(outputs[`probabilities_${look}`], model),
      ...(look.startsWith("part") ? { part: Number(look.slice(4)) } : {}),
    })),
    verdict,
    likely,
    confidence: rounded(confidence, 6),
    strangeness: score !== null && Number.isFinite(score) ? rounded(score, 4) : null,
    model: model.name,
  };
  if (coverage && !isFirstLook && model.conformal) {
    const isLeaf = verdict !== "not_a_leaf";
    prediction.possible = isLeaf
      ? possibleAnswers(probabilities, answer, decision, model, coverage)
      : [];
  }
  if (model.maps) prediction.evidence = evidenceOf({ outputs, maps, model, photoSize, sourceSize, isFirstLook });
  return prediction;
}

// The first look is at the whole source.
const boxOf = (look, outputs, sourceSize) =>
  outputs[`box_${look}`] ?? [0, 0, sourceSize, sourceSize];

// What the logits of the answer are the sum of; see evidence.py.
function evidenceOf({ outputs, maps, model, photoSize, sourceSize, isFirstLook }) {
  const names = isFirstLook
    ? ["evidence_first_look"]
    : model.look_heads.map((_, index) => `evidence_scale${index + 1}`);
  const bias = outputs[isFirstLook ? "evidence_first_look_bias" : "evidence_bias"];
  return {
    bias: Object.fromEntries(model.labels.map((label, index) => [label, rounded(bias[index], 5)])),
    maps: names.map((name) =>
      Object.fromEntries(
        model.labels.map((label, index) => [label, mapRows(outputs[name], maps[name], index)]),
      ),
    ),
    closest_box: isFirstLook ? null : photoBox(outputs.box_closest, sourceSize, photoSize),
  };
}

function mapRows(values, [, height, width], label) {
  return Array.from({ length: height }, (_, row) =>
    Array.from({ length: width }, (_, column) =>
      rounded(values[(label * height + row) * width + column], 5),
    ),
  );
}

// What several photos say together; null without a leaf. See pooled.py.
export function pool(results, model) {
  const leaves = results.filter((result) => !result.error && result.verdict !== "not_a_leaf");
  if (!leaves.length) return null;

  const byLeaf = leaves.map((leaf) => labelProbabilities(leaf, model));
  const share = {};
  const anyLeaf = {};
  for (const [index, label] of model.labels.entries()) {
    const column = byLeaf.map((row) => row[index]);
    share[label] = unitRounded(sum(column) / column.length);
    anyLeaf[label] = unitRounded(1 - column.reduce((none, value) => none * (1 - value), 1));
  }
  return { leaves: leaves.length, share, any_leaf: anyLeaf };
}

const unitRounded = (value) => rounded(Math.min(Math.max(value, 0), 1), 6);

// The calibrated probabilities of a leaf's labels.
function labelProbabilities(leaf, model) {
  // After an early exit the first look alone has answered.
  const head = leaf.scales.length === model.scales ? model.head : model.look_heads[0];
  const row = model.labels.map((label) => leaf.probabilities[label]);
  const posterior = combinationProbabilities(row, model.decisions[head], model);
  return model.labels.map((_, label) => {
    const total = sum(model.combinations.map((on, index) => on[label] * posterior[index]));
    return Math.min(Math.max(total, 0), 1);
  });
}
