"""The calibration of sets of possible answers (split conformal prediction)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from leafzoom.fitting.out_of_fold import OutOfFoldAnswers
from leafzoom.labels import LabelSet
from leafzoom.model_file.calibration import ConformalCalibration

__all__ = ["fit_conformal"]

_DIGITS = 4  # significant ones of a stored probability


def fit_conformal(
    answers: OutOfFoldAnswers, targets: NDArray[np.uint8], labels: LabelSet
) -> ConformalCalibration | None:
    """Score the validation part: how probable the true combination was where the answer was wrong.

    Args:
        answers: to n photographs, by decisions that were fitted on others.
        targets: [n, L]; a combination that is not among the labels' has probability 0, so that it
            counts as never covered.
        labels: with C combinations.

    Returns:
        None without a photograph.
    """
    if not len(targets):
        return None

    # The true combination of each photograph.
    combinations = np.array(labels.combinations, np.uint8)
    matches = (targets[:, None, :] == combinations[None]).all(axis=2)
    is_known = matches.any(axis=1)
    true_combination = matches.argmax(axis=1)

    probabilities = answers.probabilities[np.arange(len(targets)), true_combination]
    probabilities = np.where(is_known, probabilities, 0.0)
    is_right = is_known & (true_combination == answers.answers)

    wrong = sorted(_round_down(value) for value in probabilities[~is_right])
    return ConformalCalibration(len(targets), tuple(wrong))


def _round_down(probability: float) -> float:
    """Four significant digits, never more than the probability: a set may only become larger.

    >>> _round_down(0.0123456)
    0.01234
    """
    if probability <= 0:
        return 0.0
    digits = _DIGITS - 1 - math.floor(math.log10(probability))
    factor = 10.0**digits
    rounded = math.floor(probability * factor) / factor
    return rounded if rounded <= probability else math.nextafter(probability, 0)
