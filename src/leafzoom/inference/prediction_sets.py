"""Sets of possible answers with a guaranteed coverage (conformal prediction).

Of many photographs like those of the validation part, the share whose true combination of labels
is in the set is at least the coverage. That holds for such photographs alone, and over all of them,
not for each label by itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import ModelError, UsageError
from leafzoom.labels import Decision, LabelSet, combination_probabilities
from leafzoom.model_file.calibration import ConformalCalibration, check_coverage
from leafzoom.model_file.manifest import Manifest

__all__ = [
    "PossibleAnswers",
    "calibration_of",
    "check_fitted_decision",
    "coverage_note",
    "possible_answers",
]

PossibleAnswers = tuple[tuple[str, ...], ...]
"""Combinations of labels, the likeliest first."""


def calibration_of(manifest: Manifest, coverage: float) -> ConformalCalibration:
    """What a model's sets are made of.

    Raises:
        UsageError: the coverage is not between 0.5 and 0.999.
        ModelError: the model has no calibration for sets.
    """
    check_coverage(coverage)
    if manifest.conformal is None:
        raise ModelError(
            f"the model {manifest.name} has no calibration for a coverage: leave the coverage out, "
            "or train the model again with this leafzoom"
        )
    return manifest.conformal


def coverage_note(manifest: Manifest, coverage: float) -> str | None:
    """What a user has to know about a coverage that is more than a model can guarantee, or None.

    Raises:
        UsageError, ModelError: as `calibration_of`.
    """
    calibration = calibration_of(manifest, coverage)
    if calibration.least_probability(coverage) > 0:
        return None
    return (
        f"a coverage of {coverage:g} is more than {calibration.photographs} calibration "
        f"photographs can guarantee ({manifest.name}), so every answer is possible"
    )


def possible_answers(
    probabilities: NDArray[np.floating],
    answer: NDArray[np.uint8],
    decision: Decision,
    labels: LabelSet,
    least_probability: float,
) -> PossibleAnswers:
    """The combinations that are possible for one photo: never none, for the answer is among them.

    Args:
        probabilities: of the answering head, [L].
        answer: the best combination, [L], 0 or 1.
        decision: of the answering head, as fitted.
        labels: with C combinations.
        least_probability: from which on a combination is possible (see `ConformalCalibration`).

    >>> two = LabelSet(("healthy", "scab"), ((0, 1), (1, 0)))
    >>> scab = np.array([0, 1], np.uint8)
    >>> possible_answers(np.array([0.4, 0.6]), scab, Decision((0.5, 0.5)), two, 0.2)
    (('scab',), ('healthy',))
    >>> possible_answers(np.array([0.4, 0.6]), scab, Decision((0.5, 0.5)), two, 0.5)
    (('scab',),)
    """
    combinations = np.array(labels.combinations, np.uint8)
    posterior = combination_probabilities(probabilities[None], decision, labels)[0]

    is_answer = (combinations == answer).all(axis=1)
    is_possible = (posterior >= least_probability) | is_answer
    ranked = np.argsort(-posterior, kind="stable")
    return tuple(tuple(labels.decode(combinations[row])) for row in ranked if is_possible[row])


def check_fitted_decision(*, thresholds: bool, early_exit: bool) -> None:
    """Refuse a coverage for answers that the calibration is not of.

    Raises:
        UsageError: thresholds of one's own, or an early exit.
    """
    if thresholds or early_exit:
        reason = "thresholds of your own" if thresholds else "the early exit"
        raise UsageError(
            f"a coverage is guaranteed for the fitted answer of all looks: leave out {reason}"
        )
