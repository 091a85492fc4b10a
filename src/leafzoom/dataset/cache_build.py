"""Decode every photograph of a table into a cache's file, by several processes.

Sources are written to `sources.u8.partial`, which has room for every photograph; `journal.jsonl`
has a line for each chunk that is done. An interrupted build resumes from these two.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from leafzoom.dataset.cache_index import (
    INDEX_NAME,
    PhotoRecord,
    cache_key,
    records_digest,
    write_index,
)
from leafzoom.dataset.table import Row
from leafzoom.errors import LeafzoomError, PhotoError
from leafzoom.photo import read_source
from leafzoom.storage import remove_partial, replacing

__all__ = ["SOURCES_NAME", "build_sources"]

SOURCES_NAME = "sources.u8"

_CHUNK_SIZE = 64  # photographs that a process decodes at a time
_DISK_BLOCK_BYTES = 512  # unit of st_blocks


@dataclass(frozen=True)
class _Build:
    """The files of one build, and the sizes of what it writes."""

    rows: tuple[Row, ...]
    folder: Path
    source_size: int
    key: str

    @property
    def partial(self) -> Path:
        """The file of all sources while it is incomplete."""
        return self.folder / f"{SOURCES_NAME}.partial"

    @property
    def journal(self) -> Path:
        """The file that has a line for each decoded chunk."""
        return self.folder / "journal.jsonl"

    @property
    def journal_head(self) -> str:
        """The journal's first line."""
        return json.dumps({"key": self.key})

    @property
    def source_bytes(self) -> int:
        """Bytes of one source."""
        return self.source_size * self.source_size * 3

    @property
    def total_bytes(self) -> int:
        """Bytes of the sources of all rows."""
        return len(self.rows) * self.source_bytes

    @property
    def chunk_starts(self) -> range:
        """The first row of every chunk."""
        return range(0, len(self.rows), _CHUNK_SIZE)


@dataclass(frozen=True)
class _ChunkTask:
    """Photographs that one process decodes: consecutive rows, the first of them `start`."""

    start: int
    paths: tuple[Path, ...]
    partial: Path
    source_size: int


@dataclass(frozen=True)
class _Chunk:
    """The records of consecutive rows whose sources are written, the first of them `start`."""

    start: int
    records: list[PhotoRecord]

    def to_line(self) -> str:
        """A line of the journal."""
        entry = {
            "start": self.start,
            "records": [vars(record) for record in self.records],
            "sha256": records_digest(self.records, self.start),
        }
        return json.dumps(entry) + "\n"

    @classmethod
    def from_line(cls, line: str) -> _Chunk | None:
        """The chunk of a journal's line; None if the line is cut off or damaged."""
        try:
            entry = json.loads(line)
            chunk = cls(entry["start"], [PhotoRecord(**record) for record in entry["records"]])
            is_whole = entry["sha256"] == records_digest(chunk.records, chunk.start)
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return chunk if is_whole else None


def build_sources(rows: tuple[Row, ...], folder: Path, source_size: int, workers: int) -> None:
    """Decode photographs into `sources.u8`, then write the index; resume an interrupted build.

    Photographs that cannot be read have a record with an error and no source.

    Args:
        rows: of the photographs.
        folder: of the cache; locked by the caller.
        source_size: S, the side of a source in pixels.
        workers: the number of processes.

    Raises:
        LeafzoomError: the disk is full or cannot be written, or a process that decodes was killed.
    """
    build = _Build(rows, folder, source_size, cache_key(rows, source_size))

    # Without its index, nobody takes the cache for complete while it is rebuilt.
    (folder / INDEX_NAME).unlink(missing_ok=True)
    remove_partial(folder)

    # Each step leaves files that the next build can resume from.
    try:
        done = _resume(build)
        _reserve_space(build)
        records = _decode_missing(build, done, workers)
        _finish_sources(build, records)
    except OSError as error:
        raise LeafzoomError(
            f"cannot build the cache in {folder}: {error.strerror or error}"
        ) from error
    except BrokenProcessPool as error:
        raise LeafzoomError(
            f"a process that decodes photographs into {folder} was ended. If a script without "
            '`if __name__ == "__main__":` started it, put what it does below that; else (too '
            "little memory?) run the command again, it goes on where it stopped"
        ) from error

    # The index comes last: with it the cache is complete.
    write_index(folder, build.key, records)
    build.journal.unlink(missing_ok=True)


def _resume(build: _Build) -> list[_Chunk]:
    """The chunks that an interrupted build has finished.

    Afterwards the journal holds these, and the partial file exists.
    """
    chunks = _read_journal(build)
    if chunks is None:
        chunks = []
        build.partial.write_bytes(b"")

    # Written again without its damaged lines.
    lines = [build.journal_head + "\n", *(chunk.to_line() for chunk in chunks)]
    build.journal.write_text("".join(lines), encoding="utf-8")
    return chunks


def _read_journal(build: _Build) -> list[_Chunk] | None:
    """The journal's chunks up to the first damaged line.

    None if there is no build to resume: no partial file of the right size, or the journal of other
    photographs.
    """
    if not build.partial.is_file() or build.partial.stat().st_size != build.total_bytes:
        return None
    if not build.journal.is_file():
        return None

    # The first line tells which photographs and sizes the journal is of.
    lines = build.journal.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0] != build.journal_head:
        return None

    # The interruption may have cut off the last line.
    chunks: dict[int, _Chunk] = {}
    for line in lines[1:]:
        chunk = _Chunk.from_line(line)
        if chunk is None or chunk.start not in build.chunk_starts:
            break
        chunks[chunk.start] = chunk
    return list(chunks.values())


def _reserve_space(build: _Build) -> None:
    """Give the partial file its full size; a LeafzoomError if the disk has too little room."""
    # An interrupted build has part of its room already.
    allocated_bytes = _allocated_bytes(build.partial)
    free_bytes = shutil.disk_usage(build.folder).free
    if build.total_bytes - allocated_bytes > free_bytes:
        raise LeafzoomError(
            f"the cache needs {build.total_bytes / 1e9:.1f} GB and {build.folder} has "
            f"{free_bytes / 1e9:.1f} GB free: make room, or choose another folder "
            "with --cache or the variable LEAFZOOM_CACHE"
        )

    # A sparse file: its blocks are allocated when sources are written.
    with build.partial.open("r+b") as file:
        file.truncate(build.total_bytes)


def _allocated_bytes(path: Path) -> int:
    """Bytes that a (sparse) file takes on the disk; 0 if the system does not say (Windows)."""
    blocks = int(getattr(path.stat(), "st_blocks", 0))
    return blocks * _DISK_BLOCK_BYTES


def _decode_missing(build: _Build, done: Sequence[_Chunk], workers: int) -> list[PhotoRecord]:
    """Decode the chunks that are not done, with a line of the journal each; all rows' records."""
    # What is left to do.
    records_by_start = {chunk.start: chunk.records for chunk in done}
    tasks = []
    for start in build.chunk_starts:
        if start not in records_by_start:
            paths = tuple(row.path for row in build.rows[start : start + _CHUNK_SIZE])
            tasks.append(_ChunkTask(start, paths, build.partial, build.source_size))

    # The bar counts photographs and starts at those that are done.
    missing = sum(len(task.paths) for task in tasks)
    total = len(build.rows)
    with (
        build.journal.open("a", encoding="utf-8") as journal,
        tqdm(
            total=total, initial=total - missing, unit="photo", desc="decoding", disable=None
        ) as progress,
    ):
        # A chunk is in the journal only after its sources are in the file.
        for chunk in _decode_chunks(tasks, workers):
            journal.write(chunk.to_line())
            journal.flush()
            records_by_start[chunk.start] = chunk.records
            progress.update(len(chunk.records))

    return [record for start in build.chunk_starts for record in records_by_start[start]]


def _decode_chunks(tasks: Sequence[_ChunkTask], workers: int) -> Iterator[_Chunk]:
    """Decode chunks in order, by several processes if there is enough work."""
    if workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield _decode_chunk(task)
        return

    # Not forked: the caller may have threads, of torch for example.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_decode_chunk, tasks)


def _decode_chunk(task: _ChunkTask) -> _Chunk:
    """Decode consecutive photographs and write their sources; an unreadable one stays black."""
    size = task.source_size
    sources = np.zeros((len(task.paths), size, size, 3), np.uint8)
    records = []
    for source, path in zip(sources, task.paths, strict=True):
        try:
            decoded = read_source(path, size)
        except PhotoError as error:
            # The problem's row names the file.
            message = str(error).removeprefix(str(path)).strip()
            records.append(PhotoRecord(zlib.crc32(source.data), 0, 0, message))
            continue

        source[:] = decoded.pixels
        records.append(PhotoRecord(zlib.crc32(source.data), *decoded.photo_size))

    # Every process writes to its own part of the same file.
    with task.partial.open("r+b") as file:
        file.seek(task.start * size * size * 3)
        file.write(sources.tobytes())
    return _Chunk(task.start, records)


def _finish_sources(build: _Build, records: Sequence[PhotoRecord]) -> None:
    """Make `sources.u8` of the partial file, without the photographs that cannot be read."""
    readable = [row for row, record in enumerate(records) if not record.error]
    sources = build.folder / SOURCES_NAME

    # The usual case is a rename; otherwise the file is copied without the gaps.
    if len(readable) < len(records):
        _copy_sources(build, sources, readable)
        build.partial.unlink()
    else:
        with build.partial.open("r+b") as file:
            os.fsync(file.fileno())
        build.partial.replace(sources)


def _copy_sources(build: _Build, sources: Path, rows: Sequence[int]) -> None:
    """Copy the sources of some rows one by one, so that they never fill the memory."""
    with (
        replacing(sources) as temporary,
        build.partial.open("rb") as partial,
        temporary.open("wb") as copy,
    ):
        for row in rows:
            partial.seek(row * build.source_bytes)
            copy.write(partial.read(build.source_bytes))
