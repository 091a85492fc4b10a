"""Folds: none empty, every label spread over them, groups whole."""

from __future__ import annotations

import numpy as np
import pytest

from leafzoom.fitting.folds import stratified_folds


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 11, 100])
def test_no_fold_is_empty(count: int) -> None:
    targets = np.eye(3, dtype=np.uint8)[np.arange(count) % 3]
    fold = stratified_folds(targets, 5, seed=0)
    sizes = np.bincount(fold)
    assert len(sizes) == min(5, count)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1


def test_every_label_is_spread_evenly() -> None:
    random = np.random.default_rng(0)
    for seed in range(20):
        targets = (random.random((60, 4)) < [0.05, 0.1, 0.5, 0.9]).astype(np.uint8)
        fold = stratified_folds(targets, 4, seed=seed)
        rarest = np.argmin(targets.sum(axis=0))
        counts = [int(targets[fold == number, rarest].sum()) for number in range(4)]
        assert max(counts) - min(counts) <= 1


def test_two_photographs_of_a_label_are_never_held_out_together() -> None:
    targets = np.repeat(np.eye(6, dtype=np.uint8), 2, axis=0)
    for seed in range(20):
        fold = stratified_folds(targets, 4, seed=seed)
        assert all(fold[2 * label] != fold[2 * label + 1] for label in range(6))


def test_groups_stay_whole() -> None:
    targets = np.eye(2, dtype=np.uint8)[np.arange(30) % 2]
    groups = np.arange(30) // 3
    fold = stratified_folds(targets, 5, seed=0, groups=groups)
    assert all(len(set(fold[groups == group])) == 1 for group in range(10))
    assert np.bincount(fold).tolist() == [6] * 5

    two_groups = stratified_folds(targets, 5, seed=0, groups=np.arange(30) // 15)
    assert np.bincount(two_groups).tolist() == [15, 15]


def test_the_same_seed_gives_the_same_folds() -> None:
    targets = np.eye(3, dtype=np.uint8)[np.arange(40) % 3]
    first = stratified_folds(targets, 5, seed=1)
    assert (first == stratified_folds(targets, 5, seed=1)).all()
    assert (first != stratified_folds(targets, 5, seed=2)).any()
