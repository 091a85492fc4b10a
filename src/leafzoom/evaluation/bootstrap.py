"""Confidence intervals: percentile bootstrap over photographs, paired between heads.

Every head is scored on the same resamples. The interval of a difference between two heads is
therefore narrower than the two heads' own intervals suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Difference",
    "Interval",
    "ResampledScores",
    "paired_difference",
    "percentile_interval",
    "resample_means",
    "resample_scores",
]

_RESAMPLES = 2000
_RESAMPLES_PER_BATCH = 250
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Interval:
    """The bounds of a 95 % interval."""

    low: float
    high: float

    def to_list(self) -> list[float]:
        """[low, high], as in the JSON files."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Difference:
    """A difference between two scores, with its paired 95 % interval."""

    value: float
    interval: Interval

    def to_dict(self) -> dict[str, float | list[float]]:
        """{"difference": value, "interval": [low, high]}, as in the JSON files."""
        return {"difference": self.value, "interval": self.interval.to_list()}


@dataclass(frozen=True)
class ResampledScores:
    """A head's scores on R resamples.

    `exact_match`, `micro_f1`, `macro_f1`: [R]. `per_label_f1`: [R, L].
    """

    exact_match: NDArray[np.float64]
    micro_f1: NDArray[np.float64]
    macro_f1: NDArray[np.float64]
    per_label_f1: NDArray[np.float64]


def resample_scores(
    targets: NDArray[np.integer], answers: Mapping[str, NDArray[np.generic]], *, seed: int = 0
) -> dict[str, ResampledScores]:
    """Every head's scores on 2,000 resamples of the photographs, the same ones for all heads.

    Args:
        targets: [N, L], 0 or 1.
        answers: {head: [N, L]}, 0 or 1 (or booleans).
        seed: of the resamples.
    """
    random = np.random.default_rng(seed)
    photographs = len(targets)
    counts = {head: _counts(targets, head_answers) for head, head_answers in answers.items()}
    sums: dict[str, list[NDArray[np.float64]]] = {head: [] for head in answers}

    # A resample is how often each photograph is drawn; the batches bound the memory.
    for _ in range(_RESAMPLES // _RESAMPLES_PER_BATCH):
        shares = np.full(photographs, 1 / photographs)
        draws = random.multinomial(photographs, shares, size=_RESAMPLES_PER_BATCH)
        for head, head_counts in counts.items():
            sums[head].append(draws.astype(np.float64) @ head_counts)

    return {head: _scores(np.concatenate(parts), photographs) for head, parts in sums.items()}


def resample_means(
    values: Mapping[str, NDArray[np.float64]], *, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """The means [R] of values, {name: [N]}, on the same 2,000 resamples of the N photographs."""
    random = np.random.default_rng(seed)
    photographs = len(next(iter(values.values())))

    shares = np.full(photographs, 1 / photographs)

    # How much each photograph weighs in a resample's mean.
    weights = random.multinomial(photographs, shares, size=_RESAMPLES) / photographs
    return {name: weights @ value for name, value in values.items()}


def percentile_interval(resampled: NDArray[np.float64]) -> Interval:
    """The 95 % percentile interval of resampled values [R]."""
    low, high = np.percentile(resampled, _PERCENTILES)
    return Interval(float(low), float(high))


def paired_difference(
    value: float, resampled: NDArray[np.float64], resampled_reference: NDArray[np.float64]
) -> Difference:
    """A difference with the interval of the resampled scores' differences.

    Args:
        value: the difference on all photographs.
        resampled: the first score, [R].
        resampled_reference: the score that is subtracted, [R], on the same resamples.
    """
    return Difference(value, percentile_interval(resampled - resampled_reference))


def _counts(targets: NDArray[np.integer], answers: NDArray[np.generic]) -> NDArray[np.float64]:
    """What each photograph adds to a resample's scores, [N, 1 + 2 L].

    The columns: exact match; for each label, true positives; for each label, predicted plus true.
    """
    expected = targets.astype(np.float64)
    predicted = answers.astype(np.float64)

    # Sums of these columns over a resample give all of its scores.
    is_exact = (predicted == expected).all(axis=1, keepdims=True).astype(np.float64)
    return np.concatenate([is_exact, predicted * expected, predicted + expected], axis=1)


def _scores(sums: NDArray[np.float64], photographs: int) -> ResampledScores:
    """The scores of R resamples, from the sums [R, 1 + 2 L] of `_counts` over their photographs."""
    labels = (sums.shape[1] - 1) // 2
    true_positives = sums[:, 1 : 1 + labels]
    positives = sums[:, 1 + labels :]

    # Macro F1 is the mean of the labels' F1, micro F1 the F1 of their sums.
    per_label_f1 = _f1(true_positives, positives)
    return ResampledScores(
        exact_match=sums[:, 0] / photographs,
        micro_f1=_f1(true_positives.sum(axis=1), positives.sum(axis=1)),
        macro_f1=per_label_f1.mean(axis=1),
        per_label_f1=per_label_f1,
    )


def _f1(true_positives: NDArray[np.float64], positives: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 from true positives and from predicted plus true; 0 without either, as in scikit-learn."""
    return np.asarray(2 * true_positives / np.maximum(positives, 1))
