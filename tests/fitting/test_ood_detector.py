"""The out-of-distribution detector's fit to leaves' descriptors."""

from __future__ import annotations

import numpy as np
import torch

from leafzoom.fitting.ood_detector import fit_ood_detector


def leaf_descriptors(count: int, seed: int) -> np.ndarray:
    """Descriptors of two scales, 30 numbers each, that differ in 5 of 60 directions.

    The second scale's numbers are a hundred times as large.
    """
    random = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(np.random.default_rng(99).normal(size=(60, 60)))
    spread = np.array([3.0] * 5 + [0.1] * 55)

    rows = (random.normal(size=(count, 60)) * spread) @ basis + 2
    return (rows * np.repeat([1.0, 100.0], 30)).astype(np.float32)


def test_leaves_score_below_one_and_other_things_above() -> None:
    detector = fit_ood_detector(leaf_descriptors(600, 0), 2, seed=0)
    assert detector is not None

    new_leaves = detector(torch.from_numpy(leaf_descriptors(2000, 1))).numpy()
    assert 0.0 < (new_leaves > 1).mean() < 0.03

    shifted = leaf_descriptors(200, 2)
    shifted[:, 7] += 3  # small against how leaves vary, but not in a direction in which they do
    assert (detector(torch.from_numpy(shifted)).numpy() > 1).mean() > 0.9


def test_the_score_is_the_mahalanobis_distance_where_all_directions_vary() -> None:
    random = np.random.default_rng(0)
    spread = np.diag([1, 2, 0.5, 1]).astype(np.float32)
    descriptors = random.normal(size=(400, 4)).astype(np.float32) @ spread
    detector = fit_ood_detector(descriptors, 2, seed=0)
    assert detector is not None

    scores = detector(torch.from_numpy(descriptors)).numpy()

    centred = descriptors - descriptors.mean(axis=0)
    precision = np.linalg.inv(centred.T @ centred / len(descriptors))
    expected = np.einsum("ni,ij,nj->n", centred, precision, centred)
    # Not exactly: the last of the four directions belongs to the isotropic rest.
    assert np.corrcoef(scores, expected)[0, 1] > 0.99


def test_fewer_than_twenty_photographs_give_no_detector() -> None:
    assert fit_ood_detector(leaf_descriptors(19, 0), 2, seed=0) is None
    assert fit_ood_detector(leaf_descriptors(20, 0), 2, seed=0) is not None


def test_constant_descriptors_give_finite_scores() -> None:
    detector = fit_ood_detector(np.ones((40, 8), np.float32), 2, seed=0)

    assert detector is not None
    assert np.isfinite(detector(torch.ones(1, 8)).numpy()).all()
