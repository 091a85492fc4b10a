"""A list of photos: a path a line, a NUL after each as `find -print0` writes, or a Parquet table.

A list may lie in a storage with an address.
"""

from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path

from leafzoom.errors import DataError, needs_extra
from leafzoom.photo_file import is_url
from leafzoom.photo_url import is_storage_url, storage_of

__all__ = ["is_photo_table", "read_photo_list"]

_STANDARD_INPUT = "-"
_PARQUET = ".parquet"
_COLUMNS = ("photo", "path", "image", "file", "url")
_MAX_BYTES = 256 * 2**20
_MAX_PATH_BYTES = 2**15
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_photo_list(name: str) -> list[str]:
    """The paths in a list, in its order; empty lines are left out.

    A path is relative to the current folder, or to the list's where it exists there alone.

    Args:
        name: of the text file, in UTF-8, UTF-16 or the system's encoding; `-`: standard input; of a
            Parquet table, with a column `photo`, `path`, `image`, `file` or `url`.

    Raises:
        DataError: the list cannot be read, is no text, or names no photo.
        MissingExtraError: a table or an address, without the extra `scale`.
    """
    content = _read(name)
    if is_photo_table(name):
        return _paths_of_table(name, content)

    shown_name = "standard input" if name == _STANDARD_INPUT else name
    if content.startswith(_UTF16_MARKS):
        content = content.decode("utf-16", errors="replace").encode()
    content = content.removeprefix(_UTF8_MARK)

    # A name may hold any character but NUL, a line break too.
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    if any(len(line) > _MAX_PATH_BYTES for line in lines):
        raise DataError(f"{shown_name} is no list of photos, a path a line: check --from-file")

    # Bytes that are no text stay what they are, as in every path of the system.
    paths = [os.fsdecode(line.strip(b"\r\n")) for line in lines if line.strip()]
    if not paths:
        raise DataError(f"{shown_name} names no photo: write a path a line")

    folder = Path() if name == _STANDARD_INPUT or is_url(name) else Path(name).parent
    return [_found_path(path, folder) for path in paths]


def is_photo_table(name: str) -> bool:
    """Whether a list is a Parquet table, by its name.

    >>> is_photo_table("season.parquet"), is_photo_table("season.txt")
    (True, False)
    """
    return name.lower().endswith(_PARQUET)


def _paths_of_table(name: str, content: bytes) -> list[str]:
    """The paths in a Parquet table, in its order; empty ones are left out."""
    with needs_extra("scale", f"the table {name}"):
        import pyarrow
        import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(BytesIO(content))
        names = file.schema_arrow.names
        column = next((column for column in _COLUMNS if column in names), None)
        values = [] if column is None else file.read([column]).column(column).to_pylist()
    except pyarrow.ArrowException as error:
        raise DataError(f"{name} is no Parquet table, or damaged ({error})") from error

    if column is None:
        raise DataError(
            f"{name} has no column of photos: name it {', '.join(_COLUMNS)}; it has "
            f"{', '.join(names) or 'none'}"
        )
    if any(not isinstance(value, str | None) for value in values):
        raise DataError(f"{name}: the column {column} is no text: write a path or an address a row")

    paths = [value for value in values if value]
    if not paths:
        raise DataError(f"{name} names no photo: write a path or an address a row")
    folder = Path() if is_url(name) else Path(name).parent
    return [_found_path(path, folder) for path in paths]


def _read(name: str) -> bytes:
    if is_url(name) and is_storage_url(name):
        content = storage_of(name).read(name, limit=_MAX_BYTES + 1)
        return _checked(content, name)
    try:
        if name == _STANDARD_INPUT:
            content = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the list of photos {name} cannot be read ({reason})") from error

    return _checked(content, name)


def _checked(content: bytes, name: str) -> bytes:
    """The content, not too much of it."""
    if len(content) > _MAX_BYTES:
        raise DataError(f"{name} has more than {_MAX_BYTES >> 20} MB: it is no list of photos")
    return content


def _found_path(path: str, folder: Path) -> str:
    """The path, or where it is beside the list."""
    beside = folder / path
    if is_url(path) or os.path.lexists(path) or not os.path.lexists(beside):
        return path
    return str(beside)
