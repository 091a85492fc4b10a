"""Near-duplicates: photographs that are the same picture twice, and whether their labels agree.

Two photographs are near-duplicates when the grey values of their 32 x 32 thumbnails correlate by 0.93 or more, and
nine tenths of the thumbnails' 16 tiles by 0.75 or more each, so that different leaves in the same place on a plain
background don't count. On Plant Pathology 2021's 16,768 training photographs the 36 true pairs have 0.956 and 0.84
or more, the closest two different photographs 0.888 and 0.59.
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

_SIDE = 32
_TILES = 4
_ALIKE = 0.93
_ALIKE_TILE = 0.75
_FLAT = 1.0  # grey levels: a tile that varies less shows nothing
_BLOCK = 2048


@dataclass(frozen=True)
class NearDuplicate:
    """Two photographs that show the same picture: their rows' indices, and how alike they are (0.93..1)."""

    first: int
    second: int
    correlation: float

    def conflicting(self, table: Table) -> bool:
        """Whether the two have different labels."""
        return set(table.rows[self.first].labels) != set(table.rows[self.second].labels)


def near_duplicates(sources: NDArray[np.uint8]) -> list[NearDuplicate]:
    """All pairs of near-duplicates, most alike first.

    Args:
        sources: uint8 [N, S, S, 3], S at least 32.
    """
    grey = _grey(sources)
    thumbnails = _unit(grey)
    pairs = []
    for start in range(0, len(thumbnails), _BLOCK):
        correlation = thumbnails[start : start + _BLOCK] @ thumbnails[start:].T
        first, second = np.nonzero(correlation >= _ALIKE)
        for i, j in zip(first[first < second], second[first < second], strict=True):
            if _tiles_alike(grey[start + i], grey[start + j]):
                pairs.append(NearDuplicate(start + int(i), start + int(j), min(float(correlation[i, j]), 1.0)))
    return sorted(pairs, key=lambda pair: (-pair.correlation, pair.first, pair.second))


def near_duplicates_of(cache: Cache) -> list[NearDuplicate]:
    """`near_duplicates` of a cache's sources, looked for once and then kept beside them in `near-duplicates.json`.

    A file that is damaged, or of other photographs, is written anew; a folder that cannot be written to is no error.
    """
    path = cache.folder / "near-duplicates.json"
    made_of = f"{cache.digest} {_SIDE} {_TILES} {_ALIKE} {_ALIKE_TILE} {_FLAT}"
    known = _read_pairs(path, made_of)
    if known is not None:
        return known
    pairs = near_duplicates(cache.sources)
    entries = [list(astuple(pair)) for pair in pairs]
    with suppress(LeafzoomError):
        write_json(path, {"made_of": made_of, "pairs": entries, "sha256": _digest(entries)})
    return pairs


def _read_pairs(path: Path, made_of: str) -> list[NearDuplicate] | None:
    """The pairs that a file holds, or None where it is missing, damaged or made of something else."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["made_of"] != made_of or stored["sha256"] != _digest(stored["pairs"]):
            return None
        return [NearDuplicate(*pair) for pair in stored["pairs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(entries: list[list[float]]) -> str:
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def duplicate_groups(count: int, pairs: Sequence[NearDuplicate]) -> NDArray[np.int64]:
    """For each of `count` photographs the smallest index among all that are linked to it by pairs, [N]."""
    group = np.arange(count)
    for pair in pairs:
        low, high = sorted((group[pair.first], group[pair.second]))
        group[group == high] = low
    return group


def _grey(sources: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey block means, 32 x 32, float32 [N, 1024]."""
    thumbnails = np.empty((len(sources), _SIDE * _SIDE), np.float32)
    for thumbnail, source in zip(thumbnails, sources, strict=True):
        grey = Image.fromarray(source).convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        thumbnail[:] = np.asarray(grey, np.float32).ravel()
    return thumbnails


def _tiles_alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether nine tenths of the tiles that show anything in either of two thumbnails [1024] correlate."""
    width = _SIDE // _TILES
    tiles = np.stack([first, second]).reshape(2, _TILES, width, _TILES, width).transpose(0, 1, 3, 2, 4)
    tiles = tiles.reshape(2, _TILES * _TILES, width * width)
    shown = tiles.std(axis=2).max(axis=0) >= _FLAT
    correlation = (_unit(tiles[0]) * _unit(tiles[1])).sum(axis=1)[shown]
    return bool(len(correlation) and np.quantile(correlation, 0.1) >= _ALIKE_TILE)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of zero mean and unit norm; a flat one becomes zero."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norm < 1e-3, np.inf, norm), np.float32)
