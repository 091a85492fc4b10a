"""The confidence from which on the first scale's answer may stand for all scales' answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binomtest

from leafzoom.fitting.decision import fit_decision
from leafzoom.fitting.folds import stratified_folds
from leafzoom.labels import Decision, LabelSet, answer_confidence, decide

__all__ = ["fit_early_exit"]

_FOLDS = 5
_CONFIDENCES = np.arange(50, 100) / 100
_MAX_LOSS = 0.002  # of exact match, which an early exit may cost
_ONE_SIDED_95 = 1.645  # standard errors
_TWO_SIDED_90 = 0.9  # whose upper bound is the one-sided 95 % one

Array = NDArray[np.float64]


def fit_early_exit(
    first: NDArray[np.floating],
    last: NDArray[np.floating],
    targets: NDArray[np.uint8],
    labels: LabelSet,
    priors: Array | None = None,
) -> float | None:
    """The lowest confidence, of .50, .51, … .99, from which on an early exit costs little enough.

    Little enough: at every confidence from there on the exact match stays, at the one-sided 95 %
    level, within 0.2 points of that of all scales. Two bounds have to hold: a paired one, which
    takes the mean for normally distributed, and the exact one (Clopper and Pearson) of the answers
    that an early exit makes wrong, less the share that it makes right. Decisions and confidences
    are five-fold out of fold, every label in every fold where it can be.

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
    count = len(targets)
    if count * _MAX_LOSS < 3:
        return None

    # Out of fold: whether both heads are right, and how confident the first scale is.
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

    # From the strictest confidence down, until one costs too much.
    gain = first_right.astype(np.float64) - last_right
    lowest: float | None = None
    for threshold in _CONFIDENCES[::-1]:
        change = np.where(confidence >= threshold, gain, 0.0)
        if _greatest_loss(change) > _MAX_LOSS:
            break
        lowest = float(threshold)

    # A confidence that no photograph reaches has not been tried.
    return None if lowest is None or confidence.max() < lowest else lowest


def _greatest_loss(change: Array) -> float:
    """The loss of exact match that cannot be ruled out.

    Args:
        change: [n]: -1 where a right answer becomes wrong, 1 where a wrong one becomes right.
    """
    count = len(change)
    standard_error = float(change.std()) / np.sqrt(count)
    normal = _ONE_SIDED_95 * standard_error - float(change.mean())

    # Where hardly any answer changes, the normal bound is too low.
    losses = int((change < 0).sum())
    interval = binomtest(losses, count).proportion_ci(_TWO_SIDED_90, method="exact")
    exact = float(interval.high) - float((change > 0).mean())
    return float(max(normal, exact))


def _answers(
    logits: NDArray[np.floating], decision: Decision, labels: LabelSet
) -> tuple[Array, NDArray[np.uint8]]:
    """Probabilities [n, L] and answers [n, L] from logits [n, L]."""
    probabilities = expit(np.asarray(logits, np.float64))
    return probabilities, decide(probabilities, decision, labels)
