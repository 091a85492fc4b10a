"""Batches of augmented images; every random draw comes from (seed, stage, epoch, batch).

So a training that resumes in the middle of an epoch sees the same batches as one that was not
interrupted.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.shares import WHOLE, Share
from leafzoom.dataset.sources import sources_to_images
from leafzoom.errors import DataError

__all__ = ["Batch", "DatasetPart", "batch_count", "epoch_batches", "plain_batches", "seed_for"]


@dataclass(frozen=True)
class DatasetPart:
    """Some rows of a data set, with the arrays of the whole data set.

    `sources`: uint8 [N, S, S, 3], memory-mapped. `targets`: [N, L], 0 or 1, or soft labels
    (float32). `image_names`: N names. `rows`: [n], the part's indices into these. `checksums`:
    CRC-32 of every source, [N], compared at every read, because a training reads the cache's file
    for hours; None: not compared.
    """

    sources: NDArray[np.uint8]
    targets: NDArray[np.uint8] | NDArray[np.float32]
    image_names: tuple[str, ...]
    rows: NDArray[np.int64]
    checksums: NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def part_targets(self) -> NDArray[np.uint8]:
        """The part's targets, [n, L], 0 or 1."""
        return np.asarray(self.targets[self.rows] > 0.5, np.uint8)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The sources of some rows, [n, S, S, 3].

        Raises:
            DataError: one has changed since the cache was opened.
        """
        sources = self.sources[rows]
        if self.checksums is not None:
            self._compare_checksums(rows, sources, self.checksums)
        return sources

    def _compare_checksums(
        self,
        rows: NDArray[np.int64],
        sources: NDArray[np.uint8],
        checksums: NDArray[np.uint32],
    ) -> None:
        """Raise a DataError if a source differs from its checksum."""
        for row, source in zip(rows, sources, strict=True):
            if zlib.crc32(source.data) != checksums[row]:
                raise DataError(
                    f"the cached pixels of {self.image_names[row]!r} have changed since the "
                    "training began: nothing else may write to the cache; go on with --resume, "
                    "which rebuilds it"
                )


@dataclass(frozen=True)
class Batch:
    """Images [B, 3, S, S] in 0..1, targets [B, L], the photographs' names.

    `index` is the batch's number in its epoch, from 0. Where processes share a batch, `image_names`
    are those of all its photographs, and `share` is how much of it these are, 0..1.
    """

    index: int
    images: Tensor
    targets: Tensor
    image_names: tuple[str, ...]
    share: float = 1.0


def seed_for(seed: int, *names: str | int) -> int:
    """A seed of 63 bits, derived from a run's seed and the names of its purpose."""
    text = "/".join(str(part) for part in (seed, *names))
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def batch_count(photographs: int, batch_size: int) -> int:
    """The number of batches of an epoch; their sizes differ by at most one.

    None has a single photograph, which batch norms over one value cannot take, unless the batch
    size is 1: an odd number in pairs has a batch of three.

    >>> batch_count(45, 8)
    6
    >>> batch_count(5, 2)
    2
    """
    count = math.ceil(photographs / batch_size)
    if batch_size > 1:
        count = min(count, photographs // 2)
    return max(1, count)


def epoch_batches(
    part: DatasetPart,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    first: int = 0,
    share: Share = WHOLE,
) -> Iterator[Batch]:
    """One epoch of augmented batches in random order, from batch `first` on.

    Before each batch torch's global generator is seeded for it, because dropout draws from it;
    processes that share a batch draw each its own.

    Args:
        part: the photographs.
        augmentation: of their sources.
        batch_size: the greatest number of photographs of a batch (but see `batch_count`).
        seed: of the epoch.
        device: of the batches.
        first: index of the first batch to yield.
        share: of every batch, which is augmented as in the whole one.
    """
    # The order is drawn as a whole, so that a later start sees the same batches.
    order = np.random.Generator(np.random.PCG64(seed)).permutation(part.rows)
    batches = np.array_split(order, batch_count(len(order), batch_size))

    for index in range(first, len(batches)):
        rows = batches[index]
        own = share.of(len(rows))
        sources = torch.from_numpy(part.read(rows[own])).to(device, non_blocking=True)
        images = augmentation(
            sources,
            seed_for(seed, "augmentation", index),
            first=own.start,
            batch_size=len(rows),
        )

        # For the dropout of the network that gets this batch.
        process = () if share == WHOLE else (share.index,)
        torch.manual_seed(seed_for(seed, "network", index, *process))
        batch = _batch(part, index, rows[own], images)
        all_names = tuple(part.image_names[row] for row in rows)
        yield replace(batch, image_names=all_names, share=len(images) / len(rows))


def plain_batches(part: DatasetPart, *, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """All photographs of a part once, in order, not augmented."""
    for index, start in enumerate(range(0, len(part), batch_size)):
        rows = part.rows[start : start + batch_size]
        sources = torch.from_numpy(part.read(rows)).to(device)
        yield _batch(part, index, rows, sources_to_images(sources))


def _batch(part: DatasetPart, index: int, rows: NDArray[np.int64], images: Tensor) -> Batch:
    """The batch of some rows, whose images are read already."""
    targets = torch.from_numpy(part.targets[rows]).to(images.device)
    image_names = tuple(part.image_names[row] for row in rows)
    return Batch(index, images, targets, image_names)
