"""The results for a folder's photos on disk: interrupted runs resume, and memory stays small.

A photo is known by its path, its size in bytes, its time of change and the model; a changed photo
or another model means a new prediction. The journal is an SQLite file, `predictions.db`, in the
folder of the results.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leafzoom.errors import LeafzoomError
from leafzoom.inference.prediction import FailedPhoto, Prediction, result_from_dict
from leafzoom.own_pictures import JOURNAL
from leafzoom.photo_archive import ArchivedPhoto
from leafzoom.photo_files import FoundPhoto
from leafzoom.photo_url import RemotePhoto

__all__ = ["JOURNAL", "Journal", "JournalEntry"]

_FORMAT_VERSION = 1
_COMMIT_EVERY = 64  # results

# File systems take names of 255 bytes, and a temporary file's name is longer than its picture's.
_MAX_STEM_BYTES = 150

_LOCK_SECONDS = 1.0
_INT64_RANGE = 2**64

# `place` is the position of the photo in its run.
_CREATE_TABLE = (
    "CREATE TABLE IF NOT EXISTS results (photo BLOB PRIMARY KEY, bytes INTEGER, "
    "changed_ns INTEGER, model TEXT, picture TEXT, result TEXT, run INTEGER, place INTEGER)"
)
_CREATE_INDEXES = (
    "CREATE INDEX IF NOT EXISTS in_order ON results (run, place)",
    "CREATE UNIQUE INDEX IF NOT EXISTS pictures ON results (picture)",
)
_REUSE = (
    "UPDATE results SET run = ?, place = ? WHERE photo = ? AND bytes = ? AND changed_ns = ? "
    "AND model = ? AND picture IS NOT NULL"
)
_ADD = "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_RESULTS = "SELECT result, picture FROM results WHERE run = ? ORDER BY place LIMIT ?"


@dataclass(frozen=True)
class JournalEntry:
    """The result for one photo, and the file name of its picture, if it has one."""

    result: Prediction | FailedPhoto
    picture: str | None


class Journal:
    """The results of one folder; to be closed.

    Args:
        folder: where `predictions.db` is or will be.
        model: a digest of the model; results of another one are not reused.

    Raises:
        LeafzoomError: the file is no journal, or cannot be written.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.path = folder / JOURNAL
        self.model = model
        self._uncommitted = 0
        try:
            self._connection = sqlite3.connect(self.path, timeout=_LOCK_SECONDS)
            self._lock()
            self._create_tables()
            (last_run,) = self._connection.execute("SELECT MAX(run) FROM results").fetchone()
        except sqlite3.Error as error:
            raise LeafzoomError(
                f"{self.path} cannot be used ({error}): choose another --out"
            ) from error
        self._run = (last_run or 0) + 1

    def _lock(self) -> None:
        """Keep every other process out until the file is closed: two would mix their results."""
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._connection.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise LeafzoomError(
                f"another leafzoom predict writes to {self.path.parent}: "
                "wait until it has ended, or choose another --out"
            ) from error
        self._connection.commit()

    def _create_tables(self) -> None:
        # The version is 0 in a new file.
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT_VERSION):
            raise LeafzoomError(
                f"{self.path} is of another leafzoom (version {version}): choose another --out"
            )

        for statement in (_CREATE_TABLE, *_CREATE_INDEXES):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {_FORMAT_VERSION}")

    def close(self) -> None:
        """Commit everything, and close the file.

        Raises:
            LeafzoomError: the file cannot be written.
        """
        try:
            self._connection.commit()
        except sqlite3.Error as error:
            raise LeafzoomError(
                f"{self.path} cannot be written ({error}): free some space"
            ) from error
        finally:
            self._connection.close()

    def reuse(self, photo: FoundPhoto, position: int) -> bool:
        """Take over an earlier run's prediction, if the photo and the model are unchanged.

        A photo that could not be read is not taken over: the reader of its format may have been
        installed since.

        Args:
            photo: its path.
            position: the photo's number in this run.

        Returns:
            Whether there was such a prediction.
        """
        size, changed_ns = _size_and_mtime(photo)
        # Moving the row into this run is also the test whether it exists.
        values = (self._run, position, _key(photo), size, changed_ns, self.model)
        return self._execute(_REUSE, values).rowcount == 1

    def add(
        self,
        photo: FoundPhoto,
        position: int,
        result: Prediction | FailedPhoto,
        picture: str | None,
    ) -> None:
        """Store the result for a photo, and the name of its picture."""
        size, changed_ns = _size_and_mtime(photo)
        self._execute(
            _ADD,
            (
                _key(photo),
                size,
                changed_ns,
                self.model,
                picture,
                json.dumps(result.to_dict()),
                self._run,
                position,
            ),
        )

        # A commit waits for the disk, so it is made once for several photos.
        self._uncommitted += 1
        if self._uncommitted >= _COMMIT_EVERY:
            self._connection.commit()
            self._uncommitted = 0

    def picture_name(self, photo: FoundPhoto) -> str:
        """A file name for a photo's picture, the same each time.

        It is never the name of another picture or of a file in the folder.
        """
        # A photo that was diagnosed before keeps the name of its picture.
        row = self._execute(
            "SELECT picture FROM results WHERE photo = ?", (_key(photo),)
        ).fetchone()
        if row and row[0]:
            return str(row[0])

        # A file name may hold bytes that are no text, and cutting may split a character.
        text = _stem(photo).encode(errors="replace").decode().replace("?", "_")
        stem = text.encode()[:_MAX_STEM_BYTES].decode(errors="ignore")

        # Number the names until one is free.
        name = f"{stem}-diagnosis.png"
        number = 1
        while self.is_picture(name) or (self.path.parent / name).exists():
            number += 1
            name = f"{stem}-diagnosis-{number}.png"
        return name

    def is_picture(self, name: str) -> bool:
        """Whether a file of this name in the folder is the picture of a photo."""
        cursor = self._execute("SELECT 1 FROM results WHERE picture = ?", (name,))
        return cursor.fetchone() is not None

    def results(self, limit: int = -1) -> Iterator[JournalEntry]:
        """The results for this run's photos, in the photos' order.

        Args:
            limit: at most so many; -1: all.

        Raises:
            LeafzoomError: an entry is damaged.
        """
        self._connection.commit()
        for text, picture in self._execute(_RESULTS, (self._run, limit)):
            try:
                result = result_from_dict(json.loads(text))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise LeafzoomError(
                    f"{self.path} has a damaged result ({error!r}): choose another --out"
                ) from error
            yield JournalEntry(result, picture)

    def count(self) -> int:
        """How many photos this run has results for."""
        cursor = self._execute("SELECT COUNT(*) FROM results WHERE run = ?", (self._run,))
        return int(cursor.fetchone()[0])

    def _execute(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise LeafzoomError(
                f"{self.path} cannot be used ({error}): free some space or choose another --out"
            ) from error


def _key(photo: FoundPhoto) -> bytes:
    """A photo's path as the journal knows it; a path may hold bytes that are no text."""
    if isinstance(photo, Path):
        return os.fsencode(photo)
    return str(photo).encode("utf-8", "surrogatepass")


def _stem(photo: FoundPhoto) -> str:
    return "address" if isinstance(photo, str) else photo.stem


def _size_and_mtime(photo: FoundPhoto) -> tuple[int, int]:
    """Bytes and time of change (ns) of a photo or its archive; -1, -1 if it does not exist."""
    if isinstance(photo, str):
        return -1, -1
    if isinstance(photo, RemotePhoto):
        return photo.size, photo.version
    path = photo.archive.path if isinstance(photo, ArchivedPhoto) else photo
    try:
        status = path.stat()
    except (OSError, ValueError):
        return -1, -1

    # SQLite's integers have 64 bits, which nanoseconds exceed in the year 2262.
    changed_ns = (status.st_mtime_ns + _INT64_RANGE // 2) % _INT64_RANGE - _INT64_RANGE // 2
    return status.st_size, changed_ns
