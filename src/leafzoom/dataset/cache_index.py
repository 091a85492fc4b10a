"""The index of a cache, `cache.json`: what is known of every photograph besides its pixels.

It holds a key of the photographs' files, a record a photograph, and a hash of these records. It is
written last, so a folder that has one is complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leafzoom.dataset.table import Row
from leafzoom.errors import DataError
from leafzoom.photo import PREPROCESSING
from leafzoom.storage import write_json

__all__ = [
    "INDEX_NAME",
    "PREPARE_ADVICE",
    "PhotoRecord",
    "cache_key",
    "read_index",
    "records_digest",
    "write_index",
]

INDEX_NAME = "cache.json"
PREPARE_ADVICE = ": run leafzoom prepare"


@dataclass(frozen=True)
class PhotoRecord:
    """One photograph: CRC-32 of its source, and the size of the upright photo in pixels.

    If it cannot be read, `error` says why, and the size is 0 x 0. The names are those of the JSON.
    """

    checksum: int
    width: int
    height: int
    error: str = ""


def cache_key(rows: Iterable[Row], source_size: int) -> str:
    """A hash of what a cache depends on.

    These are the files (name, size, time), the source's side in pixels, and the preprocessing.
    """
    parts = [f"{PREPROCESSING} {source_size}"]
    for row in rows:
        status = row.path.stat()
        parts.append(f"{row.image_name}\t{status.st_size}\t{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def records_digest(records: Sequence[PhotoRecord], start: int = 0) -> str:
    """A hash of the records of consecutive photographs, the first of them in row `start`."""
    content = [start, *(vars(record) for record in records)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_index(folder: Path, rows: Sequence[Row], source_size: int) -> list[PhotoRecord]:
    """The records of the rows' photographs.

    Raises:
        DataError: there is no index, it was made for other photographs or another size, or it is
            damaged.
    """
    index = _load(folder)
    if not isinstance(index, dict) or index.get("key") != cache_key(rows, source_size):
        raise DataError(
            f"the cache {folder} was made for other photographs or sizes{PREPARE_ADVICE}"
        )

    try:
        records = [PhotoRecord(**record) for record in index["photographs"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"the cache {folder} has a damaged index{PREPARE_ADVICE}") from error

    # Older indexes have no hash of their own.
    is_whole = index.get("sha256") in (None, records_digest(records))
    if len(records) != len(rows) or not is_whole:
        raise DataError(f"the cache {folder} has a damaged index{PREPARE_ADVICE}")
    return records


def write_index(folder: Path, key: str, records: Sequence[PhotoRecord]) -> None:
    """Write the index of a cache with this `cache_key`."""
    content = {
        "key": key,
        "photographs": [vars(record) for record in records],
        "sha256": records_digest(records),
    }
    write_json(folder / INDEX_NAME, content)


def _load(folder: Path) -> Any:
    """The index's JSON, whatever it holds."""
    try:
        return json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no cache in {folder}{PREPARE_ADVICE}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the cache {folder} cannot be read ({error}){PREPARE_ADVICE}") from error
