"""The reference that later answers are compared with: histograms over the validation part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leafzoom.fitting.out_of_fold import OutOfFoldAnswers
from leafzoom.labels import LabelSet
from leafzoom.model_file.calibration import AnswerHistograms, Reference

__all__ = ["fit_reference"]

_SHARES = (*(np.arange(5, 100, 5) / 100), 0.975, 0.99)
_DIGITS = 4
_OOD_LIMIT = 1.0

Array = NDArray[np.float64]


def fit_reference(
    answers: OutOfFoldAnswers, ood_scores: NDArray[np.floating] | None, labels: LabelSet
) -> Reference | None:
    """Count scores and confidences by best answer, in bins with about as many photographs each.

    By answer, because a season with other diseases than the training's has other confidences too,
    which is no drift of the model (label shift).

    Args:
        answers: to n photographs, by decisions that were fitted on others.
        ood_scores: [n]; None without a detector.
        labels: with C combinations.

    Returns:
        None without a photograph.
    """
    count = len(answers.answers)
    if not count:
        return None

    # What is no leaf by its score is no answer either.
    is_leaf = np.ones(count, bool)
    ood_edges: Array = np.zeros(0)
    scores: Array = np.zeros(count)
    if ood_scores is not None:
        scores = np.asarray(ood_scores, np.float64)
        is_leaf = scores <= _OOD_LIMIT
        ood_edges = _edges(scores, _OOD_LIMIT)
    confidence = answers.confidence
    confidence_edges = _edges(confidence[is_leaf], 0.5)

    histograms = []
    for index in np.unique(answers.answers):
        chosen = answers.answers == index
        row = np.array(labels.combinations[index])
        histograms.append(
            AnswerHistograms(
                tuple(labels.decode(row)),
                _counts(scores[chosen], ood_edges) if ood_scores is not None else (),
                _counts(confidence[chosen & is_leaf], confidence_edges),
            )
        )
    return Reference(tuple(ood_edges.tolist()), tuple(confidence_edges.tolist()), tuple(histograms))


def _edges(values: Array, limit: float) -> Array:
    """Quantiles of values, and a limit that has a meaning of its own; ascending."""
    quantiles = np.quantile(values, _SHARES) if len(values) else np.zeros(0)
    return np.unique(np.round([*quantiles, limit], _DIGITS))


def _counts(values: Array, edges: Array) -> tuple[int, ...]:
    """How many values lie in each bin (see `Reference`)."""
    bins = np.searchsorted(edges, values, side="left")
    return tuple(np.bincount(bins, minlength=len(edges) + 1).tolist())
