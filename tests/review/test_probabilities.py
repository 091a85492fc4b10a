"""Each photograph is judged by classifiers that have not seen it, nor a near-duplicate of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.fitting.fusion import fit_lbfgs
from leafzoom.fitting.linear_layers import shares_prior
from leafzoom.labels import LabelSet
from leafzoom.model.fusion import Fusion
from leafzoom.review.build import open_review_network
from leafzoom.review.outputs import outputs_of_cache, outputs_of_files
from leafzoom.review.probabilities import OutOfFoldLabels, find_features, fit_out_of_fold

WIDTH = 24


def separable(count: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of two labels that a linear layer can tell apart."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, (count, 2)).astype(np.uint8)
    descriptors = random.normal(size=(count, WIDTH))
    descriptors[:, :2] += 4.0 * targets
    return descriptors.astype(np.float32), targets


def fit(
    descriptors: np.ndarray, targets: np.ndarray, groups: np.ndarray | None = None
) -> OutOfFoldLabels:
    labels = LabelSet.from_targets(("a", "b"), targets)
    alone = np.arange(len(targets)) if groups is None else groups
    features = find_features(descriptors, scales=1)
    return fit_out_of_fold(features, descriptors, targets, labels, alone)


def test_a_turned_label_does_not_teach_its_own_answer() -> None:
    descriptors, targets = separable()
    wrong = targets.copy()
    wrong[:8] = 1 - wrong[:8]

    answers = fit(descriptors, wrong)

    assert (answers.answers[:8] == targets[:8]).mean() > 0.9
    assert (answers.answers[8:] == targets[8:]).mean() > 0.9


def test_noise_is_not_learnt_by_heart() -> None:
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(120, 400)).astype(np.float32)
    targets = random.integers(0, 2, (120, 2)).astype(np.uint8)

    answers = fit(descriptors, targets)

    assert abs(((answers.probabilities > 0.5) == targets).mean() - 0.5) < 0.12


def test_near_duplicates_share_a_fold() -> None:
    """Random labels of copies are found again where copies are in other folds, and not here."""
    random = np.random.default_rng(3)
    once = random.normal(size=(60, 300)).astype(np.float32)
    labels = random.integers(0, 2, (60, 2)).astype(np.uint8)
    descriptors = np.concatenate([once, once])
    targets = np.concatenate([labels, labels])

    pairs = np.concatenate([np.arange(60), np.arange(60)])
    apart = fit(descriptors, targets)
    together = fit(descriptors, targets, pairs)

    assert ((apart.logits > 0) == targets).mean() > 0.8
    assert ((together.logits > 0) == targets).mean() < 0.65


def test_other_photographs_are_judged_by_a_fit_on_all() -> None:
    descriptors, targets = separable()
    answers = fit(descriptors, targets)

    probabilities = answers.probabilities_of(descriptors)

    assert probabilities.shape == targets.shape
    assert ((probabilities > 0.5) == targets).mean() > 0.95


def test_without_groups_the_folds_are_those_of_before() -> None:
    descriptors, targets = separable(60)
    fits = []
    for groups in (None, np.arange(60)):
        fusion = Fusion(scales=1, width=WIDTH, labels=2, inputs="descriptors", normalise="rescale")
        prior = shares_prior(targets, WIDTH)
        fits.append(fit_lbfgs(fusion, descriptors, targets, prior, 0, groups=groups))
    assert fits[0].out_of_fold == pytest.approx(fits[1].out_of_fold)


def test_files_have_the_outputs_of_the_cache(cache: Cache, trained: Path, tmp_path: Path) -> None:
    network, manifest = open_review_network(str(trained))
    rows = np.arange(5)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    paths = [cache.table.rows[row].path for row in rows]

    of_cache = outputs_of_cache(network, cache, rows)
    of_files = outputs_of_files(network, [*paths[:2], broken, *paths[2:]], manifest.source_size)

    assert of_files.paths == tuple(paths)
    assert len(of_files.problems) == 1
    assert "broken.jpg" in of_files.problems[0]
    assert of_files.outputs.descriptors == pytest.approx(of_cache.descriptors, abs=1e-5)
    assert of_files.outputs.photo_sizes == of_cache.photo_sizes
    assert np.array(of_files.outputs.boxes) == pytest.approx(np.array(of_cache.boxes), abs=0.02)
