"""Answers in files of Parquet, in a folder or at an address: each file whole or not there.

A file has the answers to some photos, and its name is a digest of these photos. So a block of
photos that is diagnosed twice, because a worker was killed, replaces its own file and doubles no
row. Photos that cannot be read are in files of their own: the next run tries them again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from leafzoom.errors import DataError
from leafzoom.photo_file import is_url
from leafzoom.photo_url import storage_of
from leafzoom.storage import make_folder, remove_partial, write_bytes

if TYPE_CHECKING:
    import pyarrow

__all__ = ["AnswerFolder"]

_ANSWERS = "answers-"
_FAILED = "failed-"
_SUFFIX = ".parquet"
_NAME_DIGITS = 24
_READERS = 16
_MAX_FILE_BYTES = 2**31


class AnswerFolder:
    """The files of one folder or address.

    Args:
        destination: a folder's path, or an address of storage.
        model_digest: what answers depend on besides the photos: all in a folder have the same.
    """

    def __init__(self, destination: str, model_digest: str) -> None:
        self.model_digest = model_digest
        self._files = _files_at(destination)

    def begin(self, photos: pyarrow.Array) -> pyarrow.Array:
        """Make ready for a run: the photos without an answer.

        Files of photos that could not be read lose the rows of this run's photos.

        Args:
            photos: names, each once.

        Raises:
            DataError: a file is damaged or no answers', or they are of another model.
            LeafzoomError: the folder cannot be written.
        """
        import pyarrow
        import pyarrow.compute

        self._files.make()
        names = self._files.names()
        for name in [name for name in names if name.startswith(_FAILED)]:
            self._forget(name, photos)

        answered = [name for name in names if name.startswith(_ANSWERS)]
        with ThreadPoolExecutor(_READERS) as pool:
            done = list(pool.map(self._photos_in, answered))
        if not done:
            return photos
        known = pyarrow.chunked_array(done, pyarrow.string())
        is_missing = pyarrow.compute.invert(pyarrow.compute.is_in(photos, value_set=known))
        return photos.filter(is_missing)

    def write(self, photos: Sequence[str], table: pyarrow.Table) -> None:
        """Write the answers to a block of photos, in place of earlier ones to the same block.

        Raises:
            LeafzoomError: the folder cannot be written.
        """
        import pyarrow.compute

        failed = pyarrow.compute.is_valid(table.column("error"))
        digest = hashlib.sha256("\0".join([self.model_digest, *photos]).encode()).hexdigest()
        block = digest[:_NAME_DIGITS] + _SUFFIX
        self._write_rows(_ANSWERS + block, table.filter(pyarrow.compute.invert(failed)))
        self._write_rows(_FAILED + block, table.filter(failed))

    def _write_rows(self, name: str, table: pyarrow.Table) -> None:
        """Write a file; without rows there is none."""
        import pyarrow.parquet

        if not len(table):
            self._files.remove(name)
            return
        content = BytesIO()
        pyarrow.parquet.write_table(table, content)
        self._files.write(name, content.getvalue())

    def _forget(self, name: str, photos: pyarrow.Array) -> None:
        """Leave some photos out of a file."""
        import pyarrow.compute

        table = self._read(name)
        repeated = pyarrow.compute.is_in(table.column("photo"), value_set=photos)
        if pyarrow.compute.any(repeated).as_py():
            self._write_rows(name, table.filter(pyarrow.compute.invert(repeated)))

    def _photos_in(self, name: str) -> pyarrow.Array:
        return self._read(name, ["photo", "model_digest"]).column("photo").combine_chunks()

    def _read(self, name: str, columns: Sequence[str] | None = None) -> pyarrow.Table:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet

        where = self._files.path(name)
        try:
            file = pyarrow.parquet.ParquetFile(BytesIO(self._files.read(name)))
            table = file.read(columns)
            digests = pyarrow.compute.unique(table.column("model_digest")).to_pylist()
        except (pyarrow.ArrowException, KeyError) as error:
            raise DataError(
                f"{where} is damaged, or no file of predict ({error}): choose another --out"
            ) from error

        if digests != [self.model_digest]:
            raise DataError(
                f"{where} has answers of another model or of other options: choose another --out"
            )
        return table


class _LocalFiles:
    """The files in a folder of this machine, or one that all machines have in common."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> None:
        make_folder(self._folder)
        remove_partial(self._folder)

    def names(self) -> list[str]:
        return sorted(path.name for path in self._folder.glob(f"*{_SUFFIX}"))

    def path(self, name: str) -> str:
        return str(self._folder / name)

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        write_bytes(self._folder / name, content)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class _StorageFiles:
    """The files directly below an address."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._storage = storage_of(url)

    def make(self) -> None:
        """Write and remove a file, so that a storage that takes none fails at once."""
        self._storage.write(self.path(".leafzoom"), b"")
        self._storage.remove(self.path(".leafzoom"))

    def names(self) -> list[str]:
        names = self._storage.names_in(self._url)
        return [name for name in names if name.endswith(_SUFFIX)]

    def path(self, name: str) -> str:
        return f"{self._url}/{name}"

    def read(self, name: str) -> bytes:
        return self._storage.read(self.path(name), limit=_MAX_FILE_BYTES)

    def write(self, name: str, content: bytes) -> None:
        self._storage.write(self.path(name), content)

    def remove(self, name: str) -> None:
        self._storage.remove(self.path(name))


def _files_at(destination: str) -> _LocalFiles | _StorageFiles:
    """The files of a folder, or of an address."""
    return _StorageFiles(destination) if is_url(destination) else _LocalFiles(Path(destination))
