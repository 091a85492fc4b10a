"""The statistics of paired comparisons: which differences between arms are significant."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BySeed", "PairedDifference", "means", "paired_difference", "rounded", "rounded_by_seed"]

_RESAMPLE_COUNT = 4000
_PERCENTILES = (2.5, 97.5)
_DECIMALS = 4

BySeed = dict[str, list[float]]  # a value a seed


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two exact matches, as a share of the photographs, to four decimals.

    `interval`: 95 %. `by_seed`: a value a seed. `p`: of a paired permutation test.
    """

    difference: float
    interval: tuple[float, float]
    by_seed: tuple[float, ...]
    p: float

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes zero."""
        low, high = self.interval
        return low > 0 or high < 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"interval": list(self.interval), "by_seed": list(self.by_seed)}


def paired_difference(arm: NDArray[np.bool_], control: NDArray[np.bool_]) -> PairedDifference:
    """The exact match of an arm less that of its control, on the same photographs and seeds.

    The interval is from a bootstrap over photographs and seeds at once (Owen's pigeonhole
    bootstrap). The p-value is of a paired permutation test: the signs of the photographs'
    differences, means over seeds, are flipped at random. It takes the seeds as given.

    Args:
        arm: [seeds, n], whether each photograph is answered exactly.
        control: the same; where one of the two has fewer seeds, the other's first ones are taken.
    """
    # Runs are paired in their order; where one side has more, its last ones are left out.
    seeds = min(len(arm), len(control))
    differences = arm[:seeds].astype(np.float64) - control[:seeds]
    photograph_means = differences.mean(axis=0)
    mean = photograph_means.mean()

    # One generator, so that the figures are the same in every run.
    random = np.random.default_rng(0)
    low, high = np.percentile(_resampled_means(differences, random), _PERCENTILES)
    p = _permutation_p(photograph_means, random)

    return PairedDifference(
        difference=rounded(mean),
        interval=(rounded(low), rounded(high)),
        by_seed=tuple(rounded(value) for value in differences.mean(axis=1)),
        p=rounded(p),
    )


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
    differences: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    """Means of [seeds, n] differences over photographs and seeds drawn with replacement."""
    seeds, count = differences.shape
    means = []
    for _ in range(_RESAMPLE_COUNT):
        photographs = random.integers(0, count, count)
        drawn_seeds = random.integers(0, seeds, seeds)
        means.append(differences[drawn_seeds].mean(axis=0)[photographs].mean())
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
