"""Ways to decide about one label that is hard, `complex`, from the probabilities of combinations.

All are compared on the same probabilities, which are out of fold. What a way fits, it fits out of
fold too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.unseen_answers import combination_indices
from leafzoom.labels import LabelSet

__all__ = [
    "DECISIONS",
    "CostSensitive",
    "Decide",
    "f1_of",
    "stacked_posterior",
]

_FOLDS = 5
_FOLD_SEED = 1
_THRESHOLDS = np.linspace(0.05, 0.95, 91)
_COSTS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
_STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_LEAST_PROBABILITY = 1e-4

Array = NDArray[np.float64]
Answers = NDArray[np.uint8]
Decide = Callable[[Array, Answers, LabelSet], Answers]
"""From probabilities of combinations [n, C] and targets [n, L] to answers [n, L]."""


def f1_of(targets: Answers, answers: Answers) -> Array:
    """The F1 of each label, [L]; 0 for a label that is neither given nor answered."""
    both = (targets & answers).sum(axis=0)
    either = targets.sum(axis=0) + answers.sum(axis=0)
    return np.asarray(2 * both / np.maximum(either, 1))


def most_probable(posterior: Array, _targets: Answers, labels: LabelSet) -> Answers:
    """The most probable combination, which is best for exact match."""
    return _chosen(posterior, labels)


def expected_f1(posterior: Array, _targets: Answers, labels: LabelSet) -> Answers:
    """The combination whose labels have the greatest expected F1 with the true ones."""
    combinations = _combinations(labels).astype(np.float64)
    sizes = combinations.sum(axis=1)
    total = np.maximum(sizes[:, None] + sizes[None], 1)
    worth = 2 * (combinations @ combinations.T) / total
    return _chosen(posterior @ worth, labels)


def probable_labels(posterior: Array, _targets: Answers, labels: LabelSet) -> Answers:
    """Each label by itself, if it is more probable than not."""
    return np.asarray(posterior @ _combinations(labels) > 0.5, np.uint8)


def thresholds_for_f1(posterior: Array, targets: Answers, labels: LabelSet) -> Answers:
    """Each label by itself, above the threshold that had the best F1 on other photographs."""
    marginals = posterior @ _combinations(labels)
    fold = _folds(len(targets))
    answers = np.zeros_like(targets)
    for number in range(_FOLDS):
        inside = fold == number
        for label in range(targets.shape[1]):
            threshold = _best_threshold(marginals[~inside, label], targets[~inside, label])
            answers[inside, label] = marginals[inside, label] > threshold
    return answers


class CostSensitive:
    """The most probable combination, with combinations of one label weighted by its cost.

    The cost is that of missing the label; it is the one with the best F1 of the label on other
    photographs.

    Args:
        name: of the label.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, posterior: Array, targets: Answers, labels: LabelSet) -> Answers:
        """The answers [n, L]."""
        column = labels.names.index(self.name)
        by_cost = [self._answers(posterior, labels, column, cost) for cost in _COSTS]

        fold = _folds(len(targets))
        answers = np.zeros_like(targets)
        for number in range(_FOLDS):
            inside = fold == number
            f1s = [f1_of(targets[~inside], each[~inside])[column] for each in by_cost]
            answers[inside] = by_cost[int(np.argmax(f1s))][inside]
        return answers

    def _answers(self, posterior: Array, labels: LabelSet, column: int, cost: float) -> Answers:
        combinations = _combinations(labels)
        weights = np.where(combinations[:, column] == 1, cost, 1.0)
        return _chosen(posterior * weights, labels)


DECISIONS: dict[str, Decide] = {
    "most probable combination": most_probable,
    "greatest expected F1": expected_f1,
    "each label above one half": probable_labels,
    "each label above its best threshold": thresholds_for_f1,
}
"""Ways to decide that do not favour a label."""


def stacked_posterior(inputs: Array, targets: Answers, labels: LabelSet) -> Array:
    """The probabilities [n, C] of one softmax over combinations, out of fold.

    A multinomial logistic regression on all scales' logits. A combination's weights are its own, so
    it can hold for reasons that its labels by themselves do not show.

    Args:
        inputs: [n, D].
        targets: [n, L].
        labels: with C combinations.
    """
    given = combination_indices(targets, labels)
    fold = _folds(len(targets))
    posterior = np.zeros((len(targets), len(labels.combinations)))
    for number in range(_FOLDS):
        inside = fold == number
        strength = _best_strength(inputs[~inside], given[~inside], posterior.shape[1])
        model = _fitted(inputs[~inside], given[~inside], strength)
        posterior[inside] = _probabilities(model, inputs[inside], posterior.shape[1])
    return posterior


def _best_strength(inputs: Array, given: NDArray[np.intp], count: int) -> float:
    """The inverse penalty under which a held-out fifth is likeliest."""
    held_out = _folds(len(given)) == 0
    losses = []
    for strength in _STRENGTHS:
        model = _fitted(inputs[~held_out], given[~held_out], strength)
        posterior = _probabilities(model, inputs[held_out], count)
        of_given = posterior[np.arange(len(posterior)), given[held_out]]
        losses.append(float(-np.log(np.maximum(of_given, _LEAST_PROBABILITY)).mean()))
    return _STRENGTHS[int(np.argmin(losses))]


def _fitted(inputs: Array, given: NDArray[np.intp], strength: float) -> Pipeline:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    model.fit(inputs, given)
    return model


def _probabilities(model: Pipeline, inputs: Array, count: int) -> Array:
    """Of all combinations; 0 for those that no photograph of the fit has."""
    posterior = np.zeros((len(inputs), count))
    posterior[:, np.asarray(model.classes_, np.intp)] = model.predict_proba(inputs)
    return posterior


def _combinations(labels: LabelSet) -> Answers:
    return np.array(labels.combinations, np.uint8)


def _chosen(scores: Array, labels: LabelSet) -> Answers:
    """The combination with the greatest score, [n, L]."""
    return np.asarray(_combinations(labels)[scores.argmax(axis=1)], np.uint8)


def _folds(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(_FOLD_SEED).permutation(count) % _FOLDS


def _best_threshold(marginals: Array, targets: Answers) -> float:
    """The threshold with the best F1 of one label."""
    f1s = []
    for threshold in _THRESHOLDS:
        answers = (marginals > threshold).astype(np.uint8)
        f1s.append(float(f1_of(targets[:, None], answers[:, None])[0]))
    return float(_THRESHOLDS[int(np.argmax(f1s))])
