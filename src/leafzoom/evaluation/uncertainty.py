"""How sure an evaluation's scores are, and the differences between its heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.evaluation.bootstrap import (
    Difference,
    Interval,
    ResampledScores,
    paired_difference,
    percentile_interval,
    resample_scores,
)
from leafzoom.evaluation.evaluate import Evaluation
from leafzoom.metrics import HeadMetrics

__all__ = [
    "DecisionUncertainty",
    "HeadDifference",
    "HeadIntervals",
    "Uncertainty",
    "estimate_uncertainty",
]


@dataclass(frozen=True)
class HeadIntervals:
    """95 % intervals of a head's scores; `per_label_f1`: {label: interval}."""

    exact_match: Interval
    micro_f1: Interval
    macro_f1: Interval
    per_label_f1: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as in `metrics.json`."""
        return {
            "exact_match": self.exact_match.to_list(),
            "micro_f1": self.micro_f1.to_list(),
            "macro_f1": self.macro_f1.to_list(),
            "per_label_f1": {
                label: interval.to_list() for label, interval in self.per_label_f1.items()
            },
        }


@dataclass(frozen=True)
class HeadDifference:
    """A head's scores minus those of a reference head, paired."""

    head: str
    reference: str
    exact_match: Difference
    micro_f1: Difference

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as in `metrics.json`."""
        return {"exact_match": self.exact_match.to_dict(), "micro_f1": self.micro_f1.to_dict()}


@dataclass(frozen=True)
class DecisionUncertainty:
    """The uncertainty of all heads with one way to decide.

    `intervals`: {head: intervals}. `differences`: of each head to every head before it.
    """

    intervals: dict[str, HeadIntervals]
    differences: tuple[HeadDifference, ...]


@dataclass(frozen=True)
class Uncertainty:
    """95 % intervals and paired differences of an evaluation.

    `heads`: each label by itself at threshold 0.5. `heads_fitted`: with the decision of `predict`.
    """

    heads: DecisionUncertainty
    heads_fitted: DecisionUncertainty

    def to_dict(self) -> dict[str, Any]:
        """The entries `intervals` and `differences` of `metrics.json`."""
        intervals: dict[str, Any] = {}
        differences: dict[str, Any] = {}
        for key in ("heads", "heads_fitted"):
            uncertainty: DecisionUncertainty = getattr(self, key)
            intervals[key] = {
                head: head_intervals.to_dict()
                for head, head_intervals in uncertainty.intervals.items()
            }
            differences[key] = {
                f"{difference.head} - {difference.reference}": difference.to_dict()
                for difference in uncertainty.differences
            }
        return {"intervals": intervals, "differences": differences}


def estimate_uncertainty(evaluation: Evaluation) -> Uncertainty:
    """Intervals and differences of all heads, by a bootstrap over the photographs."""
    labels = evaluation.manifest.labels.names
    targets = evaluation.targets
    return Uncertainty(
        heads=_decision_uncertainty(targets, evaluation.answers, evaluation.heads, labels),
        heads_fitted=_decision_uncertainty(
            targets, evaluation.answers_fitted, evaluation.heads_fitted, labels
        ),
    )


def _decision_uncertainty(
    targets: NDArray[np.uint8],
    answers: Mapping[str, NDArray[np.generic]],
    metrics: Mapping[str, HeadMetrics],
    labels: Sequence[str],
) -> DecisionUncertainty:
    """The uncertainty of answers {head: [N, L]} with these metrics."""
    resampled = resample_scores(targets, answers)

    # How sure each head's scores are.
    intervals = {head: _head_intervals(scores, labels) for head, scores in resampled.items()}

    # How sure the differences are, on the same resamples.
    differences = []
    for reference, head in combinations(resampled, 2):
        exact_match = paired_difference(
            metrics[head].exact_match - metrics[reference].exact_match,
            resampled[head].exact_match,
            resampled[reference].exact_match,
        )
        micro_f1 = paired_difference(
            metrics[head].micro.f1 - metrics[reference].micro.f1,
            resampled[head].micro_f1,
            resampled[reference].micro_f1,
        )
        differences.append(HeadDifference(head, reference, exact_match, micro_f1))

    return DecisionUncertainty(intervals, tuple(differences))


def _head_intervals(scores: ResampledScores, labels: Sequence[str]) -> HeadIntervals:
    return HeadIntervals(
        exact_match=percentile_interval(scores.exact_match),
        micro_f1=percentile_interval(scores.micro_f1),
        macro_f1=percentile_interval(scores.macro_f1),
        per_label_f1={
            label: percentile_interval(scores.per_label_f1[:, column])
            for column, label in enumerate(labels)
        },
    )
