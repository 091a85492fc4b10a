"""The paper's scores of several labels at once, computed by scikit-learn.

Precision, recall and F1 for each label and their micro, macro, weighted and samples averages (tables 1-6),
exact match (the paper's "accuracy") and mean average precision. Where a score is undefined (a label that
nobody has and nobody predicts) it is 0, as in scikit-learn's report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import needs_extra

__all__ = ["HeadMetrics", "Score", "score"]


@dataclass(frozen=True)
class Score:
    """Precision, recall and F1 in 0..1; `support`: how many photographs have the label (or label occurrences)."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class HeadMetrics:
    """All scores of one head; `threshold` is the number, or the numbers by label, that it was decided with.

    `map` is the mean over the labels that occur of the average precision; 0 where none does.
    """

    threshold: float | dict[str, float]
    per_label: dict[str, Score]
    micro: Score
    macro: Score
    weighted: Score
    samples: Score
    exact_match: float
    map: float

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as in `metrics.json`."""
        return asdict(self)


def score(
    targets: NDArray[np.integer | np.bool_],
    answers: NDArray[np.integer | np.bool_],
    probabilities: NDArray[np.floating],
    names: Sequence[str],
    threshold: float | dict[str, float] = 0.5,
) -> HeadMetrics:
    """Score answers against targets.

    Args:
        targets: [N, L], 0 or 1.
        answers: [N, L], 0 or 1.
        probabilities: [N, L] in 0..1, for the mean average precision.
        names: the L labels.
        threshold: reported as it is.
    """
    with needs_extra("train", "scoring"):
        from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    targets, answers = np.asarray(targets).astype(np.uint8), np.asarray(answers).astype(np.uint8)
    support = targets.sum(axis=0)
    if not len(targets):
        nothing = Score(0.0, 0.0, 0.0, 0)
        return HeadMetrics(threshold, dict.fromkeys(names, nothing), nothing, nothing, nothing, nothing, 0.0, 0.0)

    def averaged(average: str) -> Score:
        if len(names) == 1 and average == "samples":
            # A single label is no multilabel table to scikit-learn; its samples average is the mean of hits.
            hits = float((targets * answers).mean())
            return Score(hits, hits, hits, int(support.sum()))
        one = len(names) == 1
        precision, recall, f1, _ = precision_recall_fscore_support(
            targets[:, 0] if one else targets,
            answers[:, 0] if one else answers,
            labels=[1] if one else None,
            average=average,
            zero_division=0,
        )
        return Score(float(precision), float(recall), float(f1), int(support.sum()))

    rows = [
        precision_recall_fscore_support(
            targets[:, label], answers[:, label], labels=[1], average=None, zero_division=0
        )
        for label in range(len(names))
    ]
    per_label = {
        name: Score(float(row[0][0]), float(row[1][0]), float(row[2][0]), int(row[3][0]))
        for name, row in zip(names, rows, strict=True)
    }
    occurring = [label for label in range(len(names)) if support[label]]
    precisions = [average_precision_score(targets[:, label], probabilities[:, label]) for label in occurring]
    return HeadMetrics(
        threshold=threshold,
        per_label=per_label,
        micro=averaged("micro"),
        macro=averaged("macro"),
        weighted=averaged("weighted"),
        samples=averaged("samples"),
        exact_match=float((targets == answers).all(axis=1).mean()),
        map=float(np.mean(precisions)) if precisions else 0.0,
    )
