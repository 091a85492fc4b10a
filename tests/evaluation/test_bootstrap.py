"""The bootstrap's intervals are those of the binomial distribution, and paired."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from leafzoom.evaluation.bootstrap import (
    Difference,
    Interval,
    ResampledScores,
    paired_difference,
    percentile_interval,
    resample_means,
    resample_scores,
)

PHOTOGRAPHS = 400
HEADS = ("perfect", "wrong", "worse")


@pytest.fixture(scope="module")
def targets() -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    return (random.random((PHOTOGRAPHS, 3)) > 0.5).astype(np.uint8)


@pytest.fixture(scope="module")
def answers(targets: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """`wrong` has 100 wrong answers, `worse` these and ten more."""
    wrong = targets.copy()
    wrong[:100, 0] ^= 1
    worse = wrong.copy()
    worse[100:110, 1] ^= 1
    return {"perfect": targets, "wrong": wrong, "worse": worse}


@pytest.fixture(scope="module")
def scores(
    targets: NDArray[np.uint8], answers: dict[str, NDArray[np.uint8]]
) -> dict[str, ResampledScores]:
    return resample_scores(targets, answers)


def binomial_half_width(share: float) -> float:
    """Half the width of the normal 95 % interval of a share of the photographs."""
    return 1.96 * float(np.sqrt(share * (1 - share) / PHOTOGRAPHS))


def test_an_interval_is_the_binomials(scores: dict[str, ResampledScores]) -> None:
    interval = percentile_interval(scores["wrong"].exact_match)
    half_width = binomial_half_width(0.25)
    assert interval.to_list() == pytest.approx([0.75 - half_width, 0.75 + half_width], abs=0.006)


def test_a_perfect_head_has_intervals_of_no_width(scores: dict[str, ResampledScores]) -> None:
    perfect = scores["perfect"]
    assert percentile_interval(perfect.exact_match) == Interval(1, 1)
    assert percentile_interval(perfect.exact_match - perfect.micro_f1) == Interval(0, 0)


def test_differences_are_paired(scores: dict[str, ResampledScores]) -> None:
    """Ten photographs separate the two heads; the hundred that both get wrong do not matter."""
    difference = paired_difference(0.025, scores["wrong"].exact_match, scores["worse"].exact_match)
    half_width = binomial_half_width(0.025)
    expected = [0.025 - half_width, 0.025 + half_width]
    assert difference.interval.to_list() == pytest.approx(expected, abs=0.003)
    assert difference == Difference(0.025, difference.interval)
    assert difference.to_dict() == {
        "difference": 0.025,
        "interval": difference.interval.to_list(),
    }


def test_resampled_f1_scatters_around_scikit_learns(
    targets: NDArray[np.uint8],
    answers: dict[str, NDArray[np.uint8]],
    scores: dict[str, ResampledScores],
) -> None:
    worse = scores["worse"]
    assert worse.macro_f1 == pytest.approx(worse.per_label_f1.mean(axis=1))

    for column in range(3):
        expected = f1_score(targets[:, column], answers["worse"][:, column])
        assert float(worse.per_label_f1[:, column].mean()) == pytest.approx(expected, abs=0.005)

    expected = f1_score(targets, answers["worse"], average="micro")
    assert float(worse.micro_f1.mean()) == pytest.approx(expected, abs=0.003)


def test_means_are_resampled_as_scores_are(
    targets: NDArray[np.uint8], answers: dict[str, NDArray[np.uint8]]
) -> None:
    """All values on the same resamples; the mean of 0 and 1 is a binomial share."""
    is_exact = (answers["wrong"] == targets).all(axis=1).astype(np.float64)
    means = resample_means({"exact": is_exact, "inexact": 1 - is_exact})
    np.testing.assert_allclose(means["exact"] + means["inexact"], 1)

    half_width = binomial_half_width(0.25)
    interval = percentile_interval(means["exact"])
    assert interval.to_list() == pytest.approx([0.75 - half_width, 0.75 + half_width], abs=0.006)
