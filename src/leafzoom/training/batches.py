"""Batches of augmented pictures, every random draw of which comes from (seed, stage, epoch, batch).

So a training that goes on in the middle of an epoch sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafzoom.dataset.augmentation import Augmentation, to_float
from leafzoom.errors import DataError

__all__ = ["Batch", "Photographs", "batch_count", "epoch_batches", "plain_batches", "seed_for"]


@dataclass(frozen=True)
class Photographs:
    """A part of a data set: sources uint8 [N, S, S, 3] (memory-mapped), targets [N, L], names, and which rows.

    `rows`: [n], the part's indices into sources, targets and names. Targets are 0 or 1, or soft labels (float32).
    `checksums`: CRC-32 of every source, [N], which is compared whenever one is read, for a training reads the cache's
    file for hours; None: not compared.
    """

    sources: NDArray[np.uint8]
    targets: NDArray[np.uint8] | NDArray[np.float32]
    images: tuple[str, ...]
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
            DataError: one is not what it was when the cache was opened.
        """
        sources = self.sources[rows]
        if self.checksums is not None:
            for row, source in zip(rows, sources, strict=True):
                if zlib.crc32(source.data) != self.checksums[row]:
                    raise DataError(
                        f"the cached pixels of {self.images[row]!r} have changed since the training began: nothing "
                        "else may write to the cache; go on with --resume, which builds it anew"
                    )
        return sources


@dataclass(frozen=True)
class Batch:
    """Pictures [B, 3, S, S] in 0..1, targets [B, L], the batch's place in its epoch, the photographs' names."""

    index: int
    pictures: Tensor
    targets: Tensor
    images: tuple[str, ...]


def seed_for(seed: int, *names: str | int) -> int:
    """A seed of 63 bits that depends on a run's seed and on what it is for."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def batch_count(photographs: int, batch_size: int) -> int:
    """How many batches an epoch has; they differ in size by one at the most, so none is tiny."""
    return max(1, -(-photographs // batch_size))


def epoch_batches(
    photographs: Photographs,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    first: int = 0,
) -> Iterator[Batch]:
    """One epoch of augmented batches in random order, from batch `first` on.

    Before each batch is given out, torch's global generator is seeded for it (dropout draws from it).
    """
    order = np.random.Generator(np.random.PCG64(seed)).permutation(photographs.rows)
    batches = np.array_split(order, batch_count(len(order), batch_size))
    for index in range(first, len(batches)):
        rows = batches[index]
        sources = torch.from_numpy(photographs.read(rows)).to(device, non_blocking=True)
        pictures = augmentation(sources, seed_for(seed, "augmentation", index))
        targets = torch.from_numpy(photographs.targets[rows]).to(device)
        torch.manual_seed(seed_for(seed, "network", index))
        yield Batch(index, pictures, targets, tuple(photographs.images[row] for row in rows))


def plain_batches(photographs: Photographs, *, batch_size: int, device: torch.device) -> Iterator[Batch]:
    """All photographs of a part once, in order, not augmented."""
    for index, start in enumerate(range(0, len(photographs), batch_size)):
        rows = photographs.rows[start : start + batch_size]
        pictures = to_float(torch.from_numpy(photographs.read(rows)).to(device))
        targets = torch.from_numpy(photographs.targets[rows]).to(device)
        yield Batch(index, pictures, targets, tuple(photographs.images[row] for row in rows))
