"""Labelled photographs as the measuring programs read them: sources and targets of a part."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafzoom.dataset.cache import Cache, build_cache, default_cache_folder
from leafzoom.dataset.evaluated_part import evaluation_image_names
from leafzoom.dataset.table import read_table
from leafzoom.model_file.manifest import Manifest
from leafzoom.photo import read_source

__all__ = [
    "LabelledPart",
    "in_grey",
    "open_data",
    "read_labelled_folder",
    "read_part",
    "rows_of_part",
]


@dataclass(frozen=True)
class LabelledPart:
    """The photographs of a part: sources uint8 [n, S, S, 3] and targets [n, L]."""

    sources: NDArray[np.uint8]
    targets: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.sources)


def open_data(data: Path, source_size: int) -> Cache:
    """The cache of a data set at a model's source size, built where it is missing."""
    table = read_table(data)
    return build_cache(table, default_cache_folder(data, table.csv, source_size), source_size)


def rows_of_part(cache: Cache, part: str, manifest: Manifest) -> NDArray[np.int64]:
    """The cache's rows of a part of the split that a model was trained with."""
    digest = manifest.data.get("split_digest")
    image_names = evaluation_image_names(cache, part, None, digest)

    row_of = {image_name: row for row, image_name in enumerate(cache.table.image_names)}
    return np.array([row_of[image_name] for image_name in image_names], np.int64)


def read_part(cache: Cache, part: str, manifest: Manifest) -> LabelledPart:
    """The sources and targets of a part, in memory."""
    rows = rows_of_part(cache, part, manifest)
    image_names = [cache.table.image_names[row] for row in rows]
    targets = cache.table.take(image_names).targets(manifest.labels)
    return LabelledPart(np.asarray(cache.sources[rows]), targets)


def read_labelled_folder(folder: Path, labels: tuple[str, ...], source_size: int) -> LabelledPart:
    """The photographs of a folder with `labels.csv` (image, labels) and `images/`.

    Args:
        folder: of the photographs; labels that a model does not know are errors.
        labels: the model's.
        source_size: side of the sources in pixels.
    """
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    targets = np.zeros((len(rows), len(labels)), np.uint8)
    sources = []
    for index, row in enumerate(rows):
        sources.append(read_source(folder / "images" / row["image"], source_size).pixels)
        for label in row["labels"].split():
            targets[index, labels.index(label)] = 1
    return LabelledPart(np.stack(sources), targets)


def in_grey(sources: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey copies of sources [n, S, S, 3], by their luminance."""
    copies = [Image.fromarray(source).convert("L").convert("RGB") for source in sources]
    return np.stack([np.asarray(copy) for copy in copies])
