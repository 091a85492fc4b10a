"""The bootstrap over seeds holds the truth too seldom, the interval of several seeds does not."""

from __future__ import annotations

import pytest

from experiments.interval_coverage import coverage


@pytest.mark.parametrize("seeds", [2, 3])
def test_the_bootstrap_covers_too_little_where_seeds_dominate(seeds: int) -> None:
    """Of 300 experiments, so a share of 0.95 has a standard error of 0.013."""
    shares = coverage(seeds, 10.0, experiments=300)
    assert shares["bootstrap"] < 0.85
    assert shares["interval"] >= 0.91


def test_without_a_variance_of_seeds_both_cover() -> None:
    shares = coverage(3, 0.0, experiments=300)
    assert shares["bootstrap"] >= 0.93
    assert shares["interval"] >= 0.93
