"""Every photograph of a table decoded once: a memory-mapped uint8 file of sources, with checksums.

A cache is a folder with two files. `sources.u8` ([N, S, S, 3], raw) holds the sources of the
photographs that can be read; `cache.json` is the index (see `cache_index`). A lock keeps two
builders apart.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.cache_build import SOURCES_NAME, build_sources
from leafzoom.dataset.cache_index import INDEX_NAME, PREPARE_ADVICE, PhotoRecord, read_index
from leafzoom.dataset.table import Problem, Row, Table
from leafzoom.errors import DataError, LeafzoomError, needs_extra
from leafzoom.storage import cache_root, make_folder

with needs_extra("train", "building a cache"):
    from filelock import FileLock

__all__ = ["Cache", "build_cache", "default_cache_folder", "open_cache"]


@dataclass(frozen=True)
class Cache:
    """Sources of a table's photographs, in the table's order, checked against their checksums.

    `table` has the rows whose photographs can be read, and all problems. `sources`: uint8
    [N, S, S, 3], memory-mapped, read-only. `photo_sizes`: [N, 2], width and height of the upright
    photo in pixels. `checksums`: CRC-32 of each source, [N]. `digest`: a hash of the names and
    checksums.
    """

    folder: Path
    table: Table
    sources: NDArray[np.uint8]
    photo_sizes: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    digest: str


def default_cache_folder(data: Path, csv: Path, source_size: int) -> Path:
    """The folder of a table's cache without --cache: below `$LEAFZOOM_CACHE` or `~/.cache`."""
    # Tables of the same name in other folders have other caches.
    paths = f"{data.resolve()}\t{csv.resolve()}"
    key = hashlib.sha256(os.fsencode(paths)).hexdigest()[:12]
    return cache_root() / f"{data.resolve().name}-{key}-{source_size}"


def build_cache(
    table: Table,
    folder: Path,
    source_size: int,
    *,
    workers: int | None = None,
    echo: Callable[[str], None] = lambda line: None,
) -> Cache:
    """The cache of a table's photographs, built if it is missing, incomplete, damaged or outdated.

    Photographs that cannot be read become problems of the returned cache's table, not errors.

    Args:
        table: the photographs; rows with problems are left out.
        folder: of the cache.
        source_size: S, the side of a source in pixels.
        workers: processes that decode; by default one a core.
        echo: gets a line that says why an existing cache cannot be used.

    Raises:
        LeafzoomError: the folder cannot be written or has too little room; or a process that
            decodes has imported the caller's script, which lacks `if __name__ == "__main__":`.
    """
    # A whole cache is used as it is, without the lock.
    try:
        return open_cache(table, folder, source_size)
    except DataError:
        _make_cache_folder(folder)

    # A process that decodes must not build: its parent holds the lock and waits for it.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise LeafzoomError(
            "the processes that decode photographs import the script that started them, and this "
            'script decodes on import: put what it does below `if __name__ == "__main__":`'
        )

    with FileLock(folder / "lock"):
        # Another process may have built it in the meantime.
        try:
            return open_cache(table, folder, source_size)
        except DataError as error:
            if (folder / INDEX_NAME).exists():
                echo(f"{str(error).removesuffix(PREPARE_ADVICE)}: the cache is rebuilt")

        build_sources(table.rows, folder, source_size, workers or os.cpu_count() or 1)
        return open_cache(table, folder, source_size)


def _make_cache_folder(folder: Path) -> None:
    try:
        make_folder(folder)
    except LeafzoomError as error:
        raise LeafzoomError(
            f"the cache cannot be made: {error}, with --cache or the variable LEAFZOOM_CACHE"
        ) from error


def open_cache(table: Table, folder: Path, source_size: int) -> Cache:
    """The cache of a table's photographs, every source compared with its checksum.

    Raises:
        DataError: there is none, it was made for other photographs or another size, or it is
            damaged.
    """
    all_records = read_index(folder, table.rows, source_size)
    readable_table, records = _readable(table, all_records)

    # Only what can be read has a source.
    path = folder / SOURCES_NAME
    sources = _map_sources(path, len(records), source_size)
    _check_sources(path, readable_table.rows, records, sources)

    photo_sizes = [(record.width, record.height) for record in records]
    return Cache(
        folder=folder,
        table=readable_table,
        sources=sources,
        photo_sizes=np.array(photo_sizes, np.int64).reshape(-1, 2),
        checksums=np.array([record.checksum for record in records], np.uint32),
        digest=_photographs_digest(readable_table.rows, records),
    )


def _readable(table: Table, records: Sequence[PhotoRecord]) -> tuple[Table, list[PhotoRecord]]:
    """The table of the photographs that can be read, the others as problems; their records."""
    rows = []
    readable_records = []
    problems = list(table.problems)
    for row, record in zip(table.rows, records, strict=True):
        if record.error:
            problems.append(Problem(table.csv, row.line, row.image_name, record.error))
        else:
            rows.append(row)
            readable_records.append(record)

    problems.sort(key=lambda problem: problem.line)
    readable = replace(table, rows=tuple(rows), problems=tuple(problems))
    return readable, readable_records


def _map_sources(path: Path, count: int, source_size: int) -> NDArray[np.uint8]:
    """The file of sources, memory-mapped as uint8 [N, S, S, 3]."""
    shape = (count, source_size, source_size, 3)
    if not path.is_file() or path.stat().st_size != int(np.prod(shape)):
        raise DataError(f"the cache file {path} is incomplete{PREPARE_ADVICE}")

    # An empty file cannot be mapped.
    if not count:
        return np.zeros(shape, np.uint8)
    return np.memmap(path, np.uint8, "r", shape=shape)


def _check_sources(
    path: Path, rows: Sequence[Row], records: Sequence[PhotoRecord], sources: NDArray[np.uint8]
) -> None:
    """Raise a DataError if a source differs from its checksum."""
    for row, record, source in zip(rows, records, sources, strict=True):
        if zlib.crc32(source.data) != record.checksum:
            raise DataError(
                f"the cache file {path} is damaged at {row.image_name!r}{PREPARE_ADVICE}"
            )


def _photographs_digest(rows: Sequence[Row], records: Sequence[PhotoRecord]) -> str:
    """A hash of the photographs' names and the checksums of their sources."""
    lines = [
        f"{row.image_name} {record.checksum:08x}" for row, record in zip(rows, records, strict=True)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
