"""Scores equal scikit-learn's own report."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import classification_report

from leafzoom.metrics import score

NAMES = ("complex", "healthy", "rust", "scab")
KINDS = (
    "random",
    "single class",
    "nothing true",
    "nothing predicted",
    "nothing at all",
    "one photograph",
)


def label_tables(kind: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Targets and answers [N, 4] of a kind."""
    random = np.random.default_rng(0)
    targets = (random.random((50, 4)) < 0.4).astype(np.uint8)
    answers = np.where(random.random((50, 4)) < 0.8, targets, 1 - targets).astype(np.uint8)

    if kind == "single class":
        targets[:] = 0
        targets[:, 2] = 1
    if kind in ("nothing true", "nothing at all"):
        targets[:] = 0
    if kind in ("nothing predicted", "nothing at all"):
        answers[:] = 0
    if kind == "one photograph":
        return targets[:1], answers[:1]
    return targets, answers


@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_scikit_learns_report(kind: str) -> None:
    targets, answers = label_tables(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = score(targets, answers, answers.astype(float), NAMES)

    scores = {
        **metrics.per_label,
        "micro avg": metrics.micro,
        "macro avg": metrics.macro,
        "weighted avg": metrics.weighted,
        "samples avg": metrics.samples,
    }
    report = classification_report(
        targets, answers, target_names=NAMES, output_dict=True, zero_division=0
    )
    assert set(scores) == set(report)
    for name, row in scores.items():
        expected = report[name]
        assert row.precision == pytest.approx(expected["precision"]), name
        assert row.recall == pytest.approx(expected["recall"]), name
        assert row.f1 == pytest.approx(expected["f1-score"]), name
        assert row.support == expected["support"], name

    assert metrics.exact_match == pytest.approx((targets == answers).all(axis=1).mean())


def test_no_photograph_scores_zero() -> None:
    nothing = np.zeros((0, 4))
    metrics = score(nothing.astype(int), nothing.astype(int), nothing, NAMES)
    assert metrics.exact_match == metrics.map == metrics.micro.f1 == 0
    assert set(metrics.per_label) == set(NAMES)


def test_one_label() -> None:
    targets = np.array([[1], [0], [1]])
    answers = np.array([[1], [1], [0]])
    metrics = score(targets, answers, answers.astype(float), ("scab",))
    assert metrics.micro.f1 == metrics.per_label["scab"].f1 == pytest.approx(0.5)
    assert metrics.exact_match == pytest.approx(1 / 3)


def test_map_is_the_mean_over_labels_that_occur() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    probabilities = np.array([[0.9, 0.5], [0.8, 0.5], [0.1, 0.5]])
    metrics = score(targets, probabilities > 0.5, probabilities, ("a", "b"))
    assert metrics.map == pytest.approx((1 + 2 / 3) / 2)


def test_one_class_a_photograph_has_top_1_accuracy_and_a_confusion_matrix() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 4, 60)
    given = np.where(random.random(60) < 0.7, truth, random.integers(0, 4, 60))
    targets = np.eye(4, dtype=np.uint8)[truth]
    answers = np.eye(4, dtype=bool)[given]

    scored = score(targets, answers, answers * 0.9, NAMES, single_label=True)
    assert scored.top1 == pytest.approx((truth == given).mean())
    assert scored.exact_match == scored.top1
    assert scored.confusion == tuple(
        tuple(int(((truth == row) & (given == column)).sum()) for column in range(4))
        for row in range(4)
    )
    content = scored.to_dict()
    assert content["threshold"] is None
    assert content["top1"] == scored.top1

    # With several labels the keys are as before.
    several = score(targets, answers, answers * 0.9, NAMES).to_dict()
    assert set(content) - set(several) == {"top1", "confusion"}
    assert several["threshold"] == 0.5
