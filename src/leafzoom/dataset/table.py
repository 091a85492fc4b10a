"""The table of a data set: which photograph has which labels.

Kaggle's layout (`DIR/train.csv`, `DIR/train_images/*.jpg`), any folder with a table of the columns
`image,labels`, labels separated by spaces, or a folder a class (see `class_folders.py`).
Photographs are looked up in `train_images/`, in `images/` and beside the table.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.class_folders import ClassFolders, find_class_folders
from leafzoom.dataset.columns import AUTOMATIC, TableReading, column_list, quoted
from leafzoom.dataset.label_warnings import label_warnings
from leafzoom.dataset.layout import image_column_test, understand
from leafzoom.dataset.photo_lookup import BadImageName, PhotoLookup
from leafzoom.dataset.records import BadRow, Record, check_labels, records
from leafzoom.dataset.spreadsheet import read_sheet
from leafzoom.dataset.table_files import LESIONS_CSV, find_csv, has_table, require_folder
from leafzoom.errors import DataError
from leafzoom.labels import LabelSet

__all__ = ["LESIONS_CSV", "Problem", "Row", "Table", "find_csv", "read_table"]


@dataclass(frozen=True)
class Row:
    """One labelled photograph.

    `line`: of the table, where the header is line 1. `image_name`: as the table writes it, or
    relative to the data folder where the table has an absolute path. `path`: its file. `group`: of
    the column of groups; empty without. `part`: `train`, `validation` or `test`, where the
    photograph's folder says so.
    """

    line: int
    image_name: str
    labels: tuple[str, ...]
    path: Path
    group: str = ""
    part: str = ""


@dataclass(frozen=True)
class Problem:
    """A row that cannot be used: where it is, why, and what to do about it."""

    csv: Path
    line: int
    image_name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.csv} row {self.line}: {quoted(self.image_name)} {self.reason}"


@dataclass(frozen=True)
class Table:
    """The photographs of a data set in the table's order, and the rows that cannot be used.

    `csv`: the table's file; the data folder where folders are the classes. `description`: how it
    was understood, in words. `warnings`: what looks wrong in its labels. `group_column`: the column
    of the rows' groups; empty without.
    """

    csv: Path
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    description: str = ""
    warnings: tuple[str, ...] = ()
    group_column: str = ""

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
        # Some systems write an accent as a character of its own.
        rows = {unicodedata.normalize("NFC", row.image_name): row for row in self.rows}
        rows |= {row.image_name: row for row in self.rows}
        found = [rows.get(n) or rows.get(unicodedata.normalize("NFC", n)) for n in image_names]

        missing = [name for name, row in zip(image_names, found, strict=True) if row is None]
        if missing:
            raise DataError(
                f"{self.csv} has no row for {quoted(missing[0])} ({len(missing)} of "
                f"{len(image_names)} photographs of the split are missing): give the table "
                "that the split was made from"
            )
        return replace(self, rows=tuple(row for row in found if row is not None))

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

    def require_one_label(self) -> Table:
        """This table, if every photograph has exactly one label, as a softmax over classes needs.

        Raises:
            DataError: the first row in the file that has several labels or none.
        """
        others = [row for row in self.rows if len(row.labels) != 1]
        if not others:
            return self

        first = min(others, key=lambda row: row.line)
        shown = f"{len(first.labels)} labels ({' '.join(first.labels)})"
        more = f" (one of {len(others)} such rows)" if len(others) > 1 else ""
        raise DataError(
            f"{self.csv} row {first.line}: {quoted(first.image_name)} has "
            f"{shown if first.labels else 'no label'}, and with model.loss softmax each "
            f"photograph has exactly one{more}: give it one label or leave its row out, or train "
            "with model.loss sigmoid"
        )

    def digest(self) -> str:
        """A hash of names and labels, independent of the rows' order."""
        lines = sorted(f"{row.image_name}\t{' '.join(sorted(row.labels))}" for row in self.rows)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def read_table(
    data: Path, csv_file: Path | None = None, reading: TableReading = AUTOMATIC
) -> Table:
    """Read a data set's table and look up every photograph, without opening any.

    A row becomes one of `problems` if its path leads out of the folder, its photograph is missing
    or has a row already, or its labels cannot be read in one way only.

    Args:
        data: the data set's folder.
        csv_file: its table; by default the one that `find_csv` gives, else class folders.
        reading: what the user says about its columns.

    Raises:
        DataError: there is no table and there are no class folders, the table cannot be read, lacks
            a column, or can be read in two ways; or columns of class folders are named.
        MissingExtraError: the table is an Excel file and openpyxl is not installed.
    """
    require_folder(data)
    if csv_file is None and _are_folders_read(data, reading):
        folders = find_class_folders(data)
        if folders is not None:
            _check_no_columns(data, reading)
            return _checked_table(
                data, data, folders.records, folders.description, are_split_cells=False
            )
        if reading.layout == "folders":
            raise DataError(
                f"{data} has no two folders of photographs: give each class a folder of its own"
            )

    path = csv_file or find_csv(data)
    try:
        sheet = read_sheet(path, image_column_test(reading))
        layout = understand(path, sheet, reading)
    except DataError as error:
        folders = None if csv_file else _class_folders_or_none(data)
        if folders is None:
            raise
        raise DataError(
            f"{error}. Or, with --layout folders, {data} has a folder a class: "
            f"{column_list(folders.labels)}"
        ) from error
    return _checked_table(
        data,
        path,
        records(sheet, layout),
        layout.description,
        reading.group_column,
        are_split_cells=layout.labels is not None,
    )


def _are_folders_read(data: Path, reading: TableReading) -> bool:
    """Whether class folders are looked for."""
    if reading.layout == "auto":
        return not has_table(data)
    return reading.layout == "folders"


def _check_no_columns(data: Path, reading: TableReading) -> None:
    """Raise a DataError if the user names columns of a table that is not there."""
    named = {
        "--image-column": reading.image_column,
        "--label-column": " ".join(reading.label_columns),
        "--group-column": reading.group_column,
    }
    for option, name in named.items():
        if name:
            raise DataError(
                f"{data} is read as a folder a class, which has no columns, and {option} names "
                f"{quoted(name)}: give a table with --csv, or leave {option} out"
            )


def _class_folders_or_none(data: Path) -> ClassFolders | None:
    """The class folders, if there are any that can be read in one way."""
    try:
        return find_class_folders(data)
    except DataError:
        return None


def _checked_table(
    data: Path,
    path: Path,
    all_records: Iterable[Record],
    description: str,
    group_column: str = "",
    *,
    are_split_cells: bool,
) -> Table:
    """The table of the records that can be used, the others as problems."""
    checker = _RowChecker(data)
    rows: list[Row] = []
    problems: list[Problem] = []
    for record in all_records:
        try:
            rows.append(checker.check(record))
        except (BadRow, BadImageName) as reason:
            problems.append(Problem(path, record.line, record.image_name, str(reason)))

    label_sets = [row.labels for row in rows]
    return Table(
        csv=path,
        rows=tuple(rows),
        problems=tuple(problems),
        description=description,
        warnings=tuple(label_warnings(label_sets, are_split_cells=are_split_cells)),
        group_column=group_column,
    )


class _RowChecker:
    """Checks the rows of a table in their order, each against those before it."""

    def __init__(self, data: Path) -> None:
        self._photos = PhotoLookup(data)
        self._records_by_name: dict[str, Record] = {}
        self._records_by_file: dict[Path, Record] = {}

    def check(self, record: Record) -> Row:
        """The row of a record.

        Raises:
            BadRow: the row cannot be used.
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
        check_labels(record)
        self._records_by_file[photo.real_path] = record
        return Row(
            line=record.line,
            image_name=photo.name,
            labels=record.labels,
            path=photo.path,
            group=record.group or "",
            part=record.part,
        )


def _check_not_repeated(record: Record, earlier: Record | None, relation: str) -> None:
    """Raise a BadRow if an earlier record is of the same photograph.

    Args:
        record: the one to check.
        earlier: the record before it, if there is one.
        relation: how the two are related, with {} for the earlier one's row.
    """
    if earlier is None:
        return

    relation = relation.format(earlier.line)
    if set(earlier.labels) == set(record.labels):
        raise BadRow(f"{relation}: keep one of them")
    other_labels = column_list(sorted(earlier.labels)) or "none"
    raise BadRow(f"{relation}, with other labels ({other_labels}): keep the one that is right")
