"""Known lesions: boxes that somebody drew, or that a rendered leaf brings with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.columns import quoted
from leafzoom.dataset.photo_lookup import BadImageName, PhotoLookup
from leafzoom.dataset.spreadsheet import read_sheet
from leafzoom.dataset.table_files import LESIONS_CSV
from leafzoom.errors import DataError

__all__ = ["read_lesions"]

_COLUMNS = ("image", "x0", "y0", "x1", "y1")


def read_lesions(folder: Path, cache: Cache) -> dict[str, NDArray[np.float64]]:
    """The boxes of `folder/lesions.csv`: a row a lesion, `image,x0,y0,x1,y1`.

    Convention: pixels of the upright photo, x to the right and y down from its upper left corner.

    Args:
        folder: of the data.
        cache: whose photographs the boxes are of, by the names of its table.

    Returns:
        {image name: boxes [m, 4]}; empty where there is no such file. Rows of photographs that are
        in the folder and not in the table are skipped: a table may be of a part.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row is no box or not on a
            photograph.
    """
    path = _lesions_file(folder)
    if path is None:
        return {}

    names = _ImageNames(folder, cache)
    sizes = _photo_sizes(cache)
    boxes: dict[str, list[list[float]]] = {}
    for record in _read_records(path):
        image_name = names.in_table(record.image_name)

        # The table may be of a part of the folder.
        if image_name is not None:
            named = replace(record, image_name=image_name)
            boxes.setdefault(image_name, []).append(_box(named, sizes))
    return {image_name: np.array(rows, np.float64) for image_name, rows in boxes.items()}


def _lesions_file(folder: Path) -> Path | None:
    """The file of lesions, whatever the case of its name; None without one."""
    files = sorted(path for path in folder.iterdir() if path.name.casefold() == LESIONS_CSV)
    return next((path for path in files if path.is_file()), None)


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


@dataclass(frozen=True)
class _Record:
    """One row of the CSV as text: `where` it is, its photograph, and the cells x0, y0, x1, y1."""

    where: str
    image_name: str
    box_cells: tuple[str, ...]


def _photo_sizes(cache: Cache) -> dict[str, tuple[float, float]]:
    """Width and height of the cache's upright photos in pixels, by image name."""
    sizes = zip(cache.table.image_names, cache.photo_sizes, strict=True)
    return {image_name: (float(width), float(height)) for image_name, (width, height) in sizes}


def _read_records(path: Path) -> Iterator[_Record]:
    """The rows of a table that has the columns image, x0, y0, x1 and y1, without blank lines."""
    sheet = read_sheet(path, lambda name: name == _COLUMNS[0])
    header = list(sheet.header)
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise DataError(f"{path} has no column {missing[0]}: it needs {','.join(_COLUMNS)}")

    # The columns may come in any order, between others.
    columns = [header.index(name) for name in _COLUMNS]
    for row in sheet.rows:
        # A short row is completed by empty cells.
        cells = [row.cells[column] if column < len(row.cells) else "" for column in columns]
        where = f"{path}, row {row.line}"
        yield _Record(where, cells[0].strip(), tuple(cells[1:]))


def _box(record: _Record, sizes: Mapping[str, tuple[float, float]]) -> list[float]:
    """The box of a row, checked to lie on its photograph."""
    if record.image_name not in sizes:
        raise DataError(
            f"{record.where}: no photograph {quoted(record.image_name)} in the table of labels: "
            "write its name as there"
        )

    try:
        box = [float(cell) for cell in record.box_cells]
    except ValueError as error:
        raise DataError(f"{record.where}: x0, y0, x1 and y1 have to be numbers") from error

    x0, y0, x1, y1 = box
    corners = f"{x0:g}, {y0:g}, {x1:g}, {y1:g}"
    if not _is_box(x0, y0, x1, y1):
        raise DataError(f"{record.where}: {corners} is no box: x0 < x1 and y0 < y1")

    width, height = sizes[record.image_name]
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise DataError(
            f"{record.where}: {corners} is not inside {record.image_name}, which has "
            f"{width:g} x {height:g} pixels (upright): give the boxes in the photo's own pixels"
        )
    return box


def _is_box(x0: float, y0: float, x1: float, y1: float) -> bool:
    """Whether corners are finite and in order."""
    return all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1
