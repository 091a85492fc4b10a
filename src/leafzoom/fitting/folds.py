"""Folds of a cross-validation, in which every label is spread as evenly as it can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["stratified_folds"]


def stratified_folds(
    targets: NDArray[np.uint8] | NDArray[np.float64],
    folds: int,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The fold of each photograph, [n]: 0, 1, …, each label spread evenly over the folds.

    The rarest label is dealt out first, each group of photographs to the fold that has fewest
    photographs of that label, then fewest photographs. No fold is empty where there are as many
    groups as folds.

    Args:
        targets: [n, L], 0 or 1.
        folds: at most; with fewer groups, each is a fold of its own.
        seed: of the order in which groups are dealt out.
        groups: [n], the same number for photographs that stay together; by default each is alone.
    """
    count, width = targets.shape
    group_of = np.arange(count) if groups is None else groups
    names, group_of = np.unique(group_of, return_inverse=True)
    folds = min(folds, len(names))
    random = np.random.default_rng(seed)
    order = random.permutation(len(names))

    # How many photographs of each group have each label, and how many it has.
    labels_of_group = np.zeros((len(names), width), np.int64)
    np.add.at(labels_of_group, group_of, (targets > 0).astype(np.int64))
    sizes = np.bincount(group_of, minlength=len(names))

    fold_of_group = np.full(len(names), -1, np.int64)
    fold_labels = np.zeros((folds, width), np.int64)
    fold_sizes = np.zeros(folds, np.int64)

    def deal(group: int, by: NDArray[np.int64]) -> None:
        fold = int(np.lexsort((fold_sizes, by))[0])
        fold_of_group[group] = fold
        fold_labels[fold] += labels_of_group[group]
        fold_sizes[fold] += sizes[group]

    # Groups with the rarest label first, those without any label last.
    for label in np.argsort(labels_of_group.sum(axis=0), kind="stable"):
        for group in order:
            if fold_of_group[group] < 0 and labels_of_group[group, label]:
                deal(group, fold_labels[:, label])
    for group in order:
        if fold_of_group[group] < 0:
            deal(group, fold_sizes)
    return np.asarray(fold_of_group[group_of])
