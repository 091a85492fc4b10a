"""How a user says which columns a table has, and the names that columns usually have."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from leafzoom.errors import DataError

__all__ = [
    "AUTOMATIC",
    "IMAGE_COLUMNS",
    "LABEL_COLUMNS",
    "TableReading",
    "column_list",
    "is_usual_name",
    "quoted",
    "requested_column",
]

IMAGE_COLUMNS = (
    "image",
    "image_id",
    "image_name",
    "image_path",
    "image_file",
    "filename",
    "file_name",
    "filepath",
    "file",
    "path",
    "photo",
    "picture",
    "img",
)
"""Usual names of the column of photographs, the first of them leafzoom's own."""

LABEL_COLUMNS = (
    "labels",
    "label",
    "class",
    "classes",
    "class_name",
    "category",
    "disease",
    "diseases",
    "diagnosis",
    "target",
    "tags",
)
"""Usual names of the column of labels, the first of them leafzoom's own."""

_MAX_QUOTED_CHARACTERS = 80
_MAX_LISTED_COLUMNS = 10


@dataclass(frozen=True)
class TableReading:
    """How a data folder is read, as far as the user says; what is empty is found out.

    `image_column`, `label_columns`, `group_column`: names of the table's columns; with several
    label columns, each is a label with 0 or 1 in its cells. `layout`: `table`, `folders` (a folder
    a class), or `auto`.
    """

    image_column: str = ""
    label_columns: tuple[str, ...] = ()
    group_column: str = ""
    layout: Literal["auto", "table", "folders"] = "auto"


AUTOMATIC = TableReading()
"""Everything is found out."""


def is_usual_name(name: str, usual_names: Sequence[str]) -> bool:
    """Whether a column's name is one of some usual names, whatever its case.

    >>> is_usual_name("File Name", IMAGE_COLUMNS)
    True
    """
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    return re.sub(r"[\s_-]+", "_", plain) in usual_names


def requested_column(path: Path, header: Sequence[str], name: str, option: str) -> int:
    """The index of a column that an option names, exactly or but for its case.

    Raises:
        DataError: the table has no such column, or several.
    """
    exact = unicodedata.normalize("NFC", name.strip())
    matches = [index for index, column in enumerate(header) if column == exact]
    if not matches:
        folded = exact.casefold()
        matches = [index for index, column in enumerate(header) if column.casefold() == folded]

    if len(matches) == 1:
        return matches[0]
    count = f"{len(matches)} columns" if matches else "no column"
    raise DataError(
        f"the table {path} has {count} {quoted(name)}, as {option} says: its columns are "
        f"{column_list(header) or 'none'}"
    )


def quoted(text: str) -> str:
    """A text of a table in quotes, on one line and cut where it is long."""
    if len(text) <= _MAX_QUOTED_CHARACTERS:
        return repr(text)
    return f"{text[:_MAX_QUOTED_CHARACTERS]!r}…"


def column_list(columns: Sequence[str]) -> str:
    """The first names of a table's columns, for a message of one line."""
    listed = []
    for name in columns[:_MAX_LISTED_COLUMNS]:
        is_plain = name.isprintable() and len(name) <= _MAX_QUOTED_CHARACTERS
        listed.append(name if is_plain else quoted(name))

    hidden = len(columns) - _MAX_LISTED_COLUMNS
    if hidden > 0:
        listed.append(f"and {hidden} more")
    return ", ".join(listed)
