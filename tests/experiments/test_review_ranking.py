"""Flips are drawn as said, and what is found of them is counted right."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.review_ranking import (
    LOSS,
    duplicates_in_first,
    found_in_first,
    rankings,
    with_flips,
)
from leafzoom.labels import LabelSet
from leafzoom.review.probabilities import find_features, fit_out_of_fold
from leafzoom.review.ranking import RANKED_BY
from tools.review_tables import review_duplicates, review_flips


def table(count: int = 400) -> tuple[np.ndarray, LabelSet]:
    combinations = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1]], np.uint8)
    targets = combinations[np.arange(count) % 4]
    return targets, LabelSet.from_targets(("a", "b", "c"), targets)


def test_flips_are_other_combinations_that_occur() -> None:
    targets, labels = table()
    noisy, flipped = with_flips(targets, labels, 0.05, seed=3)

    assert flipped.sum() == 20
    assert (noisy != targets).any(axis=1).tolist() == flipped.tolist()
    assert {tuple(row) for row in noisy.tolist()} <= set(labels.combinations)
    again, _ = with_flips(targets, labels, 0.05, seed=3)
    other, _ = with_flips(targets, labels, 0.05, seed=4)
    assert (again == noisy).all()
    assert (other != noisy).any()


def test_frequent_combinations_are_drawn_more_often() -> None:
    targets, labels = table(4000)
    noisy, flipped = with_flips(targets, labels, 0.5, seed=0)
    became_a = (noisy[flipped] == [1, 0, 0]).all(axis=1)
    could = ~(targets[flipped] == [1, 0, 0]).all(axis=1)
    # From `b` and from `b c`, `a` is twice as frequent as the one other combination.
    assert became_a[could].mean() == pytest.approx(2 / 3, abs=0.05)


def test_the_first_are_counted() -> None:
    order = np.array([4, 2, 0, 1, 3])
    wrong = np.array([False, False, True, True, True])
    assert found_in_first(order, wrong, 2) == {"precision": 1.0, "recall": pytest.approx(2 / 3)}
    assert found_in_first(order, wrong, 3)["precision"] == pytest.approx(2 / 3)


def test_duplicates_judge_the_first() -> None:
    targets = np.array([[1, 0], [0, 1], [1, 0], [1, 0], [0, 1], [1, 1]], np.uint8)
    answers = np.array([[0, 1], [1, 1], [1, 0], [1, 0], [0, 1], [1, 0]], np.uint8)
    pairs = [(0, 1), (2, 3), (4, 5)]

    found = duplicates_in_first(np.array([0, 1, 2, 3, 4, 5]), targets, answers, pairs, 3)

    assert found["with_duplicate"] == 3
    assert found["changed"] == 2
    assert found["suggested_as_duplicate"] == 1
    assert (found["conflicting_pairs"], found["conflicting_pairs_found"]) == (2, 1)
    assert (found["rest_with_duplicate"], found["rest_changed"]) == (3, 2)
    assert found["share"]["value"] == pytest.approx(2 / 3)


def test_flipped_labels_are_found_on_simulated_descriptors() -> None:
    targets, labels = table()
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(400, 20))
    descriptors[:, :3] += 3.0 * targets
    noisy, flipped = with_flips(targets, labels, 0.05, seed=0)
    single = descriptors.astype(np.float32)
    features = find_features(single, scales=1)
    answers = fit_out_of_fold(features, single, noisy, labels, np.arange(400))

    found = {
        name: found_in_first(order, flipped, 20)["recall"]
        for name, order in rankings(noisy, labels, answers).items()
    }

    assert LOSS in found
    assert min(found.values()) > 0.7


def test_the_tables_show_means_ranges_and_counts() -> None:
    figure = {"mean": 0.835, "range": [0.82, 0.85]}
    ranking = {"precision": figure, "recall": figure, "recall_unseen": figure}
    names = ("self_confidence", "normalized_margin", "confidence_weighted_entropy", "loss")
    flips = dict.fromkeys((*names, "self_confidence, combinations", "combination"), ranking)
    found = {
        "with_duplicate": 4,
        "changed": 3,
        "suggested_as_duplicate": 2,
        "conflicting_pairs": 20,
        "conflicting_pairs_found": 3,
        "rest_with_duplicate": 60,
        "rest_changed": 30,
        "share": {"value": 0.75, "interval": [0.19, 0.99]},
    }
    sample = {
        "photographs": 2000,
        "flipped": 100,
        "flips": {**flips, "suggestion": {"right_of_flipped": figure}},
        "as_labelled": {RANKED_BY: found, "loss": found},
    }
    result = {"first": 100, "seeds": [0, 1], "command": "x", "linear": sample, "own": sample}

    flips_text = "\n".join(review_flips(result))
    duplicates_text = "\n".join(review_duplicates(result))

    assert "| 83.5 (82 to 85) | 83.5 (82 to 85) |" in flips_text
    assert "100 of 2000" in flips_text
    assert "| 4 | 3 (19 to 99 %) | 2 | 3 of 20 | 30 of 60 |" in duplicates_text
