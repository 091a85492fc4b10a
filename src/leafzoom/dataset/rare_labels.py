"""Rare labels in a split: first the training part has one of each, then the validation part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.table import Table

__all__ = ["place_rare_labels"]

_TRAIN = 0
_VALIDATION = 1
_TEST = 2


def place_rare_labels(
    table: Table, groups: NDArray[np.int64], parts: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The same parts, but for labels that the training or the validation part would lack.

    A label of one group of photographs is trained on; one of two groups or more is in the training
    and in the validation part; what is left over may be in the test part. Only as many groups move
    as that takes, so a table without rare labels keeps its parts.

    Depends on the photographs' names, labels and groups alone, not on the order of the rows.

    Args:
        table: N photographs.
        groups: [N], the same number for photographs that stay together.
        parts: indices of the photographs of the training, validation and test part.

    Returns:
        The indices of each part's photographs.
    """
    board = _Board.of(table, groups, parts)

    # The rarest label first: it has the least choice.
    for label in board.labels_by_rarity():
        board.provide(label, _TRAIN, sources=(_TEST, _VALIDATION))
        board.provide(label, _VALIDATION, sources=(_TEST, _TRAIN))
    return board.parts()


@dataclass(frozen=True)
class _Group:
    """Photographs that stay together.

    `name`: of its first photograph. `members`: indices. `labels`: all their labels.
    """

    name: str
    members: tuple[int, ...]
    labels: frozenset[str]


class _Board:
    """Which part each group is in, changed group by group."""

    def __init__(self, groups: Sequence[_Group], part_of: Sequence[int]) -> None:
        self._groups = groups
        self._part_of = list(part_of)

    @classmethod
    def of(cls, table: Table, groups: NDArray[np.int64], parts: Sequence[Sequence[int]]) -> _Board:
        """The groups of a table, by name, where a split has them."""
        part_of_row = {row: part for part, rows in enumerate(parts) for row in rows}

        members: dict[int, list[int]] = {}
        for row in sorted(part_of_row, key=lambda row: table.rows[row].image_name):
            members.setdefault(int(groups[row]), []).append(row)

        all_groups = []
        for rows in members.values():
            labels = frozenset(label for row in rows for label in table.rows[row].labels)
            all_groups.append(_Group(table.rows[rows[0]].image_name, tuple(rows), labels))
        return cls(all_groups, [part_of_row[group.members[0]] for group in all_groups])

    def labels_by_rarity(self) -> list[str]:
        """All labels, that of the fewest groups first."""
        labels = sorted({label for group in self._groups for label in group.labels})
        return sorted(labels, key=lambda label: self._count(label))

    def provide(self, label: str, part: int, sources: Sequence[int]) -> None:
        """Move the smallest group with a label into a part that lacks it, if one can be spared.

        Args:
            label: what the part lacks.
            part: which gets a group.
            sources: parts that may give one, in their order.
        """
        if self._count(label, part):
            return
        for source in sources:
            candidates = [index for index in self._having(label, source) if self._spares(index)]
            if candidates:
                chosen = min(candidates, key=lambda index: len(self._groups[index].members))
                self._part_of[chosen] = part
                return

    def parts(self) -> list[list[int]]:
        """The indices of each part's photographs."""
        rows: list[list[int]] = [[], [], []]
        for group, part in zip(self._groups, self._part_of, strict=True):
            rows[part].extend(group.members)
        return rows

    def _spares(self, index: int) -> bool:
        """Whether a group's part has another one of each of its labels, where it needs one."""
        part = self._part_of[index]
        if part == _TEST:
            return True

        # A single group of a label is for training: the validation part has no claim on it.
        for label in self._groups[index].labels:
            is_claimed = part == _TRAIN or self._count(label) > 1
            if is_claimed and self._count(label, part) == 1:
                return False
        return True

    def _count(self, label: str, part: int | None = None) -> int:
        """How many groups of a part, or of all, have a label."""
        return sum(1 for _ in self._having(label, part))

    def _having(self, label: str, part: int | None = None) -> Iterator[int]:
        """The groups of a part, or of all, that have a label."""
        for index, group in enumerate(self._groups):
            if label in group.labels and part in (None, self._part_of[index]):
                yield index
