"""Known lesions: boxes that somebody drew, or that a rendered leaf brings with it."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import DataError

__all__ = ["LESIONS_CSV", "read_lesions"]

LESIONS_CSV = "lesions.csv"
_COLUMNS = ("image", "x0", "y0", "x1", "y1")


def read_lesions(folder: Path) -> dict[str, NDArray[np.float64]]:
    """The boxes of `folder/lesions.csv`: a row a lesion, `image,x0,y0,x1,y1` in pixels of the upright photo.

    Returns:
        {image: [m, 4]}; empty where there is no such file.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row is no box.
    """
    path = folder / LESIONS_CSV
    if not path.is_file():
        return {}
    found: dict[str, list[list[float]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise DataError(f"{path} has no column {missing[0]}: it needs {','.join(_COLUMNS)}")
            for row in rows:
                found.setdefault(row["image"], []).append(_box(row, path, rows.line_num))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return {image: np.array(boxes, np.float64) for image, boxes in found.items()}


def _box(row: dict[str, str], path: Path, line: int) -> list[float]:
    """A row's box."""
    try:
        x0, y0, x1, y1 = box = [float(row[name]) for name in _COLUMNS[1:]]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}, row {line}: x0, y0, x1 and y1 have to be numbers") from error
    if not all(math.isfinite(edge) for edge in box) or x1 <= x0 or y1 <= y0:
        raise DataError(f"{path}, row {line}: {x0:g}, {y0:g}, {x1:g}, {y1:g} is no box: x0 < x1 and y0 < y1")
    return box
