"""Near-duplicates: photographs that show the same picture, and whether their labels agree.

Two photographs are near-duplicates if the grey values of their 32 x 32 thumbnails correlate by 0.93
or more, and nine tenths of the thumbnails' 16 tiles by 0.75 or more each. The tiles tell apart
different leaves in the same position on a plain background. On Plant Pathology 2021's 16,768
training photographs, the 36 true pairs have correlations of 0.956 and 0.84 or more, the closest two
different photographs 0.888 and 0.59.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.table import Table
from leafzoom.errors import LeafzoomError
from leafzoom.storage import write_json

__all__ = ["NearDuplicate", "duplicate_groups", "near_duplicates", "near_duplicates_of"]

_THUMBNAIL_SIDE = 32
_TILES_PER_SIDE = 4
_MIN_CORRELATION = 0.93
_MIN_TILE_CORRELATION = 0.75
_TILE_QUANTILE = 0.1
_MIN_TILE_STD = 1.0  # grey levels: a tile that varies less shows nothing
_MIN_NORM = 1e-3
_ROWS_AT_ONCE = 2048


@dataclass(frozen=True)
class NearDuplicate:
    """Two photographs that show the same picture.

    `first`, `second`: indices of their rows. `correlation`: of their thumbnails, 0.93..1.
    """

    first: int
    second: int
    correlation: float

    def conflicting(self, table: Table) -> bool:
        """Whether the two have different labels."""
        return set(table.rows[self.first].labels) != set(table.rows[self.second].labels)


def near_duplicates(sources: NDArray[np.uint8]) -> list[NearDuplicate]:
    """Find all pairs of near-duplicates, highest correlation first.

    Args:
        sources: uint8 [N, S, S, 3], S at least 32.
    """
    thumbnails = _grey_thumbnails(sources)
    normalised = _normalise(thumbnails)

    pairs = []
    for start in range(0, len(normalised), _ROWS_AT_ONCE):
        # A block of rows against themselves and all later ones: each pair is seen once as i < j.
        correlation = normalised[start : start + _ROWS_AT_ONCE] @ normalised[start:].T
        first, second = np.nonzero(correlation >= _MIN_CORRELATION)
        is_pair = first < second

        # Different leaves in the same position can pass so far: their tiles decide.
        for i, j in zip(first[is_pair], second[is_pair], strict=True):
            if _tiles_correlate(thumbnails[start + i], thumbnails[start + j]):
                clipped = min(float(correlation[i, j]), 1.0)
                pairs.append(NearDuplicate(start + int(i), start + int(j), clipped))
    return sorted(pairs, key=lambda pair: (-pair.correlation, pair.first, pair.second))


def near_duplicates_of(cache: Cache) -> list[NearDuplicate]:
    """Read the near-duplicates of a cache's sources, or find and store them the first time.

    They are stored in `near-duplicates.json` in the cache's folder. A file that is damaged or of
    other photographs is written again; a folder that cannot be written to is no error.
    """
    path = cache.folder / "near-duplicates.json"

    # Stored pairs hold only for the same photographs and the same limits.
    settings = (
        _THUMBNAIL_SIDE,
        _TILES_PER_SIDE,
        _MIN_CORRELATION,
        _MIN_TILE_CORRELATION,
        _MIN_TILE_STD,
    )
    made_of = " ".join([cache.digest, *map(str, settings)])

    stored = _read_pairs(path, made_of)
    if stored is not None:
        return stored

    pairs = near_duplicates(cache.sources)
    entries = [list(astuple(pair)) for pair in pairs]
    with suppress(LeafzoomError):
        write_json(path, {"made_of": made_of, "pairs": entries, "sha256": _digest(entries)})
    return pairs


def duplicate_groups(count: int, pairs: Sequence[NearDuplicate]) -> NDArray[np.int64]:
    """The group of each of `count` photographs, [N].

    A group is named by the smallest index among all photographs that pairs link together.
    """
    groups = np.arange(count)
    for pair in pairs:
        low, high = sorted((groups[pair.first], groups[pair.second]))
        groups[groups == high] = low
    return groups


def _read_pairs(path: Path, made_of: str) -> list[NearDuplicate] | None:
    """The pairs of a file, or None where it is missing, damaged or made of something else."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["made_of"] != made_of or stored["sha256"] != _digest(stored["pairs"]):
            return None
        return [NearDuplicate(*pair) for pair in stored["pairs"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _digest(entries: list[list[float]]) -> str:
    """A hash of the pairs in a file."""
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def _grey_thumbnails(sources: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey block means of sources, 32 x 32 in one row each: float32 [N, 1024]."""
    size = (_THUMBNAIL_SIDE, _THUMBNAIL_SIDE)
    thumbnails = np.empty((len(sources), _THUMBNAIL_SIDE * _THUMBNAIL_SIDE), np.float32)

    for thumbnail, source in zip(thumbnails, sources, strict=True):
        grey = Image.fromarray(source).convert("L").resize(size, Image.Resampling.BOX)
        thumbnail[:] = np.asarray(grey, np.float32).ravel()
    return thumbnails


def _tiles_correlate(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether nine tenths of the tiles with detail in either thumbnail [1024] correlate."""
    tiles = _tiles(np.stack([first, second]))

    # Flat tiles, such as those of a plain background, are left out.
    has_detail = tiles.std(axis=2).max(axis=0) >= _MIN_TILE_STD
    correlation = (_normalise(tiles[0]) * _normalise(tiles[1])).sum(axis=1)[has_detail]
    if not len(correlation):
        return False
    return bool(np.quantile(correlation, _TILE_QUANTILE) >= _MIN_TILE_CORRELATION)


def _tiles(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thumbnails [n, 1024] cut into tiles [n, 16, 64]."""
    count = len(thumbnails)
    side = _THUMBNAIL_SIDE // _TILES_PER_SIDE

    # One axis for the tile and one for the pixel in it, down and across.
    grid = thumbnails.reshape(count, _TILES_PER_SIDE, side, _TILES_PER_SIDE, side)
    tiles = grid.transpose(0, 1, 3, 2, 4)
    return tiles.reshape(count, _TILES_PER_SIDE * _TILES_PER_SIDE, side * side)


def _normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of zero mean and unit norm; a flat one becomes zero."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norm < _MIN_NORM, np.inf, norm), np.float32)
