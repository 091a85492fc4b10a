"""Which group of an orchard each photo belongs to: its folder, its day, or a row of a table."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from leafzoom.errors import DataError, UsageError
from leafzoom.exif import Exif

__all__ = ["NO_DATE", "NO_GROUP", "Grouping", "day_of", "read_groupings"]

NO_DATE = "no date"
NO_GROUP = "not in the table"

_PHOTO_COLUMNS = ("photo", "image", "file")
_LEVELS = ("block", "row", "tree")  # from the largest to the smallest
_CSV_PREFIX = "csv:"


@dataclass(frozen=True)
class Grouping:
    """A way to group photos.

    `by`: its name, such as `folder` or `row`. `group_of`: the group's name, of a photo's name and
    its EXIF.
    """

    by: str
    group_of: Callable[[str, Exif], str]


def read_groupings(option: str, photos: Sequence[str]) -> tuple[Grouping, ...]:
    """The groupings that `--group-by` names.

    Args:
        option: `folder`, `day`, or `csv:FILE`, which is one grouping for each of the file's columns
            `block`, `row` and `tree`. Rows are named with their block, trees with their row.
        photos: the names of all photos.

    Raises:
        UsageError: another option.
        DataError: the file cannot be read, lacks a column, or names a photo that could be several.
    """
    if option == "folder":
        return (Grouping("folder", _FolderNames.of(photos)),)
    if option == "day":
        return (Grouping("day", lambda _, exif: day_of(exif)),)
    if option.startswith(_CSV_PREFIX) and len(option) > len(_CSV_PREFIX):
        return _groupings_of_file(Path(option.removeprefix(_CSV_PREFIX)), photos)
    raise UsageError(f"--group-by takes folder, day or csv:FILE, not {option!r}")


def day_of(exif: Exif) -> str:
    """The day on which a photo was taken, as a group's name."""
    return exif.day or NO_DATE


@dataclass(frozen=True)
class _FolderNames:
    """Names folders from the one on that all photos have in common."""

    common: PurePath

    @classmethod
    def of(cls, photos: Sequence[str]) -> _FolderNames:
        """The common folder of all photos."""
        folders = {str(PurePath(photo).parent) for photo in photos}
        try:
            return cls(PurePath(os.path.commonpath(folders)))
        except ValueError:  # relative and absolute ones, or other drives
            return cls(PurePath())

    def __call__(self, photo: str, exif: Exif) -> str:
        folder = PurePath(photo).parent
        if folder == self.common:
            return folder.name or "."
        if folder.is_relative_to(self.common):
            return folder.relative_to(self.common).as_posix()
        return str(folder)


def _groupings_of_file(path: Path, photos: Sequence[str]) -> tuple[Grouping, ...]:
    rows = _read_rows(path)
    columns = list(rows[0]) if rows else []
    photo_column = next((name for name in _PHOTO_COLUMNS if name in columns), None)
    levels = [level for level in _LEVELS if level in columns]
    if photo_column is None or not levels:
        raise DataError(
            f"{path} needs a row, a column `photo`, and at least one of the columns "
            f"{', '.join(_LEVELS)}; it has {', '.join(columns) or 'none'}"
        )

    row_of = _match(path, [row[photo_column] for row in rows], photos)
    groupings = []
    for depth, level in enumerate(levels, start=1):
        names = {photo: _group_name(rows[index], levels[:depth]) for photo, index in row_of.items()}
        groupings.append(Grouping(level, _name_of(names)))
    return tuple(groupings)


def _name_of(names: Mapping[str, str]) -> Callable[[str, Exif], str]:
    return lambda photo, _: names.get(photo, NO_GROUP)


def _group_name(row: Mapping[str, str], levels: Sequence[str]) -> str:
    """Such as `block A, row 3`."""
    return ", ".join(f"{level} {row[level] or '?'}" for level in levels)


def _read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV with commas, semicolons or tabs, by column in small letters."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a CSV in UTF-8 ({error})") from error

    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    rows = []
    for cells in csv.DictReader(lines, delimiter=delimiter):
        named = {str(key).strip().lower(): str(value or "").strip() for key, value in cells.items()}
        rows.append(named)
    return rows


def _match(path: Path, names: Sequence[str], photos: Sequence[str]) -> dict[str, int]:
    """{photo: the index of its row}.

    A row names a photo by its path, or by the end of it from a folder or the file on.

    Raises:
        DataError: a name that is the end of several photos' paths, or two rows of one photo.
    """
    endings: dict[str, list[str]] = {}
    for photo in photos:
        for ending in _endings(photo):
            endings.setdefault(ending, []).append(photo)

    row_of: dict[str, int] = {}
    for index, name in enumerate(names):
        found = endings.get(PurePath(name).as_posix(), [])
        if len(found) > 1:
            raise DataError(
                f"{path}, row {index + 2}: {name} could be {found[0]} or {found[1]}: "
                "write its folder too"
            )
        for photo in found:
            if photo in row_of:
                raise DataError(f"{path}, row {index + 2}: {photo} has a row already")
            row_of[photo] = index

    if names and not row_of:
        example = photos[0] if photos else "none"
        raise DataError(
            f"{path} names none of the {len(photos)} photos: it has {names[0]}, they are {example}"
        )
    return row_of


def _endings(photo: str) -> Iterable[str]:
    """A path and all its ends, each once.

    >>> list(_endings("orchard/a/1.jpg"))
    ['orchard/a/1.jpg', 'a/1.jpg', '1.jpg']
    """
    parts = PurePath(photo).parts
    return Counter(PurePath(*parts[start:]).as_posix() for start in range(len(parts)))
