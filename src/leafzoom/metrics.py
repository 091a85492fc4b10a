"""The paper's scores for several labels at once, computed by scikit-learn.

Precision, recall and F1 of each label and their micro, macro, weighted and samples averages
(tables 1-6), exact match (the paper's "accuracy") and mean average precision. An undefined score
(of a label that occurs neither in targets nor in answers) is 0, as in scikit-learn's report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import needs_extra

__all__ = ["HeadMetrics", "Score", "score"]


@dataclass(frozen=True)
class Score:
    """Precision, recall and F1 in 0..1; `support`: the number of photographs with the label.

    An average's `support` is the number of labels over all photographs.
    """

    precision: float
    recall: float
    f1: float
    support: int


_NO_SCORE = Score(precision=0.0, recall=0.0, f1=0.0, support=0)


@dataclass(frozen=True)
class HeadMetrics:
    """All scores of one head.

    `threshold`: the decision's, one number or one by label. `map`: the mean of the average
    precision over the labels that occur; 0 if none does.

    Of single labels: `threshold` is None, because the answer is the most probable class; `top1`,
    the share of photographs whose class is right; `confusion`, how many photographs of each class
    (row) get each answer (column), in the order of `per_label`.
    """

    threshold: float | dict[str, float] | None
    per_label: dict[str, Score]
    micro: Score
    macro: Score
    weighted: Score
    samples: Score
    exact_match: float
    map: float
    top1: float | None = None
    confusion: tuple[tuple[int, ...], ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as in `metrics.json`; with `top1` of single labels alone."""
        content = asdict(self)
        if self.top1 is None:
            del content["top1"]
            del content["confusion"]
        return content


def score(
    targets: NDArray[np.integer | np.bool_],
    answers: NDArray[np.integer | np.bool_],
    probabilities: NDArray[np.floating],
    names: Sequence[str],
    threshold: float | dict[str, float] = 0.5,
    *,
    single_label: bool = False,
) -> HeadMetrics:
    """Score answers against targets.

    Args:
        targets: [N, L], 0 or 1.
        answers: [N, L], 0 or 1.
        probabilities: [N, L] in 0..1, for the mean average precision.
        names: the L labels.
        threshold: of the decision, copied into the result.
        single_label: each photograph and each answer has one class.

    Raises:
        MissingExtraError: scikit-learn is not installed.

    >>> rows = np.array([[1, 0], [1, 1]])
    >>> score(rows, np.array([[1, 0], [1, 0]]), rows * 0.8, ("rust", "scab")).exact_match
    0.5
    """
    truth = np.asarray(targets).astype(np.uint8)
    predicted = np.asarray(answers).astype(np.uint8)
    if single_label:
        scored = score(truth, predicted, probabilities, names)
        confusion = truth.T.astype(np.int64) @ predicted
        return replace(
            scored,
            threshold=None,
            top1=scored.exact_match,
            confusion=tuple(tuple(row) for row in confusion.tolist()),
        )
    if not len(truth):
        return _no_metrics(names, threshold)

    return HeadMetrics(
        threshold=threshold,
        per_label=_label_scores(truth, predicted, names),
        micro=_average_score(truth, predicted, "micro"),
        macro=_average_score(truth, predicted, "macro"),
        weighted=_average_score(truth, predicted, "weighted"),
        samples=_average_score(truth, predicted, "samples"),
        exact_match=float((truth == predicted).all(axis=1).mean()),
        map=_mean_average_precision(truth, probabilities),
    )


def _no_metrics(names: Sequence[str], threshold: float | dict[str, float]) -> HeadMetrics:
    """The scores of no photographs."""
    return HeadMetrics(
        threshold=threshold,
        per_label=dict.fromkeys(names, _NO_SCORE),
        micro=_NO_SCORE,
        macro=_NO_SCORE,
        weighted=_NO_SCORE,
        samples=_NO_SCORE,
        exact_match=0.0,
        map=0.0,
    )


def _label_scores(
    targets: NDArray[np.uint8], answers: NDArray[np.uint8], names: Sequence[str]
) -> dict[str, Score]:
    """Each label's scores."""
    with needs_extra("train", "scoring"):
        from sklearn.metrics import precision_recall_fscore_support

    # `labels=[1]` scores the label's presence, not its absence.
    scores = {}
    for column, name in enumerate(names):
        precision, recall, f1, support = precision_recall_fscore_support(
            targets[:, column], answers[:, column], labels=[1], average=None, zero_division=0
        )
        scores[name] = Score(float(precision[0]), float(recall[0]), float(f1[0]), int(support[0]))
    return scores


def _average_score(targets: NDArray[np.uint8], answers: NDArray[np.uint8], average: str) -> Score:
    """A micro, macro, weighted or samples average."""
    with needs_extra("train", "scoring"):
        from sklearn.metrics import precision_recall_fscore_support

    support = int(targets.sum())
    has_one_label = targets.shape[1] == 1

    # scikit-learn takes a single column for binary labels, which have no samples average: there it
    # is the share of photographs where target and answer are both 1.
    if has_one_label and average == "samples":
        hit_rate = float((targets * answers).mean())
        return Score(hit_rate, hit_rate, hit_rate, support)

    precision, recall, f1, _ = precision_recall_fscore_support(
        targets[:, 0] if has_one_label else targets,
        answers[:, 0] if has_one_label else answers,
        labels=[1] if has_one_label else None,
        average=average,
        zero_division=0,
    )
    return Score(float(precision), float(recall), float(f1), support)


def _mean_average_precision(
    targets: NDArray[np.uint8], probabilities: NDArray[np.floating]
) -> float:
    """The mean over the labels that occur of the average precision; 0 if none does."""
    with needs_extra("train", "scoring"):
        from sklearn.metrics import average_precision_score

    # Average precision is undefined for a label without positives.
    occurring = np.flatnonzero(targets.any(axis=0))
    precisions = [
        average_precision_score(targets[:, column], probabilities[:, column])
        for column in occurring
    ]
    return float(np.mean(precisions)) if precisions else 0.0
