"""The rows of a table as text: a photograph's name, its labels and its group."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from leafzoom.dataset.columns import quoted
from leafzoom.dataset.layout import NO_VALUES, YES_VALUES, Layout
from leafzoom.dataset.spreadsheet import Sheet, SheetRow

__all__ = ["BadRow", "Record", "check_labels", "label_of_name", "records"]

_MAX_LABEL_CHARACTERS = 200
_SEPARATORS = {",": "a comma", ";": "a semicolon", "|": "a vertical bar"}


class BadRow(Exception):  # noqa: N818 (an answer to a check, never seen by a user)
    """A row cannot be used; the message goes on after the photograph's name."""


@dataclass(frozen=True)
class Record:
    """One row of a table as text, before any check.

    `labels_cell`: None where the row is too short to have one. `extra_cells`: those beyond the
    columns. `empty_columns`: labels whose own column has neither 0 nor 1. `group`: None where the
    table has no column of groups. `part`: `train`, `validation` or `test` where folders say so.
    """

    line: int
    image_name: str
    labels_cell: str | None
    extra_cells: tuple[str, ...] = ()
    empty_columns: tuple[str, ...] = ()
    group: str | None = None
    part: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in their order, each once."""
        return tuple(dict.fromkeys((self.labels_cell or "").split()))


def label_of_name(name: str) -> str:
    """The label that a column or a folder stands for: one word without separators.

    >>> label_of_name("Cedar apple rust")
    'Cedar_apple_rust'
    """
    plain = unicodedata.normalize("NFC", name)
    return re.sub(r"[\s,;|]+", "_", plain.strip())


def records(sheet: Sheet, layout: Layout) -> Iterator[Record]:
    """The rows of a sheet."""
    for row in sheet.rows:
        cells = row.cells
        labels_cell: str | None
        empty_columns: tuple[str, ...] = ()
        if layout.labels is None:
            labels_cell, empty_columns = _labels_of_columns(sheet, layout, row)
        else:
            labels_cell = _cell(cells, layout.labels)

        group = None
        if layout.group is not None:
            group = " ".join(_clean(_cell(cells, layout.group)).split())
        yield Record(
            line=row.line,
            image_name=_clean(_cell(cells, layout.image)),
            labels_cell=None if labels_cell is None else unicodedata.normalize("NFC", labels_cell),
            extra_cells=_extra_cells(sheet, layout, cells),
            empty_columns=empty_columns,
            group=group,
        )


def check_labels(record: Record) -> None:
    """Raise a BadRow if labels would be dropped or taken for others."""
    if record.extra_cells:
        raise BadRow(
            "has more cells than the table has columns "
            f"({quoted(' '.join(record.extra_cells))}): separate labels by spaces"
        )
    if record.empty_columns:
        raise BadRow(f"has neither 0 nor 1 in the column {quoted(record.empty_columns[0])}")
    if record.labels_cell is None:
        raise BadRow(
            "has no labels column: write image,labels (labels may be empty, but not the comma)"
        )
    for separator, name in _SEPARATORS.items():
        if separator in record.labels_cell:
            raise BadRow(
                f"has labels with {name} ({quoted(record.labels_cell)}): separate labels by spaces"
            )

    longest = max(record.labels, key=len, default="")
    if len(longest) > _MAX_LABEL_CHARACTERS:
        raise BadRow(
            f"has a label of {len(longest)} characters ({quoted(longest)}), and at most "
            f"{_MAX_LABEL_CHARACTERS} are read: shorten it"
        )

    # Invisible characters make two labels of what looks like one.
    invisible = [label for label in record.labels if not label.isprintable()]
    if invisible:
        raise BadRow(
            f"has a label with a character that cannot be seen ({quoted(invisible[0])}): "
            "type the label again"
        )
    if record.group is not None and not (record.group and record.group.isprintable()):
        raise BadRow("has no group: fill in the column of --group-column (unknown, if need be)")


def _labels_of_columns(sheet: Sheet, layout: Layout, row: SheetRow) -> tuple[str, tuple[str, ...]]:
    """The labels of a row with a column of 0 and 1 for each, and the columns that have neither."""
    labels = []
    empty = []
    for column in layout.label_columns:
        value = _clean(_cell(row.cells, column)).lower()
        if value in YES_VALUES:
            labels.append(label_of_name(sheet.header[column]))
        elif value not in NO_VALUES:
            empty.append(sheet.header[column])
    return " ".join(labels), tuple(empty)


def _extra_cells(sheet: Sheet, layout: Layout, cells: tuple[str, ...]) -> tuple[str, ...]:
    """Cells with text to the right of the photograph's name that no named column has.

    An unnamed column to its left is the index that pandas writes.
    """
    header = sheet.header
    extra = []
    for column, cell in enumerate(cells):
        is_unnamed = column >= len(header) or not header[column]
        if is_unnamed and column > layout.image and cell.strip():
            extra.append(cell)
    return tuple(extra)


def _cell(cells: tuple[str, ...], column: int) -> str | None:
    """A cell; None where the row is too short."""
    return cells[column] if column < len(cells) else None


def _clean(cell: str | None) -> str:
    """A cell's text without spaces around it."""
    return (cell or "").strip()
