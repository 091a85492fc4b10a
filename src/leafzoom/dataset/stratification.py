"""Parts of a table that keep the proportions of its label combinations."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.table import Table

__all__ = ["sorted_image_names", "stratified_parts", "subset"]

# A group of up to this many photographs goes into a part that lacks fewer.
_MAX_SMALL_GROUP = 3


def stratified_parts(
    table: Table,
    groups: NDArray[np.int64],
    shares: tuple[float, ...],
    seed: int,
) -> list[list[int]]:
    """Parts of a table with the same mix of label combinations, each group in one part.

    Depends on the photographs' names, labels and groups alone, not on the order of the rows.

    Args:
        table: N photographs.
        groups: [N], the same number for photographs that stay together.
        shares: of the parts in the photographs, with the sum 1. The first part also takes groups
            that are too large for the others.
        seed: of the shuffle.

    Returns:
        The indices of each part's photographs.
    """
    random = np.random.RandomState(seed)
    parts: list[list[int]] = [[] for _ in shares]
    target_sizes = np.zeros(len(shares))

    for stratum in _strata(table, groups):
        # What each part should hold once this stratum is dealt out.
        target_sizes += np.array(shares) * sum(len(group) for group in stratum)

        for position in random.permutation(len(stratum)):
            group = stratum[int(position)]

            # The part that lacks most of its share so far gets the next group.
            lacking = target_sizes - [len(part) for part in parts]
            choice = int(np.argmax(lacking / shares))

            # A large group that does not fit into that part goes into the first.
            fits = len(group) <= max(_MAX_SMALL_GROUP, lacking[choice])
            parts[choice if fits else 0].extend(group)
    return parts


def subset(table: Table, count: int, *, seed: int = 0) -> tuple[str, ...]:
    """`count` photographs of a table, label combinations in proportion, sorted by name.

    All photographs, in the table's order, where `count` is 0 or more than there are.
    """
    if not count or count >= len(table):
        return table.image_names

    # Shuffle, then sort by label combination.
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index in np.random.RandomState(seed).permutation(len(table)):
        strata[_label_combination(table, index)].append(int(index))

    # Spread each stratum evenly over 0..1: the first of all are then of each in proportion.
    positions: list[tuple[float, int]] = []
    for stratum in strata.values():
        positions.extend(((rank + 0.5) / len(stratum), index) for rank, index in enumerate(stratum))

    chosen = [index for _, index in sorted(positions)[:count]]
    return sorted_image_names(table, chosen)


def sorted_image_names(table: Table, indices: list[int]) -> tuple[str, ...]:
    """The names of some of a table's photographs, sorted."""
    return tuple(sorted(table.rows[index].image_name for index in indices))


def _strata(table: Table, groups: NDArray[np.int64]) -> list[list[list[int]]]:
    """The photographs of each group, by label combination: that of the group's first photograph.

    The order depends on names, labels and groups alone.
    """
    # Sorted by name first, so that the order of the CSV's rows plays no part.
    members: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(table)), key=lambda index: table.rows[index].image_name):
        members[int(groups[index])].append(index)

    strata: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for group in members.values():
        strata[_label_combination(table, group[0])].append(group)
    return [strata[labels] for labels in sorted(strata)]


def _label_combination(table: Table, index: int) -> tuple[str, ...]:
    """A photograph's labels, sorted."""
    return tuple(sorted(table.rows[index].labels))
