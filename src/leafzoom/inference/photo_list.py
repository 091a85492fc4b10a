"""A list of photos in a text file: a path a line, or a NUL after each, as `find -print0` writes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from leafzoom.errors import DataError
from leafzoom.photo_file import is_url

__all__ = ["read_photo_list"]

_STANDARD_INPUT = "-"
_MAX_BYTES = 256 * 2**20
_MAX_PATH_BYTES = 2**15
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_photo_list(name: str) -> list[str]:
    """The paths in a list, in its order; empty lines are left out.

    A path is relative to the current folder, or to the list's where it exists there alone.

    Args:
        name: of the text file, in UTF-8, UTF-16 or the system's encoding; `-`: standard input.

    Raises:
        DataError: the list cannot be read, is no text, or names no photo.
    """
    content = _read(name)
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

    folder = Path() if name == _STANDARD_INPUT else Path(name).parent
    return [_found_path(path, folder) for path in paths]


def _read(name: str) -> bytes:
    try:
        if name == _STANDARD_INPUT:
            content = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"the list of photos {name} cannot be read ({reason})") from error

    if len(content) > _MAX_BYTES:
        raise DataError(f"{name} has more than {_MAX_BYTES >> 20} MB: it is no list of photos")
    return content


def _found_path(path: str, folder: Path) -> str:
    """The path, or where it is beside the list."""
    beside = folder / path
    if is_url(path) or os.path.lexists(path) or not os.path.lexists(beside):
        return path
    return str(beside)
