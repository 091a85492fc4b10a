"""How sure the figures are: percentile bootstrap over photographs, paired between heads.

Every head is scored on the same resamples, so a difference between two heads has an interval of its own, which is
narrower than the two heads' intervals suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Resampled", "interval", "resample_means", "resample_scores"]

_RESAMPLES = 2000
_BATCH = 250
_PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Resampled:
    """A head's scores on R resamples: exact match [R], micro F1 [R], macro F1 [R], F1 of each label [R, L]."""

    exact_match: NDArray[np.float64]
    micro_f1: NDArray[np.float64]
    macro_f1: NDArray[np.float64]
    per_label_f1: NDArray[np.float64]


def resample_scores(
    targets: NDArray[np.integer], answers: Mapping[str, NDArray[np.generic]], *, seed: int = 0
) -> dict[str, Resampled]:
    """Every head's scores on 2,000 resamples of the photographs, the same ones for all heads.

    Args:
        targets: [n, L], 0 or 1.
        answers: {head: [n, L]}, 0 or 1 (or booleans).
        seed: of the resamples.
    """
    random = np.random.default_rng(seed)
    count, labels = targets.shape
    true = targets.astype(np.float64)
    columns = {}
    for head, answer in answers.items():
        said = answer.astype(np.float64)
        exact = (said == true).all(axis=1, keepdims=True).astype(np.float64)
        columns[head] = np.concatenate([exact, said * true, said + true], axis=1)
    sums: dict[str, list[NDArray[np.float64]]] = {head: [] for head in answers}
    for _ in range(_RESAMPLES // _BATCH):
        times = random.multinomial(count, np.full(count, 1 / count), size=_BATCH).astype(np.float64)
        for head, column in columns.items():
            sums[head].append(times @ column)
    scores = {}
    for head, parts in sums.items():
        total = np.concatenate(parts)
        hits, both = total[:, 1 : 1 + labels], total[:, 1 + labels :]
        f1 = _f1(hits, both)
        scores[head] = Resampled(total[:, 0] / count, _f1(hits.sum(axis=1), both.sum(axis=1)), f1.mean(axis=1), f1)
    return scores


def resample_means(values: Mapping[str, NDArray[np.float64]], *, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """The means [R] of several values a photograph, {name: [n]}, on the same 2,000 resamples of the photographs."""
    random = np.random.default_rng(seed)
    count = len(next(iter(values.values())))
    times = random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES) / count
    return {name: times @ value for name, value in values.items()}


def interval(values: NDArray[np.float64]) -> list[float]:
    """The 95 % percentile interval of resampled values [R]."""
    low, high = np.percentile(values, _PERCENTILES)
    return [float(low), float(high)]


def _f1(hits: NDArray[np.float64], both: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 from true positives and from predicted plus true; 0 where there are neither, as scikit-learn has it."""
    return np.asarray(2 * hits / np.maximum(both, 1))
