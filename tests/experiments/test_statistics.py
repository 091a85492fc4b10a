"""Differences between arms: significant where there is one, and not where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.statistics import (
    SeedEstimate,
    holm,
    paired_difference,
    with_seed_interval,
)

SEEDS = 3
PHOTOGRAPHS = 2000


def random_hits(random: np.random.Generator, share: float) -> NDArray[np.bool_]:
    """Exact answers [seeds, n] with this probability."""
    return random.uniform(size=(SEEDS, PHOTOGRAPHS)) < share


def test_a_large_difference_is_significant() -> None:
    random = np.random.default_rng(0)
    control = random_hits(random, 0.8)
    better = control | random_hits(random, 0.1)

    result = paired_difference(better, control)
    assert result.difference == pytest.approx(better.mean() - control.mean(), abs=1e-4)
    assert result.interval[0] > 0
    assert result.is_significant
    assert result.p < 0.01
    assert result.photograph_p < 0.001
    assert len(result.by_seed) == SEEDS


def test_other_photographs_of_the_same_share_are_no_significant_difference() -> None:
    random = np.random.default_rng(0)
    control = random_hits(random, 0.8)

    result = paired_difference(random.permuted(control, axis=1), control)
    assert result.interval[0] < 0 < result.interval[1]
    assert not result.is_significant
    assert result.p > 0.05


def test_an_arm_differs_from_itself_by_nothing() -> None:
    control = random_hits(np.random.default_rng(0), 0.8)
    assert paired_difference(control, control).to_dict() == {
        "difference": 0.0,
        "interval": [0.0, 0.0],
        "by_seed": [0.0, 0.0, 0.0],
        "p": 1.0,
        "photograph_p": 1.0,
        "photograph_error": 0.0,
    }


def test_seeds_that_disagree_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    control = random_hits(random, 0.8)

    # The same mean gain, in one seed alone or in all of them.
    uneven_gain = np.array([[0.0], [0.0], [0.15]])
    uneven = control | (random.uniform(size=control.shape) < uneven_gain)
    even = control | random_hits(random, 0.05)

    uneven_low, uneven_high = paired_difference(uneven, control).interval
    even_low, even_high = paired_difference(even, control).interval
    assert uneven_high - uneven_low > 2 * (even_high - even_low)


def test_one_seeds_interval_is_of_the_photographs_alone() -> None:
    random = np.random.default_rng(0)
    control = random_hits(random, 0.8)[:1]
    better = control | random_hits(random, 0.02)[:1]

    result = paired_difference(better, control)
    assert result.p == result.photograph_p
    normal = 1.96 * result.photograph_error
    low, high = result.interval
    assert high - low == pytest.approx(2 * normal, rel=0.1)


def simulated(
    random: np.random.Generator, seeds: int, photographs: int, seed_std: float
) -> NDArray[np.float64]:
    """Differences [seeds, n] around 0: of the seed, of the photograph, and of both."""
    of_seed = random.normal(0, seed_std, (seeds, 1))
    of_photograph = random.normal(0, 0.2, (1, photographs))
    return of_seed + of_photograph + random.normal(0, 0.2, (seeds, photographs))


# The photographs' standard error is 0.2 / sqrt(200) and more, so 0.014.
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("seed_std", [0.0, 0.01, 0.03, 0.3])
def test_intervals_cover_new_seeds_and_photographs(seeds: int, seed_std: float) -> None:
    """Of 2,000 simulated experiments; a share of 0.95 has a standard error of 0.005."""
    random = np.random.default_rng(seeds)
    photographs = 200
    covered = 0
    significant = 0
    for _ in range(2000):
        differences = simulated(random, seeds, photographs, seed_std)
        error = float(differences.mean(axis=0).std(ddof=1)) / photographs**0.5
        estimate = SeedEstimate(tuple(differences.mean(axis=1).tolist()), error)
        low, high = estimate.interval
        covered += low <= 0 <= high
        significant += estimate.p < 0.05
    assert covered / 2000 >= 0.93
    assert significant == 2000 - covered


def pigeonhole_interval(
    random: np.random.Generator, differences: NDArray[np.float64]
) -> tuple[float, float]:
    """What results from before hold: a percentile bootstrap over photographs and seeds."""
    seeds, photographs = differences.shape
    resampled = []
    for _ in range(200):
        drawn = differences[random.integers(0, seeds, seeds)].mean(axis=0)
        resampled.append(drawn[random.integers(0, photographs, photographs)].mean())
    low, high = np.percentile(resampled, (2.5, 97.5))
    return float(low), float(high)


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("seed_std", [0.0, 0.3])
def test_stored_bootstraps_are_made_to_cover(seeds: int, seed_std: float) -> None:
    """Of 400 simulated experiments, so 0.93 less two standard errors is 0.91."""
    random = np.random.default_rng(seeds)
    covered = 0
    covered_before = 0
    for _ in range(400):
        differences = simulated(random, seeds, 200, seed_std)
        by_seed = differences.mean(axis=1).tolist()
        low, high = pigeonhole_interval(random, differences)
        covered_before += low <= 0 <= high
        stored = {"difference": 0.0, "interval": [low, high], "by_seed": by_seed, "p": 0.5}

        low, high = with_seed_interval(stored)["interval"]
        covered += low <= 0 <= high
    assert covered / 400 >= 0.91
    if seed_std:
        assert covered_before / 400 < 0.9


def test_a_stored_difference_is_converted_once() -> None:
    stored = {"difference": 0.01, "interval": [0.0, 0.02], "by_seed": [0.005, 0.015], "p": 0.04}
    converted = with_seed_interval(stored)
    assert converted["bootstrap_interval"] == [0.0, 0.02]
    assert converted["photograph_p"] == 0.04
    assert converted["interval"][0] < -0.05  # t with one degree of freedom
    assert with_seed_interval(converted) == converted

    one_seed = {**stored, "by_seed": [0.01]}
    assert with_seed_interval(one_seed) == one_seed


def test_holm_corrects_for_the_number_of_comparisons() -> None:
    """The worked example: 0.005 * 4, 0.01 * 3, 0.03 * 2, then no less than the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
