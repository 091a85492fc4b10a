"""Photos below files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from leafzoom.errors import DataError
from leafzoom.photo import SUFFIXES

__all__ = ["find_photos", "is_folder", "iter_photos"]


def find_photos(paths: Iterable[Path]) -> list[Path]:
    """What `iter_photos` gives, as a list.

    Raises:
        DataError: a folder without a photo.
    """
    return list(iter_photos(paths))


def iter_photos(paths: Iterable[Path], *, but_not: Path | None = None) -> Iterator[Path]:
    """Files as they are, folders as the photos below them, folder by folder, sorted by name.

    Args:
        paths: files and folders.
        but_not: a folder to skip: the one that the results are written to.

    Raises:
        DataError: a folder without a photo.
    """
    skipped = but_not.resolve() if but_not else None

    for path in paths:
        if not is_folder(path):
            yield path
            continue

        # Large folders are listed while their photos are used, so an empty one shows at its end.
        is_empty = True
        for photo in _photos_below(path, skipped):
            is_empty = False
            yield photo

        if is_empty:
            raise DataError(
                f"the folder {path} has no photo ({', '.join(SUFFIXES)}): name one that has"
            )


def is_folder(path: Path) -> bool:
    """Whether the path is a folder; False where the system refuses to say.

    That happens for a name that is too long or a folder without permission. Reading the photo then
    fails with an error of its own.
    """
    try:
        return path.is_dir()
    except OSError:
        return False


def _photos_below(root: Path, skipped: Path | None) -> Iterator[Path]:
    """The photos below a folder, without those below `skipped`."""
    for folder, subfolders, names in os.walk(root):
        # os.walk descends into the subfolders that stay in this list, in its order.
        subfolders[:] = sorted(
            name for name in subfolders if (Path(folder) / name).resolve() != skipped
        )
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                yield Path(folder) / name
