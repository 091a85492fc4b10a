"""Known lesions: boxes that somebody drew, or that a rendered leaf brings with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.columns import quoted
from leafzoom.dataset.lesion_files import LesionRow, read_lesion_rows
from leafzoom.dataset.photo_lookup import BadImageName, PhotoLookup
from leafzoom.dataset.table_files import LESION_TABLES
from leafzoom.errors import DataError

__all__ = ["Lesions", "read_labelled_lesions", "read_lesions"]

_MAX_OVERHANG = 0.01  # of a side: hand-drawn boxes may reach over the edge, and are cut there


@dataclass(frozen=True)
class Lesions:
    """The known lesions of one photograph.

    `boxes`: [m, 4], x0, y0, x1, y1 in pixels of the upright photo. `labels`: one a box; "" where
    the file has none.
    """

    boxes: NDArray[np.float64]
    labels: tuple[str, ...]


def read_lesions(
    folder: Path, cache: Cache, *, warn: Callable[[str], object] = str
) -> dict[str, NDArray[np.float64]]:
    """The boxes [m, 4] of `read_labelled_lesions`, by image name."""
    lesions = read_labelled_lesions(folder, cache, warn=warn)
    return {image_name: known.boxes for image_name, known in lesions.items()}


def read_labelled_lesions(
    folder: Path,
    cache: Cache,
    file: Path | None = None,
    *,
    warn: Callable[[str], object] = str,
) -> dict[str, Lesions]:
    """Known lesions' boxes: of a file, or of `lesions.csv` or `boxes.csv` in the data folder.

    Convention: pixels of the upright photo, x to the right and y down from its upper left corner.

    Args:
        folder: of the data.
        cache: whose photographs the boxes are of, by the names of its table.
        file: a CSV, COCO's JSON or a folder of YOLO's text files (see `read_lesion_rows`).
        warn: called with a line about boxes without area, which are left out.

    Returns:
        By image name; empty where there is no such file. Boxes of photographs that are in the
        folder and not in the table are skipped: a table may be of a part.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row is no box or not on a
            photograph.
    """
    path = file or _lesions_file(folder)
    if path is None:
        return {}
    if not path.exists():
        raise DataError(f"{path}: there is no such file of lesions")

    names = _ImageNames(folder, cache)
    sizes = _photo_sizes(cache)
    boxes: dict[str, list[list[float]]] = {}
    labels: dict[str, list[str]] = {}
    empty_rows = []
    for row in read_lesion_rows(path):
        image_name = names.in_table(row.image_name)

        # The table may be of a part of the folder.
        if image_name is not None:
            box = _box(replace(row, image_name=image_name), sizes)
            if box is None:
                empty_rows.append(row.where)
                continue
            boxes.setdefault(image_name, []).append(box)
            labels.setdefault(image_name, []).append(row.label)

    if empty_rows:
        count = "a box" if len(empty_rows) == 1 else f"{len(empty_rows)} boxes"
        warn(f"leafzoom: {count} without area left out: {empty_rows[0]}")
    return {
        image_name: Lesions(np.array(rows, np.float64), tuple(labels[image_name]))
        for image_name, rows in boxes.items()
    }


def _lesions_file(folder: Path) -> Path | None:
    """The table of lesions, whatever the case of its name; None without one."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for name in LESION_TABLES:
        for path in files:
            if path.name.casefold() == name:
                return path
    return None


class _ImageNames:
    """The names of a cache's photographs, however another table writes them."""

    def __init__(self, folder: Path, cache: Cache) -> None:
        self._photos = PhotoLookup(folder)
        self._names = set(cache.table.image_names)
        self._by_file = {row.path.resolve(): row.image_name for row in cache.table.rows}

    def in_table(self, image_name: str) -> str | None:
        """The table's name of a photograph; None if only the folder has it.

        A name of no photograph at all is returned as it is.
        """
        if image_name in self._names:
            return image_name
        try:
            photo = self._photos.file(image_name)
        except BadImageName:
            return image_name
        return self._by_file.get(photo.real_path)


def _photo_sizes(cache: Cache) -> dict[str, tuple[float, float]]:
    """Width and height of the cache's upright photos in pixels, by image name."""
    sizes = zip(cache.table.image_names, cache.photo_sizes, strict=True)
    return {image_name: (float(width), float(height)) for image_name, (width, height) in sizes}


def _box(record: LesionRow, sizes: Mapping[str, tuple[float, float]]) -> list[float] | None:
    """The box of a row, checked to lie on its photograph; None if it has no area there."""
    if record.image_name not in sizes:
        raise DataError(
            f"{record.where}: no photograph {quoted(record.image_name)} in the table of labels: "
            "write its name as there"
        )

    try:
        box = [float(cell) for cell in record.cells]
    except ValueError as error:
        raise DataError(f"{record.where}: x0, y0, x1 and y1 have to be numbers") from error

    x0, y0, x1, y1 = box
    corners = f"{x0:g}, {y0:g}, {x1:g}, {y1:g}"
    if not _is_box(x0, y0, x1, y1):
        raise DataError(f"{record.where}: {corners} is no box: x0 < x1 and y0 < y1")
    width, height = sizes[record.image_name]
    _check_annotated_size(record, width, height)
    side_x, side_y = (1.0, 1.0) if record.is_share else (width, height)
    overhang = max(-x0 / side_x, -y0 / side_y, x1 / side_x - 1, y1 / side_y - 1)
    if overhang > _MAX_OVERHANG:
        unit = "as shares of its sides" if record.is_share else "in the photo's own pixels"
        raise DataError(
            f"{record.where}: {corners} is not inside {record.image_name}, which has "
            f"{width:g} x {height:g} pixels (upright): give the boxes {unit}"
        )
    # What reaches over the edge is cut; nothing may be left.
    left, right = (min(max(x, 0.0), side_x) * width / side_x for x in (x0, x1))
    top, bottom = (min(max(y, 0.0), side_y) * height / side_y for y in (y0, y1))
    return [left, top, right, bottom] if left < right and top < bottom else None


def _check_annotated_size(record: LesionRow, width: float, height: float) -> None:
    """Refuse a box that was drawn on a copy of the photo with other sides."""
    if record.photo_size in (None, (width, height)):
        return
    assert record.photo_size is not None
    annotated = " x ".join(f"{side:g}" for side in record.photo_size)
    raise DataError(
        f"{record.where}: it was drawn on {annotated} pixels, and {record.image_name} has "
        f"{width:g} x {height:g} (upright): give the boxes in the photo's own pixels"
    )


def _is_box(x0: float, y0: float, x1: float, y1: float) -> bool:
    """Whether corners are finite and in order, perhaps on each other."""
    return all(map(math.isfinite, (x0, y0, x1, y1))) and x0 <= x1 and y0 <= y1
