"""What was said of each photo of a folder, kept on disk: an interrupted run goes on, and memory stays small.

A photo is known by its path, its size in bytes, its time of change and the model, so that a changed photo or another
model is diagnosed anew. The journal is an SQLite file, `predictions.db`, in the folder of the results.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leafzoom.errors import LeafzoomError

__all__ = ["JOURNAL", "Journal"]

JOURNAL = "predictions.db"
_VERSION = 1
_COMMIT_EVERY = 64
_LONGEST_STEM = 150  # bytes: file systems take names of 255, and a temporary one is longer than its picture's


class Journal:
    """The results of one folder; to be closed.

    Args:
        folder: where `predictions.db` is or will be.
        model: a digest of the model: what another one said does not count.

    Raises:
        LeafzoomError: the file is no journal, or cannot be written.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.path, self.model = folder / JOURNAL, model
        self._pending = 0
        try:
            self._file = sqlite3.connect(self.path)
            found = self._file.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _VERSION):
                raise LeafzoomError(f"{self.path} is of another leafzoom (version {found}): choose another --out")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS results (photo BLOB PRIMARY KEY, bytes INTEGER, changed_ns INTEGER, "
                "model TEXT, picture TEXT, result TEXT, run INTEGER, place INTEGER)"
            )
            self._file.execute("CREATE INDEX IF NOT EXISTS in_order ON results (run, place)")
            self._file.execute("CREATE UNIQUE INDEX IF NOT EXISTS pictures ON results (picture)")
            self._file.execute(f"PRAGMA user_version = {_VERSION}")
            self._run = 1 + (self._file.execute("SELECT MAX(run) FROM results").fetchone()[0] or 0)
        except sqlite3.Error as error:
            raise LeafzoomError(f"{self.path} cannot be used ({error}): choose another --out") from error

    def close(self) -> None:
        """Keep everything, and close the file."""
        try:
            self._file.commit()
        except sqlite3.Error as error:
            raise LeafzoomError(f"{self.path} cannot be written ({error}): free some space") from error
        finally:
            self._file.close()

    def knows(self, photo: Path, place: int) -> bool:
        """Whether this photo, as it is now, was diagnosed by this model; it then counts for this run, at a place.

        One that could not be read is tried again: the reader of its format may have been installed since.
        """
        size, changed = _state(photo)
        cursor = self._do(
            "UPDATE results SET run = ?, place = ? WHERE photo = ? AND bytes = ? AND changed_ns = ? AND model = ? "
            "AND picture IS NOT NULL",
            (self._run, place, os.fsencode(photo), size, changed, self.model),
        )
        return cursor.rowcount == 1

    def add(self, photo: Path, place: int, result: dict[str, Any], picture: str | None) -> None:
        """Keep what was said of a photo, and the name of its picture."""
        size, changed = _state(photo)
        self._do(
            "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (os.fsencode(photo), size, changed, self.model, picture, json.dumps(result), self._run, place),
        )
        self._pending += 1
        if self._pending >= _COMMIT_EVERY:
            self._file.commit()
            self._pending = 0

    def picture_name(self, photo: Path) -> str:
        """A file name for a photo's picture, the same each time; never that of another picture or of a file there."""
        row = self._do("SELECT picture FROM results WHERE photo = ?", (os.fsencode(photo),)).fetchone()
        if row and row[0]:
            return str(row[0])
        stem = photo.stem.encode(errors="replace").decode().replace("?", "_")  # a name may be no text
        stem = stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
        name, number = f"{stem}-diagnosis.png", 1
        while self.is_picture(name) or (self.path.parent / name).exists():
            number += 1
            name = f"{stem}-diagnosis-{number}.png"
        return name

    def is_picture(self, name: str) -> bool:
        """Whether a file of this name in the folder is the picture of a photo."""
        return self._do("SELECT 1 FROM results WHERE picture = ?", (name,)).fetchone() is not None

    def results(self, limit: int = -1) -> Iterator[tuple[dict[str, Any], str | None]]:
        """What was said of this run's photos, in their order, with the names of their pictures."""
        self._file.commit()
        rows = self._do(
            "SELECT result, picture FROM results WHERE run = ? ORDER BY place LIMIT ?", (self._run, limit)
        )
        for result, picture in rows:
            yield json.loads(result), picture

    def count(self) -> int:
        """How many photos this run has results of."""
        return int(self._do("SELECT COUNT(*) FROM results WHERE run = ?", (self._run,)).fetchone()[0])

    def _do(self, statement: str, values: tuple[object, ...]) -> sqlite3.Cursor:
        try:
            return self._file.execute(statement, values)
        except sqlite3.Error as error:
            raise LeafzoomError(
                f"{self.path} cannot be used ({error}): free some space or choose another --out"
            ) from error


def _state(photo: Path) -> tuple[int, int]:
    """Bytes and time of change of a photo, by which a changed one is told; -1 of one that is not there."""
    try:
        status = photo.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
