"""Files of lesions' boxes, row by row: a CSV, COCO's JSON, or a folder of YOLO's text files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leafzoom.dataset.spreadsheet import read_sheet
from leafzoom.errors import DataError

__all__ = ["LesionRow", "read_lesion_rows"]

_BOX_COLUMNS = ("x0", "y0", "x1", "y1")
_CLASS_NAMES = "classes.txt"


@dataclass(frozen=True)
class LesionRow:
    """One box as a file gives it.

    `where`: the file and row, for errors. `image_name`: of the photograph. `cells`: x0, y0, x1, y1
    as text. `label`: "" where the file has none. `is_share`: whether the box is in shares of the
    photo's sides, not in pixels. `photo_size`: width and height of the photo that was annotated,
    where the file says it.
    """

    where: str
    image_name: str
    cells: tuple[str, ...]
    label: str = ""
    is_share: bool = False
    photo_size: tuple[float, float] | None = None


def read_lesion_rows(path: Path) -> Iterator[LesionRow]:
    """The boxes of a CSV, of COCO's JSON, or of a folder of YOLO's text files.

    - CSV: the columns image, x0, y0, x1, y1, and perhaps label, in pixels.
    - COCO: `images`, `annotations` with `bbox` [x, y, width, height], and `categories`.
    - YOLO: a text file a photo, a line a box: class, x and y of the centre, width, height, as
      shares of the photo's sides; `classes.txt` beside them names the classes, a line each.

    Raises:
        DataError: it cannot be read, or lacks what it needs.
    """
    if path.is_dir():
        return _yolo_rows(path)
    if path.suffix.lower() == ".json":
        return _coco_rows(path)
    return _csv_rows(path)


def _csv_rows(path: Path) -> Iterator[LesionRow]:
    """The rows of a table, without blank lines."""
    sheet = read_sheet(path, lambda name: name == "image")
    header = list(sheet.header)
    missing = [name for name in ("image", *_BOX_COLUMNS) if name not in header]
    if missing:
        needed = ",".join(("image", *_BOX_COLUMNS))
        raise DataError(f"{path} has no column {missing[0]}: it needs {needed}")

    # The columns may come in any order, between others.
    columns = [header.index(name) for name in ("image", *_BOX_COLUMNS)]
    label_column = header.index("label") if "label" in header else None
    for row in sheet.rows:
        # A short row is completed by empty cells.
        padded = [*row.cells, *[""] * len(header)]
        image, *cells = (padded[column] for column in columns)
        label = "" if label_column is None else padded[label_column].strip()
        yield LesionRow(f"{path}, row {row.line}", image.strip(), tuple(cells), label)


def _coco_rows(path: Path) -> Iterator[LesionRow]:
    """The annotations of COCO's JSON."""
    try:
        content = json.loads(_read_text(path))
        images = {image["id"]: image for image in content["images"]}
        labels = {entry["id"]: str(entry["name"]) for entry in content.get("categories", ())}
        annotations = list(content["annotations"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            f"{path} is no COCO file: it needs images with id and file_name, and annotations with "
            f"image_id and bbox ({type(error).__name__}: {error})"
        ) from error
    for number, annotation in enumerate(annotations, start=1):
        yield _coco_row(f"{path}, annotation {number}", annotation, images, labels)


def _coco_row(
    where: str,
    annotation: Mapping[str, Any],
    images: Mapping[Any, Mapping[str, Any]],
    labels: Mapping[Any, str],
) -> LesionRow:
    """One annotation of COCO's JSON."""
    try:
        image = images[annotation["image_id"]]
        x, y, width, height = (float(value) for value in annotation["bbox"])
        name = str(image["file_name"])
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"{where}: it needs the image_id of one of the images, and a bbox [x, y, width, height]"
        ) from error

    size = None
    if "width" in image and "height" in image:
        size = (float(image["width"]), float(image["height"]))
    cells = tuple(repr(value) for value in (x, y, x + width, y + height))
    label = labels.get(annotation.get("category_id"), "")
    return LesionRow(where, name, cells, label, photo_size=size)


def _yolo_rows(folder: Path) -> Iterator[LesionRow]:
    """The lines of YOLO's text files."""
    names_file = folder / _CLASS_NAMES
    names = _read_text(names_file).split("\n") if names_file.is_file() else []
    files = sorted(path for path in folder.glob("*.txt") if path.name != _CLASS_NAMES)
    if not files:
        raise DataError(f"{folder} has no .txt files of YOLO boxes")

    for path in files:
        for number, line in enumerate(_read_text(path).splitlines(), start=1):
            if line.strip():
                yield _yolo_row(f"{path}, line {number}", path.stem, line.split(), names)


def _yolo_row(where: str, stem: str, words: list[str], names: list[str]) -> LesionRow:
    """One line of a YOLO file; the photo has the file's name, with another suffix."""
    try:
        number, *values = words
        x, y, width, height = (float(value) for value in values)
        class_number = int(number)
    except ValueError as error:
        raise DataError(
            f"{where}: it needs a class and four numbers: x, y, width, height"
        ) from error

    cells = tuple(repr(v) for v in (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    label = names[class_number].strip() if 0 <= class_number < len(names) else str(class_number)
    return LesionRow(where, stem, cells, label, is_share=True)


def _read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text in UTF-8 ({error})") from error
