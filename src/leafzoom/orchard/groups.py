"""Which group of an orchard each photo belongs to: its folder, its day, or a row of a table."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from leafzoom.errors import DataError, UsageError
from leafzoom.exif import Exif

__all__ = ["NO_DATE", "NO_GROUP", "Grouping", "day_of", "read_groupings"]

NO_DATE = "no date"
NO_GROUP = "not in the table"

_PHOTO_COLUMNS = ("photo", "image", "file")
_LEVELS = ("block", "row", "tree")  # from the largest to the smallest
_CSV_PREFIX = "csv:"
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Grouping:
    """A way to group photos.

    `by`: its name, such as `folder` or `row`. `group_of`: the group's name, of a photo's name and
    its EXIF.
    """

    by: str
    group_of: Callable[[str, Exif], str]


@dataclass(frozen=True)
class _TableRow:
    """A row of a table: the line where it ends, from 1, and its cells by column."""

    line: int
    cells: Mapping[str, str]


def read_groupings(
    option: str, photos: Sequence[str], echo: Callable[[str], None] = lambda line: None
) -> tuple[Grouping, ...]:
    """The groupings that `--group-by` names.

    Args:
        option: `folder`, `day`, or `csv:FILE`, which is one grouping for each of the file's columns
            `block`, `row` and `tree`. Rows are named with their block, trees with their row.
        photos: the names of all photos.
        echo: gets a line that counts the file's rows without a photo, and photos without a row.

    Raises:
        UsageError: another option.
        DataError: the file cannot be read, lacks a column, or names a photo that could be several.
    """
    if option == "folder":
        return (Grouping("folder", _FolderNames.of(photos)),)
    if option == "day":
        return (Grouping("day", lambda _, exif: day_of(exif)),)
    if option.startswith(_CSV_PREFIX) and len(option) > len(_CSV_PREFIX):
        return _groupings_of_file(Path(option.removeprefix(_CSV_PREFIX)), photos, echo)
    raise UsageError(f"--group-by takes folder, day or csv:FILE, not {option!r}")


def day_of(exif: Exif) -> str:
    """The day on which a photo was taken, as a group's name."""
    return exif.day or NO_DATE


@dataclass(frozen=True)
class _FolderNames:
    """Names folders from the one on that all photos have in common.

    `common`: that folder. `common_name`: its group's name.
    """

    common: PurePath
    common_name: str

    @classmethod
    def of(cls, photos: Sequence[str]) -> _FolderNames:
        """The common folder of all photos."""
        folders = {PurePath(photo).parent for photo in photos}
        try:
            common = PurePath(os.path.commonpath({str(folder) for folder in folders}))
        except ValueError:  # relative and absolute ones, or other drives
            common = PurePath()

        # A folder in it may have its name; "." is the name of none.
        is_taken = common / common.name in folders
        return cls(common, "." if is_taken or not common.name else common.name)

    def __call__(self, photo: str, exif: Exif) -> str:
        folder = PurePath(photo).parent
        if folder == self.common:
            return self.common_name
        if folder.is_relative_to(self.common):
            return folder.relative_to(self.common).as_posix()
        return str(folder)


def _groupings_of_file(
    path: Path, photos: Sequence[str], echo: Callable[[str], None]
) -> tuple[Grouping, ...]:
    rows = _read_rows(path)
    columns = list(rows[0].cells) if rows else []
    photo_column = next((name for name in _PHOTO_COLUMNS if name in columns), None)
    levels = [level for level in _LEVELS if level in columns]
    if photo_column is None or not levels:
        raise DataError(
            f"{path} needs a row, a column `photo`, and at least one of the columns "
            f"{', '.join(_LEVELS)}; it has {', '.join(columns) or 'none'}"
        )

    row_of = _match(path, rows, photo_column, photos)
    _echo_counts(path, rows, photo_column, photos, row_of, echo)
    groupings = []
    for depth, level in enumerate(levels, start=1):
        names = {photo: _group_name(row.cells, levels[:depth]) for photo, row in row_of.items()}
        groupings.append(Grouping(level, _name_of(names)))
    return tuple(groupings)


def _echo_counts(
    path: Path,
    rows: Sequence[_TableRow],
    photo_column: str,
    photos: Sequence[str],
    row_of: Mapping[str, _TableRow],
    echo: Callable[[str], None],
) -> None:
    """Say how many rows name no photo, and how many photos have no row."""
    matched_lines = {row.line for row in row_of.values()}
    idle = [row for row in rows if row.line not in matched_lines]
    if idle:
        first = idle[0]
        echo(
            f"{path}: {len(idle)} of {len(rows)} rows name none of the photos, such as line "
            f"{first.line}: {first.cells[photo_column] or 'an empty cell'}"
        )

    alone = [photo for photo in photos if photo not in row_of]
    if alone:
        echo(
            f"{path} has no row for {len(alone)} of {len(photos)} photos, such as {alone[0]}: "
            f"they are the group {NO_GROUP!r}"
        )


def _name_of(names: Mapping[str, str]) -> Callable[[str, Exif], str]:
    return lambda photo, _: names.get(photo, NO_GROUP)


def _group_name(row: Mapping[str, str], levels: Sequence[str]) -> str:
    """Such as `block A, row 3`."""
    return ", ".join(f"{level} {row[level] or '?'}" for level in levels)


def _read_rows(path: Path) -> list[_TableRow]:
    """The rows of a CSV with commas, semicolons or tabs, by column in small letters."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV in UTF-8 ({error})") from error

    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        for cells in reader:
            named = {_plain(key).lower(): _plain(value) for key, value in cells.items()}
            rows.append(_TableRow(reader.line_num, named))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: it is no CSV ({error}): look for a quote that is "
            "not closed"
        ) from error
    return rows


def _plain(cell: object) -> str:
    """A cell's text on one line, without control characters.

    >>> _plain(" row\\n 3\\0")
    'row 3?'
    """
    words = str(cell or "").split()
    return _CONTROL_CHARACTERS.sub("?", " ".join(words))


def _match(
    path: Path, rows: Sequence[_TableRow], photo_column: str, photos: Sequence[str]
) -> dict[str, _TableRow]:
    """{photo: its row}.

    A row names a photo by its path, or by the end of it from a folder or the file on.

    Raises:
        DataError: a name that is the end of several photos' paths, or two rows of one photo.
    """
    endings: dict[str, list[str]] = {}
    for photo in photos:
        for ending in _endings(photo):
            endings.setdefault(ending, []).append(photo)

    row_of: dict[str, _TableRow] = {}
    for row in rows:
        name = row.cells[photo_column]
        found = endings.get(PurePath(name).as_posix(), [])
        if not found:  # a table of Windows
            found = endings.get(PureWindowsPath(name).as_posix(), [])
        if len(found) > 1:
            raise DataError(
                f"{path}, line {row.line}: {name} could be {found[0]} or {found[1]}: "
                "write its folder too"
            )
        for photo in found:
            if photo in row_of:
                raise DataError(f"{path}, line {row.line}: {photo} has a row already")
            row_of[photo] = row

    if not row_of:
        example = photos[0] if photos else "none"
        name = rows[0].cells[photo_column]
        raise DataError(
            f"{path} names none of the {len(photos)} photos: it has {name}, they are {example}"
        )
    return row_of


def _endings(photo: str) -> Iterable[str]:
    """A path and all its ends, each once.

    >>> list(_endings("orchard/a/1.jpg"))
    ['orchard/a/1.jpg', 'a/1.jpg', '1.jpg']
    """
    parts = PurePath(photo).parts
    return Counter(PurePath(*parts[start:]).as_posix() for start in range(len(parts)))
