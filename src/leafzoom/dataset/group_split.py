"""Parts of a table that share no group: no orchard, no field, no tree on both sides."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.table import Table
from leafzoom.errors import DataError

__all__ = ["group_parts", "joined_groups"]

_FOLDS = 10
_MIN_GROUPS = 3
_MIN_TRAIN_SHARE = 0.5


def joined_groups(table: Table, duplicates: NDArray[np.int64]) -> NDArray[np.int64]:
    """Groups in which neither near-duplicates nor photographs of one column's group are apart.

    Args:
        table: N photographs, each with a group.
        duplicates: [N], the same number for near-duplicates.

    Returns:
        [N], the same number for photographs that stay together.
    """
    joined = np.array(duplicates)
    first_of_group: dict[str, int] = {}
    for index, row in enumerate(table.rows):
        first = first_of_group.setdefault(row.group, index)

        # Whatever was with one of the two is now with both.
        low, high = sorted((joined[first], joined[index]))
        joined[joined == high] = low
    return joined


def group_parts(table: Table, groups: NDArray[np.int64], seed: int) -> tuple[list[int], ...]:
    """The training, validation and test part of a table; each group is in one of them.

    With more than ten groups, they are dealt into ten folds of similar size and labels
    (scikit-learn's StratifiedGroupKFold); with fewer, each is a fold. Two folds are the validation
    and the test part: those that leave half of the photographs and most labels for the training,
    have most labels for the validation, and are nearest to a tenth.

    Depends on the photographs' names, labels and groups alone, not on the order of the rows.

    Args:
        table: N photographs.
        groups: [N], the same number for photographs that stay together.
        seed: of the folds.

    Returns:
        The indices of each part's photographs.

    Raises:
        DataError: there are fewer than three groups.
    """
    names = table.image_names
    order = np.array(sorted(range(len(table)), key=lambda index: names[index]), np.int64)
    fold = np.empty(len(table), np.int64)
    fold[order] = _folds(table, order, groups[order], seed)
    numbers = np.unique(fold).tolist()
    if len(numbers) < _MIN_GROUPS:
        raise DataError(
            f"{table.csv} has {len(numbers)} groups in {table.group_column!r} (near-duplicates "
            f"join two), and a split in three parts needs {_MIN_GROUPS}: add groups, or give a "
            "split of your own with --split FILE"
        )

    pairs = permutations(numbers, 2)
    validation, test = min(pairs, key=lambda pair: _badness(table, fold, pair))
    parts = (~np.isin(fold, (validation, test)), fold == validation, fold == test)
    return tuple(np.nonzero(part)[0].tolist() for part in parts)


def _folds(
    table: Table, order: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """The fold of each photograph in an order, [N], given the groups in that order."""
    # Numbered as they come, so that the numbers do not depend on the table's order.
    first = {int(group): len(groups) for group in groups}
    for index, group in enumerate(groups.tolist()):
        first[group] = min(first[group], index)
    numbered = np.array([first[group] for group in groups.tolist()], np.int64)
    if len(first) <= _FOLDS:
        return numbered

    from sklearn.model_selection import StratifiedGroupKFold

    combinations = [" ".join(sorted(table.rows[index].labels)) for index in order.tolist()]
    kinds, counts = np.unique(combinations, return_counts=True)
    strata = np.searchsorted(kinds, combinations)

    # Where every combination is rare, only the groups count.
    if counts.max() < _FOLDS:
        strata = np.zeros_like(strata)

    fold = np.zeros(len(groups), np.int64)
    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # combinations of fewer photographs than folds
        for number, (_, chosen) in enumerate(splitter.split(strata, strata, numbered)):
            fold[chosen] = number
    return fold


def _badness(
    table: Table, fold: NDArray[np.int64], pair: tuple[int, int]
) -> tuple[bool, int, int, float]:
    """What speaks against two folds as the validation and the test part, the worst first."""
    validation, test = pair
    is_train = ~np.isin(fold, pair)
    labels = _labels(table, np.arange(len(table)))

    # Labels that only one group has can be learned or judged, not both.
    missing_in_train = labels - _labels(table, np.nonzero(is_train)[0])
    missing_in_validation = labels - _labels(table, np.nonzero(fold == validation)[0])

    tenth = len(table) / _FOLDS
    sizes = (int((fold == validation).sum()), int((fold == test).sum()))
    distance = sum(abs(size - tenth) for size in sizes)
    too_few = bool(is_train.mean() < _MIN_TRAIN_SHARE)
    return too_few, len(missing_in_train), len(missing_in_validation), distance


def _labels(table: Table, rows: Sequence[int] | NDArray[np.int64]) -> set[str]:
    """The labels of some rows."""
    return {label for row in rows for label in table.rows[int(row)].labels}
