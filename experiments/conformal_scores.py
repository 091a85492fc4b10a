"""Conformal scores beside each other: which one gives the smallest sets?

A score says how unlikely a combination is for a photograph; the set has all combinations up to a
quantile of the true combinations' scores. All functions take probabilities [n, C] and the answers'
columns [n], and return scores [n, C].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCORES", "ScoreTrial", "compare_scores", "quantile"]

_REPEATS = 40  # halves drawn at random
_RAPS_PENALTY = 0.1
_RAPS_FREE_RANKS = 1

Array = NDArray[np.float64]
Columns = NDArray[np.intp]


@dataclass(frozen=True)
class ScoreTrial:
    """A score at one coverage, means over random halves.

    `covered`: the share of photographs whose true combination was in the set; `least_label`: the
    same of the label with the lowest share. `size`: combinations in a set. `one`: the share of sets
    with one combination.
    """

    score: str
    coverage: float
    covered: float
    least_label: float
    size: float
    one: float


def _lac(posterior: Array, answers: Columns) -> Array:
    """Sadinle et al. 2019: one minus the probability."""
    return 1 - posterior


def _lac_with_answer(posterior: Array, answers: Columns) -> Array:
    """The same, and 0 for the answer: what leafzoom takes."""
    scores = 1 - posterior
    scores[np.arange(len(scores)), answers] = 0
    return scores


def _aps(posterior: Array, answers: Columns) -> Array:
    """Romano et al. 2020: the probability of all combinations that are as likely or likelier."""
    order = np.argsort(-posterior, axis=1)
    cumulative = np.cumsum(np.take_along_axis(posterior, order, axis=1), axis=1)
    scores = np.zeros_like(posterior)
    np.put_along_axis(scores, order, cumulative, axis=1)
    return scores


def _raps(posterior: Array, answers: Columns) -> Array:
    """Angelopoulos et al. 2021: APS, and a penalty for each rank after the first."""
    ranks = np.argsort(np.argsort(-posterior, axis=1), axis=1) + 1
    return _aps(posterior, answers) + _RAPS_PENALTY * np.maximum(ranks - _RAPS_FREE_RANKS, 0)


SCORES: dict[str, Callable[[Array, Columns], Array]] = {
    "LAC with the answer": _lac_with_answer,
    "LAC": _lac,
    "APS": _aps,
    "RAPS": _raps,
}


def quantile(scores: Array, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest score, infinite if there are not so many."""
    place = int(np.ceil((len(scores) + 1) * coverage - 1e-9))
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else float("inf")


def compare_scores(
    posterior: Array,
    answers: Columns,
    truth: Columns,
    targets: NDArray[np.uint8],
    coverages: tuple[float, ...],
) -> list[ScoreTrial]:
    """Calibrate on one half of the photographs and judge on the other, many times.

    Args:
        posterior: [n, C].
        answers: columns of the answers, [n].
        truth: columns of the true combinations, [n].
        targets: [n, L], for the shares by label.
        coverages: each is tried.
    """
    trials = []
    for name, score in SCORES.items():
        scores = score(posterior, answers)
        trials += [
            _trial(name, scores, answers, truth, targets, coverage, by_truth=False)
            for coverage in coverages
        ]

    # The score that leafzoom takes, with a quantile for each true combination.
    scores = _lac_with_answer(posterior, answers)
    name = "LAC with the answer, by combination"
    trials += [
        _trial(name, scores, answers, truth, targets, coverage, by_truth=True)
        for coverage in coverages
    ]
    return trials


def _trial(
    name: str,
    scores: Array,
    answers: Columns,
    truth: Columns,
    targets: NDArray[np.uint8],
    coverage: float,
    *,
    by_truth: bool,
) -> ScoreTrial:
    count = len(scores)
    rows = np.arange(count)
    random = np.random.default_rng(0)

    covered = []
    by_label = []
    sizes = []
    ones = []
    for _ in range(_REPEATS):
        calibrates = random.permutation(count) < count // 2
        limits = _limits(scores[calibrates], truth[calibrates], coverage, by_truth=by_truth)
        sets = scores <= limits
        sets[rows, answers] = True  # never none
        judged = ~calibrates

        hits = sets[rows, truth]
        covered.append(hits[judged].mean())
        with_label = targets[judged] > 0
        by_label.append([hits[judged][chosen].mean() for chosen in with_label.T])
        size = sets[judged].sum(axis=1)
        sizes.append(size.mean())
        ones.append((size == 1).mean())

    return ScoreTrial(
        score=name,
        coverage=coverage,
        covered=round(float(np.mean(covered)), 4),
        least_label=round(float(np.mean(by_label, axis=0).min()), 4),
        size=round(float(np.mean(sizes)), 3),
        one=round(float(np.mean(ones)), 4),
    )


def _limits(scores: Array, truth: Columns, coverage: float, *, by_truth: bool) -> Array:
    """The greatest score in a set, for each combination: [C]."""
    combinations = scores.shape[1]
    of_truth = scores[np.arange(len(scores)), truth]
    if not by_truth:
        return np.full(combinations, quantile(of_truth, coverage))
    return np.array([quantile(of_truth[truth == c], coverage) for c in range(combinations)])
