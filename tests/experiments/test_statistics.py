"""Differences between arms: significant where there is one, and not where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.statistics import paired_difference

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
    assert result.p < 0.001
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
