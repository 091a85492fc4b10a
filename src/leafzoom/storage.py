"""Atomic writes: a file is written under a temporary name, then renamed.

After a crash or a power cut there is the old file or the new one, never half of it.
"""

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

__all__ = [
    "cache_root",
    "folder_name",
    "make_folder",
    "remove_partial",
    "replacing",
    "sha256_of",
    "write_bytes",
    "write_json",
    "write_text",
]


def folder_name(folder: Path) -> str:
    """A folder's own name as text; bytes that are no text are escaped.

    >>> folder_name(Path("/runs/caf\\udce9"))
    'caf\\\\udce9'
    """
    return folder.resolve().name.encode(errors="backslashreplace").decode()


def cache_root() -> Path:
    """The folder of all that leafzoom can make again: `$LEAFZOOM_CACHE` or `~/.cache/leafzoom`.

    A user without a home folder, as in a container, gets a temporary one.
    """
    chosen = os.environ.get("LEAFZOOM_CACHE", "").strip()
    if chosen:
        # A shell expands no ~ inside quotes, and neither do service files.
        return Path(os.path.expanduser(chosen))
    try:
        return Path.home() / ".cache" / "leafzoom"
    except RuntimeError:
        user = os.getuid() if hasattr(os, "getuid") else "user"
        return Path(tempfile.gettempdir()) / f"leafzoom-cache-{user}"


def make_folder(path: Path) -> Path:
    """Create a folder with its parents, and check that files can be written there.

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
    """A temporary path in the folder of `path`, renamed to `path` if the block succeeds.

    If the block fails, the temporary file is removed. The content is synced to the disk before the
    rename, and the folder after it.

    Raises:
        LeafzoomError: the file cannot be written (disk full, folder read-only).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary

        # Windows syncs only files that are open for writing.
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())

        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise LeafzoomError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove the temporary files of killed writes; only while no other process writes there."""
    for path in folder.glob(".*.partial"):
        # `replacing` puts the process's number before the suffix.
        if path.name.split(".")[-2].isdigit():
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Sync a folder's entries to the disk, where the system can."""
    if os.name != "posix":
        return

    # Some network file systems refuse; the rename is done either way.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically (see `replacing`)."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 file atomically (see `replacing`).

    What is no text, as in some folders' names, is escaped, in JSON as in any other file.
    """
    write_bytes(path, content.encode(errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically (see `replacing`); NaN is refused."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
