"""The table of a data set: which photograph has which labels.

Kaggle's layout (`DIR/train.csv`, `DIR/train_images/*.jpg`) or any folder with a CSV of the columns
`image,labels`, labels separated by spaces. Photographs are looked for in `train_images/`, in `images/` and
beside the CSV.
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

from leafzoom.errors import DataError
from leafzoom.labels import LabelSet

__all__ = ["LESIONS_CSV", "Problem", "Row", "Table", "find_csv", "is_photograph", "read_table"]

LESIONS_CSV = "lesions.csv"  # boxes, not labels: see `dataset/lesions.py`
_FOLDERS = ("train_images", "images", ".")
_MAX_LINE = 100_000
_MAX_SHOWN = 80
_MAX_COLUMNS = 10


@dataclass(frozen=True)
class Row:
    """One photograph: `line` of the CSV (the header is 1), `image` as written there, its labels, its file."""

    line: int
    image: str
    labels: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class Problem:
    """Something wrong with one row of a table: where, and what to do about it."""

    csv: Path
    line: int
    image: str
    what: str

    def __str__(self) -> str:
        return f"{self.csv} row {self.line}: {_shown(self.image)} {self.what}"


@dataclass(frozen=True)
class Table:
    """The photographs of a data set in the CSV's order, and what is wrong with rows that are left out."""

    csv: Path
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def images(self) -> tuple[str, ...]:
        """The photographs' names, as the CSV writes them."""
        return tuple(row.image for row in self.rows)

    def label_set(self, names: Sequence[str] = ()) -> LabelSet:
        """The labels (those given, else the table's, sorted) with the combinations that occur.

        Raises:
            DataError: no labels at all, or a row with a label that is not among those given.
        """
        found = sorted({label for row in self.rows for label in row.labels})
        labels = LabelSet(tuple(names) or tuple(found), ())
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

    def take(self, images: Sequence[str]) -> Table:
        """The rows of these photographs, in this order.

        Raises:
            DataError: a photograph that the table does not have.
        """
        rows = {row.image: row for row in self.rows}
        missing = [image for image in images if image not in rows]
        if missing:
            raise DataError(
                f"{self.csv} has no row for {missing[0]!r} ({len(missing)} of {len(images)} photographs of the "
                "split are not there): give the table that the split was made from"
            )
        return Table(self.csv, tuple(rows[image] for image in images), self.problems)

    def require_clean(self) -> Table:
        """This table, if nothing is wrong with it.

        Raises:
            DataError: the first problem, and how many there are.
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
        lines = sorted(f"{row.image}\t{' '.join(sorted(row.labels))}" for row in self.rows)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def find_csv(data: Path) -> Path:
    """The CSV of a data folder: `train.csv`, else `labels.csv`, else the only one beside `lesions.csv`.

    Raises:
        DataError: no folder, no CSV, or several.
    """
    if not data.is_dir():
        raise DataError(f"the data folder {data} does not exist: give one with a CSV image,labels")
    for name in ("train.csv", "labels.csv"):
        if (data / name).is_file():
            return data / name
    found = sorted(path for path in data.glob("*.csv") if path.name != LESIONS_CSV)
    if len(found) != 1:
        came = f"{len(found)} of them" if found else "none"
        raise DataError(
            f"the data folder {data} has to hold train.csv or one CSV image,labels and has {came}: name it with --csv"
        )
    return found[0]


def read_table(data: Path, csv_file: Path | None = None) -> Table:
    """Read a data set's table and look for every photograph, without opening any.

    Rows with a path outside the folder, a missing photograph, a photograph named before or labels that would be lost
    become `problems`.

    Args:
        data: the data set's folder.
        csv_file: its CSV, where that is not the folder's (see `find_csv`).

    Raises:
        DataError: no CSV, a CSV that is not UTF-8 text, with a line that is too long, or without the columns image
            and labels.
    """
    path = csv_file or find_csv(data)
    if not data.is_dir():
        raise DataError(f"the data folder {data} does not exist: give one with a CSV image,labels")
    text = _text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        missing = {"image", "labels"} - set(columns)
        if len(set(columns)) != len(columns):
            raise DataError(f"the table {path} has a column twice ({_listed(columns)}): keep one of them")
        if missing:
            raise DataError(
                f"the table {path} has to have the columns image and labels and has "
                f"{_listed(columns) or 'no columns'}: {' and '.join(sorted(missing))} missing"
            )
        reader.fieldnames = columns
        records = [(reader.line_num, record) for record in reader]
    except csv.Error as error:
        raise DataError(f"the table {path} is no CSV (row {reader.line_num}: {error})") from error
    return _checked(path, data, records)


def _text(path: Path) -> str:
    """A table's text, without a byte order mark."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"the table {path} does not exist: check --csv") from error
    except OSError as error:
        raise DataError(f"the table {path} cannot be read ({error.strerror or error}): check --csv") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise DataError(
            f"the table {path} row {line}: cannot be read as UTF-8 text ({error.reason}): save it as CSV UTF-8"
        ) from error
    for number, text_line in enumerate(io.StringIO(text, newline=""), start=1):
        length = len(text_line.rstrip("\r\n"))
        if length > _MAX_LINE:
            raise DataError(
                f"the table {path} row {number}: a line of {length} characters, and at most {_MAX_LINE} are read: it "
                "is no CSV image,labels"
            )
    return text


def _checked(path: Path, data: Path, records: list[tuple[int, dict[str | None, Any]]]) -> Table:
    """The rows of a table, with those that cannot be used among the problems."""
    names: dict[str, tuple[int, set[str]]] = {}
    files: dict[Path, tuple[int, set[str]]] = {}
    rows: list[Row] = []
    problems: list[Problem] = []
    root = data.resolve()
    folders = _folders(root)
    for line, record in records:
        image = (record["image"] or "").strip()
        labels = tuple(dict.fromkeys((record["labels"] or "").split()))
        wrong = _again("is in row {} already", names.get(image), set(labels))
        if not wrong:
            names[image] = line, set(labels)
            found = _find(root, folders, image)
            if isinstance(found, str):
                wrong = found
            else:
                file, real = found  # a link inside the folder is the photograph that it leads to
                wrong = _again("is the photograph of row {}", files.get(real), set(labels)) or _lost(record, labels)
        if wrong:
            problems.append(Problem(path, line, image, wrong))
            continue
        files[real] = line, set(labels)
        rows.append(Row(line, image, labels, file))
    return Table(path, tuple(rows), tuple(problems))


def _again(what: str, before: tuple[int, set[str]] | None, labels: set[str]) -> str:
    """What is said of a photograph that a row before has, or nothing."""
    if before is None:
        return ""
    line, others = before
    if others == labels:
        return f"{what.format(line)}: keep one of them"
    given = " ".join(sorted(others)) or "none"
    return f"{what.format(line)}, with other labels ({given}): keep the one that is right"


def _lost(record: dict[str | None, Any], labels: tuple[str, ...]) -> str:
    """What is wrong with a row whose labels would be dropped or taken for others, or nothing."""
    more = " ".join(cell for cell in record.get(None, []) if cell.strip())
    if more:
        return f"has more cells than the table has columns ({_shown(more)}): separate labels by spaces"
    if record["labels"] is None:
        return "has no labels column: write image,labels (labels may be empty, the comma not)"
    if "," in record["labels"]:
        return f"has labels with a comma ({_shown(record['labels'])}): separate labels by spaces"
    unseen = [label for label in labels if not label.isprintable()]
    if unseen:
        return f"has a label with a character that cannot be seen ({_shown(unseen[0])}): write it again"
    return ""


def _folders(root: Path) -> list[tuple[Path, Path]]:
    """Where photographs are looked for, and where these really are: a folder of them may be a link (to another disk);
    its photographs may not lead out.
    """
    return [(root / folder, (root / folder).resolve()) for folder in _FOLDERS]


def _find(root: Path, folders: list[tuple[Path, Path]], image: str) -> tuple[Path, Path] | str:
    """The file of a photograph in one of some folders and where it really is, or what is wrong with its name."""
    if not image:
        return "names no photograph: fill in the column image"
    if "\0" in image or "\\" in image:
        return "has a NUL or a backslash in its name: write folders with /"
    name = Path(image)
    if name.is_absolute() or ".." in name.parts or image.startswith("~"):
        return "points outside the data folder: names are relative to it, without .."
    for folder, real_folder in folders:
        path = folder / name
        try:
            if not path.is_file():
                continue
            real = path.resolve()
        except OSError as error:
            return f"cannot be looked up ({error.strerror})"
        if not real.is_relative_to(real_folder):
            return "is a link out of the data folder: copy the photograph into it"
        return path, real
    return f"does not exist in {root}, nor in its train_images/ or images/: restore it or delete the row"


def is_photograph(data: Path, image: str) -> bool:
    """Whether a name is that of a file in a data folder, looked for as `read_table` does."""
    root = data.resolve()
    return not isinstance(_find(root, _folders(root), image), str)


def _shown(text: str) -> str:
    """What a table says, in quotes, on one line and not too long."""
    return repr(text) if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]!r}…"


def _listed(columns: Sequence[str]) -> str:
    """The first names of a table's columns."""
    few = [name if name.isprintable() and len(name) <= _MAX_SHOWN else _shown(name) for name in columns]
    rest = [f"and {len(few) - _MAX_COLUMNS} more"] if len(few) > _MAX_COLUMNS else []
    return ", ".join(few[:_MAX_COLUMNS] + rest)
