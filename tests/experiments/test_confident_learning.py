"""Label issues on simulated labels whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments import confident_learning as module
from experiments.confident_learning import LabelIssues, confident_learning

LABELS = ("complex", "frog_eye_leaf_spot", "rust", "scab")
COMBINATIONS = np.array(
    [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 1]], np.uint8
)
PHOTOGRAPHS = 1200


def simulate(
    noise: float, separation: float, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.bool_]]:
    """Given labels, a calibrated model's probabilities, and which labels are wrong."""
    random = np.random.default_rng(seed)
    count = len(COMBINATIONS)
    truth = random.integers(0, count, PHOTOGRAPHS)
    is_wrong = random.random(PHOTOGRAPHS) < noise
    others = (truth + random.integers(1, count, PHOTOGRAPHS)) % count
    given = np.where(is_wrong, others, truth)

    # Unit variance around the truth: these scores' softmax is the posterior.
    seen = random.normal(size=(PHOTOGRAPHS, count)) + separation * np.eye(count)[truth]
    scores = np.exp(separation * seen)
    posterior = scores / scores.sum(axis=1, keepdims=True)
    return COMBINATIONS[given], posterior @ COMBINATIONS, is_wrong


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RESAMPLES", 60)


def find(noise: float, separation: float, seed: int = 0) -> tuple[LabelIssues, NDArray[np.bool_]]:
    targets, marginals, is_wrong = simulate(noise, separation, seed)
    return confident_learning(targets, marginals, LABELS), is_wrong


@pytest.mark.parametrize("noise", [0.03, 0.1])
def test_a_good_model_finds_the_wrong_labels(noise: float) -> None:
    found, is_wrong = find(noise, separation=4.5)
    assert found.share.value == pytest.approx(is_wrong.mean(), abs=0.015)
    low, high = found.share.interval
    assert low <= is_wrong.mean() <= high

    assert is_wrong[found.flags].mean() > 0.9
    assert found.flags[is_wrong].mean() > 0.9


def test_a_weak_models_errors_count_as_issues() -> None:
    """Why the share is an upper estimate: there is no wrong label here."""
    found, is_wrong = find(0.0, separation=2.0)
    assert not is_wrong.any()
    assert found.share.interval[0] > 0.05


def test_labels_by_the_toss_of_a_coin_are_no_issues() -> None:
    """Why the share can be too low: of two combinations, annotators choose either."""
    random = np.random.default_rng(0)
    targets, marginals, _ = simulate(0.0, separation=4.5)
    doubtful = random.random(PHOTOGRAPHS) < 0.2
    is_scab = random.random(PHOTOGRAPHS) < 0.5
    targets[doubtful] = np.where(is_scab[doubtful, None], COMBINATIONS[4], COMBINATIONS[1])
    marginals[doubtful] = (COMBINATIONS[4] + COMBINATIONS[1]) / 2 + random.normal(
        scale=0.02, size=(int(doubtful.sum()), len(LABELS))
    )
    found = confident_learning(targets, np.clip(marginals, 0, 1), LABELS)
    assert found.flags.mean() < 0.05 < 0.2 / 2


def test_issues_are_given_or_missing_labels() -> None:
    """Scab is taken away from 40 photographs that have it."""
    targets, marginals, _ = simulate(0.0, separation=4.5)
    with_scab = np.flatnonzero(targets[:, 3])[:40]
    targets[with_scab, 3] = 0
    found = confident_learning(targets, marginals, LABELS)
    assert found.by_label["scab"]["missing"] >= 36
    assert found.issues[with_scab, 3].sum() >= 36
    others = sum(sum(counts.values()) for name, counts in found.by_label.items() if name != "scab")
    assert others <= 20
    assert found.to_dict() == {"share": found.share.to_dict(), "by_label": found.by_label}
