"""The confidence from which on the first scale's answer may stand for all scales' answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from leafzoom.fitting.decision import fit_decision
from leafzoom.fitting.folds import stratified_folds
from leafzoom.fitting.likelihood import label_probabilities
from leafzoom.labels import Decision, LabelSet, answer_confidence, decide

__all__ = ["MAX_LOSS", "FirstLooks", "first_looks", "fit_early_exit", "greatest_loss"]

_FOLDS = 5
_CONFIDENCES = np.arange(50, 100) / 100
_TWO_SIDED_90 = 0.9  # whose upper bound is the one-sided 95 % one

MAX_LOSS = 0.002
"""Of exact match, which an early exit may cost."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FirstLooks:
    """What the first look and all looks answer to n photographs, decided out of fold.

    `first_right`, `last_right`: whether each answer is right, [n]. `confidence`: of the first
    look's answer, [n].
    """

    first_right: NDArray[np.bool_]
    last_right: NDArray[np.bool_]
    confidence: Array


def fit_early_exit(
    first: NDArray[np.floating],
    last: NDArray[np.floating],
    targets: NDArray[np.uint8],
    labels: LabelSet,
    priors: Array | None = None,
) -> float | None:
    """The lowest confidence, of .50, .51, … .99, from which on an early exit costs little enough.

    Little enough: at every confidence from there on, the one-sided 95 % bound of the share of
    answers that an early exit makes wrong is at most 0.2 points (see `greatest_loss`).

    Args:
        first: logits [n, L] of scale 1.
        last: logits [n, L] of the last fusion, of photographs that neither was trained on.
        targets: [n, L].
        labels: with the combinations that are possible.
        priors: of their interactions (see `combination_priors`).

    Returns:
        None where no confidence that photographs reach does, and from fewer than 1,500
        photographs: even without a single loss among so few, a loss of 0.2 points could not be
        ruled out (the rule of three: 3 / n).
    """
    if len(targets) * MAX_LOSS < 3:
        return None
    looks = first_looks(first, last, targets, labels, priors)

    # From the strictest confidence down, until one costs too much.
    lowest: float | None = None
    for threshold in _CONFIDENCES[::-1]:
        exits = looks.confidence >= threshold
        losses = int((exits & looks.last_right & ~looks.first_right).sum())
        if greatest_loss(losses, len(targets)) > MAX_LOSS:
            break
        lowest = float(threshold)

    # A confidence that no photograph reaches has not been tried.
    return None if lowest is None or looks.confidence.max() < lowest else lowest


def first_looks(
    first: NDArray[np.floating],
    last: NDArray[np.floating],
    targets: NDArray[np.uint8],
    labels: LabelSet,
    priors: Array | None = None,
) -> FirstLooks:
    """Decide both heads five-fold out of fold, every label in every fold where it can be.

    Args: as of `fit_early_exit`.
    """
    count = len(targets)
    fold = stratified_folds(targets, _FOLDS, seed=0)
    first_right = np.zeros(count, bool)
    last_right = np.zeros(count, bool)
    confidence = np.zeros(count)
    for number in range(_FOLDS):
        held_out = fold == number
        fitted = ~held_out

        # Scale 1 alone.
        decision = fit_decision(first[fitted], targets[fitted], labels, priors)
        probabilities, answers = _answers(first[held_out], decision, labels)
        first_right[held_out] = (answers == targets[held_out]).all(axis=1)
        confidence[held_out] = answer_confidence(probabilities, answers, decision, labels)

        # All scales.
        decision = fit_decision(last[fitted], targets[fitted], labels, priors)
        _, answers = _answers(last[held_out], decision, labels)
        last_right[held_out] = (answers == targets[held_out]).all(axis=1)

    return FirstLooks(first_right, last_right, confidence)


def greatest_loss(losses: int, count: int) -> float:
    """The share of right answers made wrong that cannot be ruled out (one-sided 95 %).

    The exact bound of Clopper and Pearson. A bound by the normal distribution is too low where
    hardly any answer changes: after one loss in 1,677 it is 0.16 points, the exact one 0.28. Wrong
    answers made right do not count, so the loss of exact match is bounded too.

    >>> round(greatest_loss(1, 1677), 4)
    0.0028
    """
    interval = binomtest(losses, count).proportion_ci(_TWO_SIDED_90, method="exact")
    return float(interval.high)


def _answers(
    logits: NDArray[np.floating], decision: Decision, labels: LabelSet
) -> tuple[Array, NDArray[np.uint8]]:
    """Probabilities [n, L] and answers [n, L] from logits [n, L]."""
    probabilities = label_probabilities(logits, single_label=labels.single_label)
    return probabilities, decide(probabilities, decision, labels)
