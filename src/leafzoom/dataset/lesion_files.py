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
_YOLO_LISTS = ("train.txt", "val.txt", "test.txt", "obj.names.txt")  # of photos, not of boxes


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
      shares of the photo's sides; `classes.txt` beside them names the classes, a line each. A
      fifth number is a confidence; six and more are a polygon, whose bounds are the box.

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
        categories = content.get("categories") or ()
        labels = {entry["id"]: str(entry.get("name") or "") for entry in categories}
        annotations = list(content["annotations"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
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
        x, y, width, height = (_number(value) for value in annotation["bbox"])
        name = image["file_name"]
        size = _annotated_size(image)
        label = labels.get(annotation.get("category_id"), "")
    except (TypeError, KeyError, ValueError, OverflowError, AttributeError) as error:
        raise DataError(
            f"{where}: it needs the image_id of one of the images, a bbox of four numbers [x, y, "
            "width, height], and its image a file_name (and, if any, width and height as numbers)"
        ) from error
    if not isinstance(name, str):
        raise DataError(f"{where}: the file_name of its image is no text")

    cells = tuple(repr(value) for value in (x, y, x + width, y + height))
    return LesionRow(where, name, cells, label, photo_size=size)


def _annotated_size(image: Mapping[str, Any]) -> tuple[float, float] | None:
    """Width and height of the photo that was annotated; None where COCO's file has none."""
    if image.get("width") is None or image.get("height") is None:
        return None
    return _number(image["width"]), _number(image["height"])


def _number(value: object) -> float:
    """A number of JSON.

    Raises:
        ValueError, OverflowError: it is none, or one that no float holds.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _yolo_rows(folder: Path) -> Iterator[LesionRow]:
    """The lines of YOLO's text files."""
    texts = sorted(path for path in folder.iterdir() if path.suffix.casefold() == ".txt")
    names: list[str] = []
    files = []
    for path in texts:
        if path.name.casefold() == _CLASS_NAMES:
            names = [line.strip() for line in _read_text(path).splitlines()]
        elif path.is_file() and path.name.casefold() not in _YOLO_LISTS:
            files.append(path)
    if not files:
        raise DataError(f"{folder} has no .txt files of YOLO boxes")

    for path in files:
        for number, line in enumerate(_read_text(path).splitlines(), start=1):
            if line.strip():
                yield _yolo_row(f"{path}, line {number}", path.stem, line.split(), names)


def _yolo_row(where: str, stem: str, words: list[str], names: list[str]) -> LesionRow:
    """One line of a YOLO file; the photo has the file's name, with another suffix."""
    try:
        class_number = int(words[0])
        values = [float(word) for word in words[1:]]
    except ValueError as error:
        raise DataError(
            f"{where}: it needs the number of a class, then numbers: x, y, width, height"
        ) from error

    label = str(class_number)
    if names:
        if not 0 <= class_number < len(names):
            raise DataError(f"{where}: class {class_number} is not in {_CLASS_NAMES}")
        label = names[class_number]
    cells = tuple(repr(value) for value in _yolo_box(where, values))
    return LesionRow(where, stem, cells, label, is_share=True)


def _yolo_box(where: str, values: list[float]) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a line's numbers: a box, perhaps with a confidence, or a polygon."""
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) < 6 or len(values) % 2:
        raise DataError(
            f"{where}: it has {len(values)} numbers after the class; a box has four: x, y, width, "
            "height, a polygon three points or more"
        )
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def _read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text in UTF-8 ({error})") from error
