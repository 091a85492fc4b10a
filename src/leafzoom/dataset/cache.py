"""Every photograph of a table decoded once: a memory-mapped uint8 file of sources, with checksums.

A cache is a folder: `sources.u8` ([N, S, S, 3], raw, of the photographs that can be read) and `cache.json` (names,
sizes and times of the files, a CRC-32 a source, the preprocessing's version, a hash of these entries). It is built by
several processes in `sources.u8.partial`, which has a place for every photograph, with a journal of what is done:
an interrupted build goes on where it stopped. A lock keeps two builders apart; `cache.json` is written last, so a
folder that has one is whole.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leafzoom.dataset.table import Problem, Row, Table
from leafzoom.errors import DataError, LeafzoomError, PhotoError, needs_extra
from leafzoom.photo import PREPROCESSING, read_source
from leafzoom.storage import make_folder, remove_partial, replacing, write_json

with needs_extra("train", "building a cache"):
    from filelock import FileLock

__all__ = ["Cache", "build_cache", "default_cache_folder", "open_cache"]

_CHUNK = 64
_ADVICE = ": run leafzoom prepare"
_GUARD = (
    "the processes that decode photographs import the script that started them, and this script decodes on import: "
    'put what it does below `if __name__ == "__main__":`'
)


@dataclass(frozen=True)
class Cache:
    """Sources of a table's photographs, in the table's order, checked against their checksums.

    `sources`: uint8 [N, S, S, 3], memory-mapped, read-only. `photo_sizes`: [N, 2] width and height of the
    upright photo in pixels. `checksums`: CRC-32 of each source, [N]. `table` has the rows whose photographs can be
    read, and all problems.
    """

    folder: Path
    table: Table
    sources: NDArray[np.uint8]
    photo_sizes: NDArray[np.int64]
    checksums: NDArray[np.uint32]
    digest: str


@dataclass(frozen=True)
class _Decoded:
    """What is kept of one photograph beside its pixels; `error` instead where it cannot be read."""

    checksum: int
    width: int
    height: int
    error: str = ""


def default_cache_folder(data: Path, csv: Path, source_size: int) -> Path:
    """Where the cache of a data folder's table is, unless the caller says: below `$LEAFZOOM_CACHE` or `~/.cache`."""
    root = os.environ.get("LEAFZOOM_CACHE") or Path.home() / ".cache" / "leafzoom"
    key = hashlib.sha256(f"{data.resolve()}\t{csv.resolve()}".encode()).hexdigest()[:12]
    return Path(root) / f"{data.resolve().name}-{key}-{source_size}"


def build_cache(
    table: Table,
    folder: Path,
    source_size: int,
    *,
    workers: int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Cache:
    """The cache of a table's photographs, built where it is missing, incomplete, damaged or out of date.

    Photographs that cannot be read become problems of the returned cache's table, not errors.

    Args:
        table: the photographs; rows that are problems already are passed over.
        folder: where the cache is or will be.
        source_size: S, the side of a source in pixels.
        workers: processes that decode; as many as there are cores by default.
        say: told why a cache that is there cannot be used.

    Raises:
        LeafzoomError: the folder cannot be written, or has too little room; or a process that decodes has come here
            while importing the caller's script, which then lacks `if __name__ == "__main__":`.
    """
    try:
        return open_cache(table, folder, source_size)
    except DataError:
        make_folder(folder)
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # its parent holds the lock and waits for it
        raise LeafzoomError(_GUARD)
    with FileLock(folder / "lock"):
        try:
            return open_cache(table, folder, source_size)
        except DataError as error:
            if (folder / "cache.json").exists():
                say(f"{str(error).removesuffix(_ADVICE)}: it is built anew")
            _build(table.rows, folder, source_size, workers or os.cpu_count() or 1)
            return open_cache(table, folder, source_size)


def open_cache(table: Table, folder: Path, source_size: int) -> Cache:
    """The cache of a table's photographs, every source compared with its checksum.

    Raises:
        DataError: there is none, it was made for other photographs or another size, or it is damaged.
    """
    try:
        index = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"no cache in {folder}{_ADVICE}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"the cache {folder} cannot be read ({error}){_ADVICE}") from error
    if not isinstance(index, dict) or index.get("key") != _key(table.rows, source_size):
        raise DataError(f"the cache {folder} was made for other photographs or sizes{_ADVICE}")
    try:
        records = [_Decoded(**record) for record in index["photographs"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"the cache {folder} has a damaged index{_ADVICE}") from error
    # Older indexes have no hash of their own.
    if len(records) != len(table.rows) or index.get("sha256") not in (None, _digest(records)):
        raise DataError(f"the cache {folder} has a damaged index{_ADVICE}")
    pairs = list(zip(table.rows, records, strict=True))
    bad = tuple(Problem(table.csv, row.line, row.image, record.error) for row, record in pairs if record.error)
    rows = tuple(row for row, record in pairs if not record.error)
    records = [record for record in records if not record.error]
    shape = (len(records), source_size, source_size, 3)
    path = folder / "sources.u8"
    if not path.is_file() or path.stat().st_size != int(np.prod(shape)):
        raise DataError(f"the cache file {path} is incomplete{_ADVICE}")
    sources = np.memmap(path, np.uint8, "r", shape=shape) if records else np.zeros(shape, np.uint8)
    for row, source, record in zip(rows, sources, records, strict=True):
        if zlib.crc32(source.data) != record.checksum:
            raise DataError(f"the cache file {path} is damaged at {row.image!r}{_ADVICE}")
    checksums = "\n".join(f"{row.image} {record.checksum:08x}" for row, record in zip(rows, records, strict=True))
    return Cache(
        folder=folder,
        table=Table(table.csv, rows, tuple(sorted(table.problems + bad, key=lambda p: p.line))),
        sources=sources,
        checksums=np.array([record.checksum for record in records], np.uint32),
        photo_sizes=np.array([(record.width, record.height) for record in records], np.int64).reshape(-1, 2),
        digest=hashlib.sha256(checksums.encode()).hexdigest(),
    )


def _key(rows: Iterable[Row], source_size: int) -> str:
    """A hash of what a cache depends on: the files (name, size, time), the source's side, the preprocessing."""
    parts = [f"{PREPROCESSING} {source_size}"]
    for row in rows:
        status = row.path.stat()
        parts.append(f"{row.image}\t{status.st_size}\t{status.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _digest(records: list[_Decoded], start: int = 0) -> str:
    """A hash of what an index says of all photographs, or a journal of those from `start` on."""
    return hashlib.sha256(json.dumps([start, *(vars(record) for record in records)]).encode()).hexdigest()


def _build(rows: tuple[Row, ...], folder: Path, source_size: int, workers: int) -> None:
    """Decode what the journal does not have yet, then put the finished file and its index in place."""
    key = _key(rows, source_size)
    (folder / "cache.json").unlink(missing_ok=True)
    remove_partial(folder)
    partial, journal = folder / "sources.u8.partial", folder / "journal.jsonl"
    size = len(rows) * source_size * source_size * 3
    try:
        done = _resume(partial, journal, key, size, len(rows))
        free = shutil.disk_usage(folder).free
        if size - _allocated(partial) > free:
            raise LeafzoomError(
                f"the cache needs {size / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free: "
                "make room or choose another folder with --cache"
            )
        with partial.open("r+b") as file:
            file.truncate(size)
        todo = [start for start in range(0, len(rows), _CHUNK) if start not in done]
        with journal.open("a", encoding="utf-8") as log:
            for start, records in _decode_all(rows, todo, partial, source_size, workers):
                done[start] = records
                log.write(_journal_line(start, records))
                log.flush()
        records = [record for start in sorted(done) for record in done[start]]
        readable = [place for place, record in enumerate(records) if not record.error]
        if len(readable) < len(records):
            _copy(partial, folder / "sources.u8", readable, source_size)
            partial.unlink()
        else:
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
            partial.replace(folder / "sources.u8")
    except OSError as error:
        raise LeafzoomError(f"cannot build the cache in {folder}: {error.strerror or error}") from error
    except BrokenProcessPool as error:
        raise LeafzoomError(
            f"a process that decodes photographs into {folder} was ended. If a script without "
            '`if __name__ == "__main__":` started it, put what it does below that; else (too little memory?) run the '
            "command again, it goes on where it stopped"
        ) from error
    entries = [vars(record) for record in records]
    write_json(folder / "cache.json", {"key": key, "photographs": entries, "sha256": _digest(records)})
    journal.unlink(missing_ok=True)


def _copy(partial: Path, whole: Path, places: list[int], source_size: int) -> None:
    """Some of the sources of a partial file, in order, as a file: read one by one, so they never fill the memory."""
    length = source_size * source_size * 3
    with replacing(whole) as temporary, partial.open("rb") as given, temporary.open("wb") as copy:
        for place in places:
            given.seek(place * length)
            copy.write(given.read(length))


def _allocated(path: Path) -> int:
    """Bytes that a (sparse) file takes on the disk; 0 where the system does not say (Windows)."""
    return int(getattr(path.stat(), "st_blocks", 0)) * 512


def _resume(partial: Path, journal: Path, key: str, size: int, count: int) -> dict[int, list[_Decoded]]:
    """Chunks that an interrupted build of the same key had finished; starts both files anew where there is none."""
    done: dict[int, list[_Decoded]] = {}
    lines = journal.read_text(encoding="utf-8", errors="replace").splitlines() if journal.is_file() else []
    if partial.is_file() and partial.stat().st_size == size and lines and lines[0] == json.dumps({"key": key}):
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                start, records = entry["start"], [_Decoded(**record) for record in entry["records"]]
                if entry["sha256"] != _digest(records, start) or start not in range(0, count, _CHUNK):
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                break  # the line that the interruption cut off, or one that is damaged
            done[start] = records
    else:
        partial.write_bytes(b"")
    kept = [_journal_line(start, records) for start, records in done.items()]
    journal.write_text("".join([json.dumps({"key": key}) + "\n", *kept]), encoding="utf-8")
    return done


def _journal_line(start: int, records: list[_Decoded]) -> str:
    """What the journal says of a chunk that is done."""
    entry = {"start": start, "records": [vars(record) for record in records], "sha256": _digest(records, start)}
    return json.dumps(entry) + "\n"


def _decode_all(
    rows: tuple[Row, ...], starts: list[int], partial: Path, source_size: int, workers: int
) -> Iterator[tuple[int, list[_Decoded]]]:
    """Decode chunks of rows into the partial file by several processes; a progress bar in a terminal."""
    tasks = [(start, [row.path for row in rows[start : start + _CHUNK]], partial, source_size) for start in starts]
    with tqdm(total=len(rows), initial=len(rows) - sum(len(t[1]) for t in tasks), unit="photo",
              desc="decoding", disable=None) as bar:  # fmt: skip
        if workers <= 1 or len(tasks) <= 1:
            for task in tasks:
                yield task[0], _decode_chunk(task)
                bar.update(len(task[1]))
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for task, records in zip(tasks, pool.map(_decode_chunk, tasks), strict=True):
                yield task[0], records
                bar.update(len(task[1]))


def _decode_chunk(task: tuple[int, list[Path], Path, int]) -> list[_Decoded]:
    """Decode consecutive photographs and write them at their place; what cannot be read stays black."""
    start, paths, partial, source_size = task
    pixels = np.zeros((len(paths), source_size, source_size, 3), np.uint8)
    records = []
    for place, path in zip(pixels, paths, strict=True):
        try:
            source = read_source(path, source_size)
        except PhotoError as error:
            message = str(error).removeprefix(str(path)).strip()
            records.append(_Decoded(zlib.crc32(place.data), 0, 0, message))
            continue
        place[:] = source.pixels
        records.append(_Decoded(zlib.crc32(place.data), *source.photo_size))
    with partial.open("r+b") as file:
        file.seek(start * source_size * source_size * 3)
        file.write(pixels.tobytes())
    return records
