"""Parts of the rendered leaves' cache."""

from __future__ import annotations

import numpy as np

from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.cache import Cache


def part_of(cache: Cache, photographs: int) -> DatasetPart:
    """The first photographs of a cache, with targets of zeros."""
    names = cache.table.image_names
    return DatasetPart(
        sources=cache.sources,
        targets=np.zeros((len(names), 3), np.uint8),
        image_names=names,
        rows=np.arange(photographs),
    )
