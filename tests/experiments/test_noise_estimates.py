"""The estimators of label noise, on simulated labels and answers whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from experiments.noise_estimates import (
    agreement_noise,
    clopper_pearson,
    duplicate_noise,
    share_estimate,
)

COMBINATIONS = 12
PHOTOGRAPHS = 1677
SIMULATIONS = 100
NOISE = 0.08

Indices = NDArray[np.intp]


def with_errors(
    random: np.random.Generator, truth: Indices, rate: float | NDArray[np.float64]
) -> Indices:
    """Combinations of which some are others, drawn evenly."""
    others = (truth + random.integers(1, COMBINATIONS, len(truth))) % COMBINATIONS
    return np.where(random.random(len(truth)) < rate, others, truth)


def draw_truth(random: np.random.Generator) -> Indices:
    return random.integers(0, COMBINATIONS, PHOTOGRAPHS)


@pytest.mark.parametrize(("successes", "trials"), [(25, 36), (0, 20), (20, 20), (3, 1677)])
def test_exact_intervals_are_those_of_scipy(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(method="exact")
    share = clopper_pearson(successes, trials)
    assert share.value == successes / trials
    assert share.interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_noise_of_pairs_is_recovered_and_covered() -> None:
    """Both labels of a pair err on their own, and wrong ones are seldom alike."""
    random = np.random.default_rng(0)
    pairs = 200
    covered = 0
    values = []
    for _ in range(SIMULATIONS):
        truth = random.integers(0, COMBINATIONS, pairs)
        first = with_errors(random, truth, NOISE)
        second = with_errors(random, truth, NOISE)
        noise = duplicate_noise(int((first != second).sum()), pairs).never_alike
        low, high = noise.interval
        covered += low <= NOISE <= high
        values.append(noise.value)

    assert np.mean(values) == pytest.approx(NOISE, abs=0.005)
    assert covered >= 0.9 * SIMULATIONS


def test_noise_of_pairs_of_two_classes_is_recovered() -> None:
    """Wrong labels are always alike there: 2 e (1 - e) of the pairs differ."""
    random = np.random.default_rng(1)
    count = 200_000
    differing = (random.random(count) < 0.2) != (random.random(count) < 0.2)
    noise = duplicate_noise(int(differing.sum()), count)
    assert noise.always_alike is not None
    assert noise.always_alike.value == pytest.approx(0.2, abs=0.003)
    assert noise.never_alike.value < noise.always_alike.value


def test_more_than_half_of_the_pairs_cannot_differ_with_two_classes() -> None:
    assert duplicate_noise(19, 36).always_alike is None
    assert duplicate_noise(18, 36).always_alike is not None


def test_noise_by_two_models_is_recovered_and_covered() -> None:
    random = np.random.default_rng(2)
    covered = {"contradicted": 0, "triplet": 0}
    values: dict[str, list[float]] = {"contradicted": [], "triplet": []}
    for _ in range(SIMULATIONS):
        truth = draw_truth(random)
        answers = [with_errors(random, truth, rate) for rate in (0.07, 0.1)]
        noise = agreement_noise(*answers, with_errors(random, truth, NOISE))
        for name, estimate in (("contradicted", noise.contradicted), ("triplet", noise.triplet)):
            low, high = estimate.interval
            covered[name] += low <= NOISE <= high
            values[name].append(estimate.value)

    for name in covered:
        assert np.mean(values[name]) == pytest.approx(NOISE, abs=0.004), name
        assert covered[name] >= 0.88 * SIMULATIONS, name


def test_errors_that_models_share_count_as_noise() -> None:
    random = np.random.default_rng(3)
    truth = draw_truth(random)
    shared = with_errors(random, truth, 0.05)
    answers = [with_errors(random, shared, 0.04) for _ in range(2)]
    noise = agreement_noise(*answers, with_errors(random, truth, NOISE))
    assert noise.contradicted.interval[0] > NOISE
    assert noise.triplet.value > NOISE


def test_noise_on_difficult_photographs_is_underestimated() -> None:
    """A fifth of the photographs is difficult for the annotators and for both models."""
    random = np.random.default_rng(4)
    values = []
    for _ in range(20):
        truth = draw_truth(random)
        rate = np.where(random.random(len(truth)) < 0.2, 0.32, 0.02)
        answers = [with_errors(random, truth, rate) for _ in range(2)]
        noise = agreement_noise(*answers, with_errors(random, truth, rate))
        values.append([noise.contradicted.value, noise.triplet.value])

    contradicted, triplet = np.mean(values, axis=0)
    true_noise = 0.2 * 0.32 + 0.8 * 0.02
    assert contradicted < triplet < true_noise


def test_shares_are_of_all_photographs() -> None:
    first = np.repeat([0, 0, 1, 2, 2], 40)
    second = np.repeat([0, 1, 0, 2, 3], 40)
    noise = agreement_noise(first, second, np.zeros(200, np.intp))
    assert noise.shares == pytest.approx(dict.fromkeys(noise.shares, 0.2))
    assert len(noise.shares) == 5
    assert noise.contradicted.value == pytest.approx(0.5)


def test_a_share_is_covered_by_its_interval() -> None:
    estimate = share_estimate(np.arange(1000) < 100)
    assert estimate.value == pytest.approx(0.1)
    assert estimate.interval == pytest.approx((0.082, 0.119), abs=0.004)
