"""Outliers and the order of labelling, against slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leafzoom.review.distances import (
    entropy_share,
    far_out,
    labelling_order,
    neighbour_distances,
)


def slow_distance(first: np.ndarray, second: np.ndarray) -> float:
    norms = math.sqrt(float(first @ first) * float(second @ second))
    return 1 - float(first @ second) / norms


def test_distances_are_means_over_the_nearest() -> None:
    descriptors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)

    for row, distance in enumerate(neighbour_distances(descriptors)):
        others = [slow_distance(descriptors[row], other) for other in descriptors]
        del others[row]
        assert distance == pytest.approx(sum(sorted(others)[:10]) / 10, abs=1e-6)


def test_few_photographs_have_distances_too() -> None:
    assert neighbour_distances(np.ones((1, 3), np.float32)).tolist() == [0.0]
    two = np.array([[1, 0], [0, 1]], np.float32)
    assert neighbour_distances(two).tolist() == [1.0, 1.0]


def test_the_one_that_is_unlike_the_others_is_far_out() -> None:
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(60, 8)).astype(np.float32) * 0.05
    descriptors[:, 0] += 1
    descriptors[17] = [0, 3, 0, 0, 0, 0, 0, 0]

    assert np.flatnonzero(far_out(neighbour_distances(descriptors))).tolist() == [17]


def test_what_is_labelled_first_is_uncertain_and_new() -> None:
    # Two alike and uncertain, one as uncertain elsewhere, one sure, one beside a labelled one.
    descriptors = np.array([[1, 0, 0], [1, 0.01, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]], np.float32)
    uncertainty = np.array([1.0, 0.99, 0.9, 0.05, 1.0])
    labelled = np.array([[0, 0, 1]], np.float32)

    order = labelling_order(descriptors, uncertainty, labelled, 3)

    assert order == [0, 2, 3]
    assert len(labelling_order(descriptors, uncertainty, labelled, 99)) == 5


def test_entropy_is_in_shares_of_a_bit() -> None:
    p = 0.2
    bits = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert entropy_share(np.array([[0.2, 0.5]]))[0] == pytest.approx((bits + 1) / 2)
