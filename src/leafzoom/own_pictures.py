"""Which pictures leafzoom has drawn from other pictures: they are no photos."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from leafzoom.drawing import PICTURE_MARK

__all__ = ["JOURNAL", "OwnPictures"]

JOURNAL = "predictions.db"
"""The file beside the pictures of `predict --out` that names them."""

# The names that the journal gives, and where in a picture its mark is.
_PICTURE_NAME = re.compile(r"-diagnosis(-\d+)?\.png")
_MARKED_BYTES = 1024


class OwnPictures:
    """Knows the pictures that leafzoom has drawn from other pictures, wherever they lie.

    The journal beside them names them, and since version 0.2 they carry a mark.
    """

    def __init__(self) -> None:
        self._by_folder: dict[Path, frozenset[str] | None] = {}

    def has(self, path: Path) -> bool:
        """Whether a file is such a picture."""
        if path.parent not in self._by_folder:
            self._by_folder[path.parent] = _journal_pictures(path.parent)

        # A journal that is in use or damaged does not tell, but the names have a form.
        pictures = self._by_folder[path.parent]
        if pictures is None and _PICTURE_NAME.search(path.name):
            return True
        return path.name in (pictures or ()) or _has_mark(path)


def _journal_pictures(folder: Path) -> frozenset[str] | None:
    """The pictures that the journal of a folder names, none without one; None: not known."""
    path = folder / JOURNAL
    if not path.is_file():
        return frozenset()

    address = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            rows = connection.execute("SELECT picture FROM results WHERE picture IS NOT NULL")
            return frozenset(str(name) for (name,) in rows)
    except sqlite3.Error:
        return None


def _has_mark(path: Path) -> bool:
    """Whether a picture says that leafzoom has drawn it."""
    # Cameras write JPEG, and opening each file of a large folder takes time.
    if path.suffix.lower() != ".png" and "diagnosis" not in path.name:
        return False
    try:
        if not path.is_file():  # a pipe would wait for its writer
            return False
        with path.open("rb") as file:
            return PICTURE_MARK.encode() in file.read(_MARKED_BYTES)
    except OSError:
        return False
