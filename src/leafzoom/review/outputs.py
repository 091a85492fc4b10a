"""What a model computes for the photographs of a review: descriptors, boxes, strangeness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from tqdm import tqdm

from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.cache import Cache
from leafzoom.errors import PhotoError
from leafzoom.fitting.heads import ood_scores
from leafzoom.fitting.scale_outputs import scale_outputs
from leafzoom.inference.prediction import photo_box
from leafzoom.model.fusion import FusedNetwork
from leafzoom.photo import read_source

__all__ = ["FilePhotographs", "PhotographOutputs", "outputs_of_cache", "outputs_of_files"]

_CHUNK = 128  # photographs between two steps of the progress bar

Box = tuple[float, float, float, float]
Chunk = tuple[NDArray[np.uint8], list[tuple[int, int]]]
"""Sources [m, S, S, 3], and width and height of each upright photo in pixels."""


@dataclass(frozen=True)
class PhotographOutputs:
    """A network's outputs for n photographs.

    `descriptors`: of all scales side by side, means over mirror images, [n, scales * D]. `boxes`:
    of each photograph, one a zoom, x0, y0, x1, y1 in pixels of the upright photo, x1 and y1
    exclusive. `photo_sizes`: width and height in pixels. `ood_score`: [n], above 1 for a picture
    unlike the leaves that the model knows; None without a detector.
    """

    descriptors: NDArray[np.float32]
    boxes: tuple[tuple[Box, ...], ...]
    photo_sizes: tuple[tuple[int, int], ...]
    ood_score: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.descriptors)


@dataclass(frozen=True)
class FilePhotographs:
    """Photographs of files that could be read, their outputs, and a line for each other file."""

    paths: tuple[Path, ...]
    outputs: PhotographOutputs
    problems: tuple[str, ...]


def outputs_of_cache(
    network: FusedNetwork, cache: Cache, rows: NDArray[np.int64]
) -> PhotographOutputs:
    """Run a network over rows of a cache, without augmentation."""

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(rows), _CHUNK):
            own = rows[start : start + _CHUNK]
            sizes = [(int(width), int(height)) for width, height in cache.photo_sizes[own]]
            yield np.asarray(cache.sources[own]), sizes

    return _outputs(network, chunks(), len(rows))


def outputs_of_files(
    network: FusedNetwork, paths: Sequence[Path], source_size: int
) -> FilePhotographs:
    """Run a network over photo files; those that cannot be read are left out and named.

    Args:
        network: of the review.
        paths: of the photos.
        source_size: side in pixels of what the network reads.
    """
    problems: list[str] = []
    readable: list[Path] = []

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(paths), _CHUNK):
            sources = []
            for path in paths[start : start + _CHUNK]:
                try:
                    sources.append(read_source(path, source_size))
                    readable.append(path)
                except PhotoError as error:
                    problems.append(str(error))
            if sources:
                pixels = np.stack([source.pixels for source in sources])
                yield pixels, [source.photo_size for source in sources]

    outputs = _outputs(network, chunks(), len(paths))
    return FilePhotographs(tuple(readable), outputs, tuple(problems))


@torch.no_grad()
def _outputs(network: FusedNetwork, chunks: Iterable[Chunk], count: int) -> PhotographOutputs:
    """The outputs of all chunks in their order."""
    fabric = Fabric(accelerator="cpu", devices=1)
    attention = network.attention_network
    descriptors = [np.zeros((0, 0), np.float32)]
    boxes: list[tuple[Box, ...]] = []
    photo_sizes: list[tuple[int, int]] = []

    with tqdm(total=count, desc="looking", unit="photo", disable=None) as progress:
        for sources, sizes in chunks:
            part = _part(sources)
            computed = scale_outputs(fabric, attention, part, tta=network.tta)
            descriptors.append(computed.descriptors)
            photo_sizes += sizes

            # Scale 1 looks at the whole photo.
            zooms = np.stack(computed.boxes[1:], axis=1) if attention.scales > 1 else None
            for row, size in enumerate(sizes):
                own = [] if zooms is None else [_corners(box) for box in zooms[row]]
                side = sources.shape[1]
                boxes.append(tuple(photo_box(corners, side, size) for corners in own))
            progress.update(len(sources))

    stacked = np.concatenate(descriptors[1:]) if len(descriptors) > 1 else descriptors[0]
    scores = ood_scores(network, stacked) if len(stacked) else None
    return PhotographOutputs(stacked, tuple(boxes), tuple(photo_sizes), scores)


def _part(sources: NDArray[np.uint8]) -> DatasetPart:
    """Sources without labels as a part that batches are made of."""
    count = len(sources)
    targets = np.zeros((count, 1), np.uint8)
    return DatasetPart(sources, targets, ("",) * count, np.arange(count))


def _corners(box: NDArray[np.float32]) -> NDArray[np.float32]:
    """x0, y0, x1, y1 of a box given by its centre and half side."""
    x, y, half_side = box
    return np.array([x - half_side, y - half_side, x + half_side, y + half_side], np.float32)
