"""The table of a data set: which photograph has which labels.

Kaggle's layout (`DIR/train.csv`, `DIR/train_images/*.jpg`), or any folder with a CSV of the columns
`image,labels`, labels separated by spaces. Photographs are looked up in `train_images/`, in
`images/` and beside the CSV.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.photo_lookup import BadImageName, PhotoLookup
from leafzoom.errors import DataError
from leafzoom.labels import LabelSet

__all__ = ["LESIONS_CSV", "Problem", "Row", "Table", "find_csv", "read_table"]

LESIONS_CSV = "lesions.csv"  # holds boxes, not labels: see `dataset/lesions.py`

_MAX_LINE_CHARACTERS = 100_000
_MAX_QUOTED_CHARACTERS = 80
_MAX_LISTED_COLUMNS = 10


@dataclass(frozen=True)
class Row:
    """One labelled photograph.

    `line`: of the CSV, where the header is line 1. `image_name`: as the CSV writes it. `path`: its
    file.
    """

    line: int
    image_name: str
    labels: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used: where it is, why, and what to do about it."""

    csv: Path
    line: int
    image_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.csv} row {self.line}: {_quoted(self.image_name)} {self.reason}"


@dataclass(frozen=True)
class Table:
    """The photographs of a data set in the CSV's order, and the rows that cannot be used."""

    csv: Path
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def image_names(self) -> tuple[str, ...]:
        """The photographs' names, as the CSV writes them."""
        return tuple(row.image_name for row in self.rows)

    def label_set(self, names: Sequence[str] = ()) -> LabelSet:
        """The labels, with the combinations that occur.

        Args:
            names: the labels; by default those of the table, sorted.

        Raises:
            DataError: there are no labels, or a row has a label that is not in `names`.
        """
        own_names = {label for row in self.rows for label in row.labels}
        labels = LabelSet(tuple(names) or tuple(sorted(own_names)), ())
        return LabelSet.from_targets(labels.names, self.targets(labels))

    def targets(self, labels: LabelSet) -> NDArray[np.uint8]:
        """The labels as 0 or 1, uint8 [N, L].

        Raises:
            DataError: a row has a label that is not in `labels`.
        """
        targets = np.zeros((len(self.rows), len(labels.names)), np.uint8)

        for index, row in enumerate(self.rows):
            try:
                targets[index] = labels.encode(row.labels)
            except DataError as error:
                raise DataError(f"{self.csv} row {row.line}: {error}") from None
        return targets

    def take(self, image_names: Sequence[str]) -> Table:
        """The rows of these photographs, in this order.

        Raises:
            DataError: the table lacks a photograph.
        """
        rows = {row.image_name: row for row in self.rows}

        missing = [image_name for image_name in image_names if image_name not in rows]
        if missing:
            raise DataError(
                f"{self.csv} has no row for {missing[0]!r} ({len(missing)} of {len(image_names)} "
                "photographs of the split are missing): give the table that the split was made from"
            )
        return Table(self.csv, tuple(rows[name] for name in image_names), self.problems)

    def require_clean(self) -> Table:
        """This table, if it has photographs and no problem.

        Raises:
            DataError: the first problem, and how many there are; or the table is empty.
        """
        if self.problems:
            more = len(self.problems) - 1
            rest = f" ({more} more: `leafzoom prepare` lists all)" if more else ""
            raise DataError(f"{self.problems[0]}{rest}")

        if not self.rows:
            raise DataError(f"{self.csv} has no photographs: write a row for each, image,labels")
        return self

    def digest(self) -> str:
        """A hash of names and labels, independent of the rows' order."""
        lines = sorted(f"{row.image_name}\t{' '.join(sorted(row.labels))}" for row in self.rows)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class _Record:
    """One row of the CSV as text, before any check.

    `labels_cell`: None where the row is too short to have one. `extra_cells`: those beyond the
    header's columns.
    """

    line: int
    image_name: str
    labels_cell: str | None
    extra_cells: tuple[str, ...]

    @classmethod
    def from_cells(cls, line: int, cells: dict[str | None, Any]) -> _Record:
        """The record of what `csv.DictReader` reads: excess cells are a list under None."""
        extra = tuple(cell for cell in cells.get(None, []) if cell.strip())
        return cls(line, (cells["image"] or "").strip(), cells["labels"], extra)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in their order, each once."""
        return tuple(dict.fromkeys((self.labels_cell or "").split()))


class _BadRow(Exception):  # noqa: N818 (an answer to `_RowChecker.check`, never seen by a user)
    """A row cannot be used; the message is its `Problem.reason`."""


def find_csv(data: Path) -> Path:
    """The CSV of a data folder: `train.csv`, else `labels.csv`, else the only other one.

    `lesions.csv` is never taken for the table of labels.

    Raises:
        DataError: there is no folder, no CSV, or several.
    """
    _require_folder(data)
    for name in ("train.csv", "labels.csv"):
        if (data / name).is_file():
            return data / name

    # No usual name: the folder's only table.
    others = sorted(path for path in data.glob("*.csv") if path.name != LESIONS_CSV)
    if len(others) != 1:
        count = f"{len(others)} of them" if others else "none"
        raise DataError(
            f"the data folder {data} has to hold train.csv or one CSV image,labels and has {count}:"
            " name it with --csv"
        )
    return others[0]


def read_table(data: Path, csv_file: Path | None = None) -> Table:
    """Read a data set's table and look up every photograph, without opening any.

    A row becomes one of `problems` if its path leads out of the folder, its photograph is missing
    or has a row already, or its labels cannot be read in one way only.

    Args:
        data: the data set's folder.
        csv_file: its CSV; by default the one that `find_csv` gives.

    Raises:
        DataError: there is no CSV, or it is not UTF-8 text, has a line that is too long or lacks
            the columns image and labels.
    """
    path = csv_file or find_csv(data)
    _require_folder(data)
    checker = _RowChecker(data)

    rows: list[Row] = []
    problems: list[Problem] = []
    for record in _read_records(path):
        try:
            rows.append(checker.check(record))
        except (_BadRow, BadImageName) as reason:
            problems.append(Problem(path, record.line, record.image_name, str(reason)))
    return Table(path, tuple(rows), tuple(problems))


def _require_folder(data: Path) -> None:
    """Raise a DataError unless the data folder exists."""
    if not data.is_dir():
        raise DataError(f"the data folder {data} does not exist: give one with a CSV image,labels")


def _read_records(path: Path) -> list[_Record]:
    """The rows of a CSV that has the columns image and labels."""
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""))
    try:
        # Spaces around the header's names are ignored.
        columns = [name.strip() for name in reader.fieldnames or ()]
        _check_columns(path, columns)
        reader.fieldnames = columns
        return [_Record.from_cells(reader.line_num, dict(cells)) for cells in reader]
    except csv.Error as error:
        raise DataError(f"the table {path} is no CSV (row {reader.line_num}: {error})") from error


def _read_text(path: Path) -> str:
    """A table's text without a byte order mark, with lines of a bounded length."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"the table {path} does not exist: check --csv") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"the table {path} cannot be read ({reason}): check --csv") from error

    # Excel writes a byte order mark first, which this codec drops.
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise DataError(
            f"the table {path} row {line}: cannot be read as UTF-8 text ({error.reason}): "
            "save it as CSV UTF-8"
        ) from error

    # Text of another kind tends to be one endless line.
    for line, content_of_line in enumerate(io.StringIO(text, newline=""), start=1):
        length = len(content_of_line.rstrip("\r\n"))
        if length > _MAX_LINE_CHARACTERS:
            raise DataError(
                f"the table {path} row {line}: a line of {length} characters, and at most "
                f"{_MAX_LINE_CHARACTERS} are read: it is no CSV image,labels"
            )
    return text


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raise a DataError unless a table has the columns image and labels, and none twice."""
    if len(set(columns)) != len(columns):
        raise DataError(
            f"the table {path} has a column twice ({_column_list(columns)}): keep one of them"
        )

    missing = {"image", "labels"} - set(columns)
    if missing:
        raise DataError(
            f"the table {path} has to have the columns image and labels and has "
            f"{_column_list(columns) or 'no columns'}: {' and '.join(sorted(missing))} missing"
        )


class _RowChecker:
    """Checks the rows of a table in their order, each against those before it."""

    def __init__(self, data: Path) -> None:
        self._photos = PhotoLookup(data)
        self._records_by_name: dict[str, _Record] = {}
        self._records_by_file: dict[Path, _Record] = {}

    def check(self, record: _Record) -> Row:
        """The row of a record.

        Raises:
            _BadRow: the row cannot be used.
            BadImageName: its name stands for no photograph.
        """
        # Names are compared first, so a repeated one is found even if it has no photograph.
        same_name = self._records_by_name.get(record.image_name)
        _check_not_repeated(record, same_name, "is in row {} already")
        self._records_by_name[record.image_name] = record

        # A link inside the folder is the photograph that it leads to.
        photo = self._photos.file(record.image_name)
        same_file = self._records_by_file.get(photo.real_path)
        _check_not_repeated(record, same_file, "is the photograph of row {}")

        # Only a row that can be used takes the file.
        _check_labels(record)
        self._records_by_file[photo.real_path] = record
        return Row(record.line, record.image_name, record.labels, photo.path)


def _check_not_repeated(record: _Record, earlier: _Record | None, relation: str) -> None:
    """Raise a _BadRow if an earlier record is of the same photograph.

    Args:
        record: the one to check.
        earlier: the record before it, if there is one.
        relation: how the two are related, with {} for the earlier one's row.
    """
    if earlier is None:
        return

    relation = relation.format(earlier.line)
    if set(earlier.labels) == set(record.labels):
        raise _BadRow(f"{relation}: keep one of them")
    other_labels = " ".join(sorted(earlier.labels)) or "none"
    raise _BadRow(f"{relation}, with other labels ({other_labels}): keep the one that is right")


def _check_labels(record: _Record) -> None:
    """Raise a _BadRow if labels would be dropped or taken for others."""
    if record.extra_cells:
        raise _BadRow(
            "has more cells than the table has columns "
            f"({_quoted(' '.join(record.extra_cells))}): separate labels by spaces"
        )
    if record.labels_cell is None:
        raise _BadRow(
            "has no labels column: write image,labels (labels may be empty, but not the comma)"
        )
    if "," in record.labels_cell:
        raise _BadRow(
            f"has labels with a comma ({_quoted(record.labels_cell)}): separate labels by spaces"
        )

    # Invisible characters make two labels of what looks like one.
    invisible = [label for label in record.labels if not label.isprintable()]
    if invisible:
        raise _BadRow(
            f"has a label with a character that cannot be seen ({_quoted(invisible[0])}): "
            "type the label again"
        )


def _quoted(text: str) -> str:
    """A text of the table in quotes, on one line and cut where it is long."""
    if len(text) <= _MAX_QUOTED_CHARACTERS:
        return repr(text)
    return f"{text[:_MAX_QUOTED_CHARACTERS]!r}…"


def _column_list(columns: Sequence[str]) -> str:
    """The first names of a table's columns, for a message of one line."""
    listed = []
    for name in columns[:_MAX_LISTED_COLUMNS]:
        is_plain = name.isprintable() and len(name) <= _MAX_QUOTED_CHARACTERS
        listed.append(name if is_plain else _quoted(name))

    hidden = len(columns) - _MAX_LISTED_COLUMNS
    if hidden > 0:
        listed.append(f"and {hidden} more")
    return ", ".join(listed)
