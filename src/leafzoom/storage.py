"""Files that are whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from leafzoom.errors import LeafzoomError

__all__ = ["make_folder", "remove_partial", "replacing", "sha256_of", "write_bytes", "write_json", "write_text"]


def make_folder(path: Path) -> Path:
    """Create a folder with its parents.

    Raises:
        LeafzoomError: the folder cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise LeafzoomError(
            f"cannot write to the folder {path}: {error.strerror or error}; choose another one"
        ) from error
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, renamed to `path` if the block succeeds and removed if it fails.

    The content is on the disk before the rename, and the rename before this returns: after a power cut there is the
    old file or the new one.

    Raises:
        LeafzoomError: the file cannot be written (disk full, folder read-only).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        with temporary.open("r+b") as written:  # Windows syncs only what it may write
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise LeafzoomError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove what writes that were killed have left in a folder; only where nobody else is writing."""
    for path in folder.glob(".*.partial"):
        if path.name.split(".")[-2].isdigit():  # as `replacing` names them
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, where the system can."""
    if os.name != "posix":
        return
    with suppress(OSError):  # some network file systems refuse; the rename is done either way
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing (see `replacing`)."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 file or nothing (see `replacing`)."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write a whole JSON file or nothing (see `replacing`); NaN is refused."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
