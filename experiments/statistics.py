"""The statistics of paired comparisons: which differences between arms are significant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "BySeed",
    "PairedDifference",
    "SeedEstimate",
    "holm",
    "means",
    "paired_difference",
    "rounded",
    "rounded_by_seed",
    "with_seed_interval",
]

_RESAMPLE_COUNT = 4000
_PERCENTILES = (2.5, 97.5)
_DECIMALS = 4
_CONFIDENCE = 0.95
_NORMAL_HALF_WIDTH = float(stats.norm.ppf((1 + _CONFIDENCE) / 2))  # in standard errors

BySeed = dict[str, list[float]]  # a value a seed


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two exact matches, as a share of the photographs, to four decimals.

    `interval`: 95 %. `by_seed`: a value a seed. `p`: that of the interval; of one seed, the
    permutation test's. `photograph_p`: of a paired permutation test that takes the seeds as given.
    `photograph_error`: the standard error from the photographs, with the seeds as given.
    """

    difference: float
    interval: tuple[float, float]
    by_seed: tuple[float, ...]
    p: float
    photograph_p: float
    photograph_error: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        low, high = self.interval
        return low > 0 or high < 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"interval": list(self.interval), "by_seed": list(self.by_seed)}


@dataclass(frozen=True)
class SeedEstimate:
    """The mean difference over two seeds or more, for new photographs and new seeds.

    Two intervals are computed, and the wider one counts:

    - Student's t over the seeds' differences, with one degree of freedom less than there are seeds.
      It is right where seeds differ more than photographs explain.
    - t of the variance from seeds and photographs together, with Satterthwaite's degrees of freedom
      (F. E. Satterthwaite 1946, "An approximate distribution of estimates of variance components").
      It is right where the photographs dominate. With two seeds alone it covers 88 % where seeds
      dominate, because two seeds can agree by chance.

    A percentile bootstrap over photographs and seeds (A. Owen 2007, "The pigeonhole bootstrap")
    covers too little with so few seeds: it draws from the two or three differences that there are,
    which are too near to each other by a factor of (k - 1) / k in variance.

    `by_seed`: a difference a seed. `photograph_error`: the standard error from the photographs.
    """

    by_seed: tuple[float, ...]
    photograph_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        half_width = max(error * self._quantile(freedom) for error, freedom in self._errors())
        mean = float(np.mean(self.by_seed))
        return mean - half_width, mean + half_width

    @property
    def p(self) -> float:
        """The two-sided p-value that belongs to the interval."""
        mean = abs(float(np.mean(self.by_seed)))
        if mean == 0:
            return 1.0
        values = [
            2 * float(stats.t.sf(mean / error, freedom))
            for error, freedom in self._errors()
            if error > 0
        ]
        return max(values, default=0.0)

    def _errors(self) -> list[tuple[float, float]]:
        """Standard error and degrees of freedom, of the seeds and of both sources together."""
        count = len(self.by_seed)
        of_seeds = float(np.var(self.by_seed, ddof=1)) / count
        total = of_seeds + self.photograph_error**2
        if of_seeds == 0:
            return [(self.photograph_error, np.inf)]
        freedom = (count - 1) * (total / of_seeds) ** 2
        return [(of_seeds**0.5, count - 1), (total**0.5, freedom)]

    def _quantile(self, freedom: float) -> float:
        return float(stats.t.ppf((1 + _CONFIDENCE) / 2, freedom))


def paired_difference(arm: NDArray[np.bool_], control: NDArray[np.bool_]) -> PairedDifference:
    """The exact match of an arm less that of its control, on the same photographs and seeds.

    Of several seeds, interval and p-value are for new photographs and seeds (see `SeedEstimate`).
    Of one seed they are of the photographs alone: a percentile bootstrap, and a paired permutation
    test, in which the signs of the photographs' differences are flipped at random.

    Args:
        arm: [seeds, n], whether each photograph is answered exactly.
        control: the same; where one of the two has fewer seeds, the other's first ones are taken.
    """
    # Runs are paired in their order; where one side has more, its last ones are left out.
    seeds = min(len(arm), len(control))
    differences = arm[:seeds].astype(np.float64) - control[:seeds]
    photograph_means = differences.mean(axis=0)
    by_seed = tuple(float(value) for value in differences.mean(axis=1))
    photograph_error = float(photograph_means.std(ddof=1)) / len(photograph_means) ** 0.5

    # One generator, so that the figures are the same in every run.
    random = np.random.default_rng(0)
    resampled = _resampled_means(photograph_means, random)
    photograph_p = _permutation_p(photograph_means, random)

    if seeds == 1:
        low, high = (float(bound) for bound in np.percentile(resampled, _PERCENTILES))
        p = photograph_p
    else:
        estimate = SeedEstimate(by_seed, photograph_error)
        low, high = estimate.interval
        p = estimate.p
    return PairedDifference(
        difference=rounded(photograph_means.mean()),
        interval=(rounded(low), rounded(high)),
        by_seed=tuple(rounded(value) for value in by_seed),
        p=rounded(p),
        photograph_p=rounded(photograph_p),
        photograph_error=round(photograph_error, _DECIMALS + 2),
    )


def with_seed_interval(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored difference with the interval and p-value of `SeedEstimate`.

    Results from before hold a bootstrap interval over photographs and seeds, and a permutation
    test's p-value. The bootstrap's variance is nearly that of the photographs plus (k - 1) / k of
    that of the seeds; what it has besides makes the photographs' standard error larger. What was
    stored is kept as `bootstrap_interval` and `photograph_p`. One seed's interval stays as it is.

    Args:
        stored: with `difference`, `interval`, `by_seed` and `p`.
    """
    by_seed = tuple(stored["by_seed"])
    count = len(by_seed)
    if count < 2 or "photograph_p" in stored:
        return dict(stored)

    low, high = stored["interval"]
    variance = ((high - low) / 2 / _NORMAL_HALF_WIDTH) ** 2
    of_seeds = float(np.var(by_seed, ddof=1)) / count * (count - 1) / count
    estimate = SeedEstimate(by_seed, max(variance - of_seeds, 0.0) ** 0.5)
    new = {
        "interval": [rounded(bound) for bound in estimate.interval],
        "p": rounded(estimate.p),
        "photograph_p": stored["p"],
        "photograph_error": round(estimate.photograph_error, _DECIMALS + 2),
        "bootstrap_interval": [low, high],
    }
    return {**stored, **new}


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, corrected by Holm's step-down method (1979).

    A comparison is significant among all of them where its corrected value is below 0.05.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    count = len(p_values)
    order = sorted(range(count), key=lambda index: p_values[index])
    corrected = [0.0] * count
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def rounded(value: float) -> float:
    """A share to the four decimals that are published."""
    return round(float(value), _DECIMALS)


def rounded_by_seed(by_seed: BySeed) -> BySeed:
    """All values, rounded."""
    result = {}
    for key, values in by_seed.items():
        result[key] = [rounded(value) for value in values]
    return result


def means(by_seed: BySeed) -> dict[str, float]:
    """The means over seeds, rounded."""
    return {key: rounded(float(np.mean(values))) for key, values in by_seed.items()}


def _resampled_means(
    photograph_means: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    """Means of [n] differences over photographs drawn with replacement."""
    count = len(photograph_means)
    means = [
        photograph_means[random.integers(0, count, count)].mean() for _ in range(_RESAMPLE_COUNT)
    ]
    return np.array(means)


def _permutation_p(photograph_means: NDArray[np.float64], random: np.random.Generator) -> float:
    """The share of random sign flips of [n] differences whose mean is as far from zero."""
    count = len(photograph_means)
    permuted = [
        (photograph_means * random.choice([-1.0, 1.0], count)).mean()
        for _ in range(_RESAMPLE_COUNT)
    ]

    # The margin counts a flip that gives the same mean but for rounding.
    threshold = abs(photograph_means.mean()) - 1e-12
    as_extreme = int((np.abs(permuted) >= threshold).sum())
    return (1 + as_extreme) / (_RESAMPLE_COUNT + 1)
