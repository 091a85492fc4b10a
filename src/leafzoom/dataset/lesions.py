"""Known lesions: boxes that somebody drew, or that a rendered leaf brings with it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.table import LESIONS_CSV, is_photograph
from leafzoom.errors import DataError

__all__ = ["read_lesions"]

_COLUMNS = ("image", "x0", "y0", "x1", "y1")


def read_lesions(folder: Path, cache: Cache) -> dict[str, NDArray[np.float64]]:
    """The boxes of `folder/lesions.csv`: a row a lesion, `image,x0,y0,x1,y1` in pixels of the upright photo.

    Args:
        folder: of the data.
        cache: whose photographs the boxes are of, by the names of its table.

    Returns:
        {image: [m, 4]}; empty where there is no such file. Rows of photographs that are in the folder and not in the
        table are passed over: a table may be of a part.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row is no box or not on a photograph.
    """
    path = folder / LESIONS_CSV
    if not path.is_file():
        return {}
    sizes = {
        image: (float(width), float(height))
        for image, (width, height) in zip(cache.table.images, cache.photo_sizes, strict=True)
    }
    found: dict[str, list[list[float]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip() for name in next(rows, [])]
            missing = [name for name in _COLUMNS if name not in header]
            if missing:
                raise DataError(f"{path} has no column {missing[0]}: it needs {','.join(_COLUMNS)}")
            places = [header.index(name) for name in _COLUMNS]
            for row in rows:
                if row:
                    where = f"{path}, row {rows.line_num}"
                    cells = [row[place] if place < len(row) else "" for place in places]
                    if cells[0].strip() in sizes or not is_photograph(folder, cells[0].strip()):
                        image, box = _lesion(cells, sizes, where)
                        found.setdefault(image, []).append(box)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return {image: np.array(boxes, np.float64) for image, boxes in found.items()}


def _lesion(cells: list[str], sizes: Mapping[str, tuple[float, float]], where: str) -> tuple[str, list[float]]:
    """A row's photograph and box."""
    image = cells[0].strip()
    if image not in sizes:
        raise DataError(f"{where}: no photograph {image!r} in the table of labels: write its name as there")
    try:
        x0, y0, x1, y1 = box = [float(cell) for cell in cells[1:]]
    except ValueError as error:
        raise DataError(f"{where}: x0, y0, x1 and y1 have to be numbers") from error
    if not all(map(math.isfinite, box)) or x1 <= x0 or y1 <= y0:
        raise DataError(f"{where}: {x0:g}, {y0:g}, {x1:g}, {y1:g} is no box: x0 < x1 and y0 < y1")
    width, height = sizes[image]
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise DataError(
            f"{where}: {x0:g}, {y0:g}, {x1:g}, {y1:g} is not inside {image}, which has {width:g} x {height:g} pixels "
            "(upright): give the boxes in the photo's own pixels"
        )
    return image, box
