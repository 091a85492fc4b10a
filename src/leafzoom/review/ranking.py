"""Which labels are most suspect: cleanlab's multi-label methods, and the plain loss beside them."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import needs_extra

__all__ = [
    "QUALITY_METHODS",
    "RANKED_BY",
    "QualityMethod",
    "label_issues",
    "label_quality",
    "plain_loss",
]

QualityMethod = Literal["self_confidence", "normalized_margin", "confidence_weighted_entropy"]
"""cleanlab's scores of one label by itself."""

QUALITY_METHODS: tuple[QualityMethod, ...] = get_args(QualityMethod)

RANKED_BY: QualityMethod = "confidence_weighted_entropy"
"""What a review ranks by. `experiments.review_ranking` compares all of them."""

Array = NDArray[np.float64]

_MIN_PROBABILITY = 1e-6


def label_quality(
    targets: NDArray[np.uint8], probabilities: Array, method: QualityMethod = RANKED_BY
) -> Array:
    """cleanlab's quality of each photograph's labels, [n] in 0..1; the lowest are most suspect.

    Args:
        targets: as labelled, [n, L].
        probabilities: of the labels, by a model that has not seen the photographs, [n, L].
        method: of one label; the scores of all labels become one by cleanlab's moving average.

    Raises:
        MissingExtraError: the extra `clean` is not installed.
    """
    with needs_extra("clean", "ranking labels"):
        from cleanlab.multilabel_classification.rank import get_label_quality_scores

    scores = get_label_quality_scores(_label_lists(targets), probabilities, method=method)
    return np.asarray(scores, np.float64)


def label_issues(targets: NDArray[np.uint8], probabilities: Array) -> NDArray[np.bool_]:
    """Which photographs have a label that cleanlab counts as an issue, [n].

    Args:
        targets, probabilities: as of `label_quality`.

    Raises:
        MissingExtraError: the extra `clean` is not installed.
    """
    with needs_extra("clean", "ranking labels"):
        from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class

    # cleanlab warns of labels with few photographs, which `leafzoom prepare` names.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        issues = find_multilabel_issues_per_class(_label_lists(targets), probabilities, n_jobs=1)
    return np.asarray(np.asarray(issues, bool).any(axis=1))


def plain_loss(targets: NDArray[np.uint8], probabilities: Array) -> Array:
    """The cross-entropy of each photograph's labels, summed over labels, [n]."""
    p = np.clip(probabilities, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    return np.asarray(-np.where(targets == 1, np.log(p), np.log1p(-p)).sum(axis=1))


def _label_lists(targets: NDArray[np.uint8]) -> list[list[int]]:
    """The indices of each photograph's labels, as cleanlab takes them."""
    return [np.flatnonzero(row).tolist() for row in targets]
