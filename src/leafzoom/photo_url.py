"""Photos in storage with an address, such as s3://bucket/leaf.jpg, read through fsspec.

The drivers of a storage are the user's to install: s3fs, gcsfs, adlfs. Bytes are read, which are
decoded as those of any other photo.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from glob import has_magic
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from leafzoom.errors import DataError, MissingExtraError, PhotoError, needs_extra
from leafzoom.photo_file import MAX_BYTES, check_size

__all__ = ["RemotePhoto", "Storage", "is_storage_url", "remote_photo", "storage_of"]

_WEB = ("http", "https")  # a page is no storage: its photos are downloaded by the user
_DRIVERS = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), "adlfs"),
}
_VERSION_KEYS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime")
_MAX_REASON = 200  # characters of a driver's message in one of ours


@dataclass(frozen=True)
class RemotePhoto:
    """A photo in a storage: `str()` of it is its address.

    Attributes:
        url: the address.
        storage: where it is read from.
        size: in bytes, as the storage lists it; -1: unknown.
        version: a number that changes with the content, as far as the storage says; -1: unknown.
    """

    url: str
    storage: Storage = field(repr=False, compare=False)
    size: int = -1
    version: int = -1

    def __str__(self) -> str:
        return self.url

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return PurePosixPath(self.url).stem

    def read(self) -> bytes:
        """The photo's bytes.

        Raises:
            PhotoError: it does not exist, may not be read, or is too large.
            DataError: the storage cannot be reached.
        """
        check_size(self.size, self.url)
        content = self.storage.read(self.url, limit=MAX_BYTES + 1, size=self.size)
        check_size(len(content), self.url)
        return content


class Storage:
    """What is behind addresses of one beginning, such as s3://bucket.

    Args:
        url: any address in it.

    Raises:
        MissingExtraError: fsspec or the storage's driver is not installed.
        DataError: there is no such storage, or its driver does not start.
    """

    def __init__(self, url: str) -> None:
        self._protocol = urlsplit(url).scheme
        with needs_extra("scale", f"reading {self._protocol}:// addresses"):
            import fsspec

        try:
            filesystem, _ = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            if isinstance(error, ImportError):
                raise self._missing_driver() from error
            raise DataError(f"{url} is in no storage that fsspec knows ({error})") from error
        except Exception as error:  # a driver may start by looking for credentials
            raise self._unreachable(url, error) from error
        self._filesystem: Any = filesystem

    def read(self, url: str, *, limit: int, size: int = -1) -> bytes:
        """The bytes of a file, at most `limit` of them.

        Args:
            url: the file's address.
            limit: in bytes.
            size: of the file where it is known: it is read in one request; -1: unknown.

        Raises:
            PhotoError: it does not exist, is a folder, or may not be read.
            DataError: the storage cannot be reached.
        """
        path = self._path(url)
        try:
            if 0 <= size <= limit:
                content: bytes = self._filesystem.cat_file(path)
                return content
            with self._filesystem.open(path, "rb") as file:
                content = file.read(limit)
        except FileNotFoundError as error:
            raise PhotoError(f"{url} does not exist: check the address") from error
        except IsADirectoryError as error:
            raise PhotoError(f"{url} is a folder, not a photo") from error
        except PermissionError as error:
            raise PhotoError(
                f"{url} cannot be read ({_reason(error)}): give yourself permission to read it"
            ) from error
        except Exception as error:  # drivers' errors have no common base
            raise self._unreachable(url, error) from error
        return content

    def write(self, url: str, content: bytes) -> None:
        """Write a file whole; there is never half of it.

        Raises:
            DataError: the storage cannot be reached, or takes no files.
        """
        self._ask(url, "pipe_file", content)

    def remove(self, url: str) -> None:
        """Remove a file, if it is there.

        Raises:
            DataError: as `write`.
        """
        try:
            self._filesystem.rm_file(self._path(url))
        except FileNotFoundError:
            return
        except Exception as error:  # drivers' errors have no common base
            raise self._unreachable(url, error) from error

    def names_in(self, folder: str) -> list[str]:
        """The names of the files directly in a folder, sorted; none where there is no folder.

        Raises:
            DataError: as `write`.
        """
        self._filesystem.invalidate_cache()
        if self.kind_of(folder) != "directory":
            return []
        paths = self._ask(folder, "ls", detail=False)
        return sorted(PurePosixPath(path).name for path in paths)

    def is_pattern(self, url: str) -> bool:
        """Whether an address is a pattern: it has its signs, and no file has it as its name."""
        path = self._path(url)
        return has_magic(path) and self._info(url) is None

    def kind_of(self, url: str) -> str:
        """`file`, `directory`, or `missing`.

        Raises:
            DataError: the storage cannot be reached, or may not be listed.
        """
        information = self._info(url)
        if information is None:
            return "missing"
        return "directory" if information["type"] == "directory" else "file"

    def matches(self, pattern: str) -> Iterator[RemotePhoto]:
        """The files that a pattern matches and those below the folders that it matches, by name.

        Raises:
            DataError: as `kind_of`.
        """
        found = self._ask(pattern, "glob", detail=True)
        for path in sorted(found):
            if found[path]["type"] == "directory":
                yield from self.files_below(self._filesystem.unstrip_protocol(path))
            else:
                yield self._photo(path, found[path])

    def files_below(self, folder: str) -> Iterator[RemotePhoto]:
        """All files below a folder, sorted by name, photos or not.

        Raises:
            DataError: as `kind_of`.
        """
        found = self._ask(folder, "find", detail=True)
        for path in sorted(found):
            yield self._photo(path, found[path])

    def relative(self, photo: RemotePhoto, folder: str) -> PurePosixPath:
        """A photo's path from a folder that it is below."""
        return PurePosixPath(self._path(photo.url)).relative_to(self._path(folder))

    def _photo(self, path: str, information: Mapping[str, Any]) -> RemotePhoto:
        url = self._filesystem.unstrip_protocol(path)
        size = information.get("size")
        return RemotePhoto(url, self, -1 if size is None else int(size), _version(information))

    def _info(self, url: str) -> Mapping[str, Any] | None:
        """What the storage knows of a file or a folder; None if there is none."""
        try:
            information: Mapping[str, Any] = self._filesystem.info(self._path(url))
        except FileNotFoundError:
            return None
        except Exception as error:  # drivers' errors have no common base
            raise self._unreachable(url, error) from error
        return information

    def _ask(self, url: str, method: str, *values: Any, **options: Any) -> Any:
        """What a method of the driver gives."""
        try:
            found = getattr(self._filesystem, method)(self._path(url), *values, **options)
        except Exception as error:  # drivers' errors have no common base
            raise self._unreachable(url, error) from error
        return found

    def _path(self, url: str) -> str:
        path: str = self._filesystem._strip_protocol(url)
        return path

    def _missing_driver(self) -> MissingExtraError:
        driver = _DRIVERS.get(self._protocol)
        install = f"pip install {driver}" if driver else "install the driver that fsspec names"
        return MissingExtraError(
            f"{self._protocol}:// addresses need a driver that is not installed: {install}"
        )

    def _unreachable(self, url: str, error: Exception) -> DataError:
        return DataError(
            f"{url} cannot be reached ({_reason(error)}): check the address, your credentials for "
            f"{self._protocol}:// and the network, then start again"
        )


def is_storage_url(url: str) -> bool:
    """Whether an address is of a storage, not of a web page.

    >>> is_storage_url("s3://bucket/leaf.jpg"), is_storage_url("https://example.org/leaf.jpg")
    (True, False)
    """
    return urlsplit(url).scheme.lower() not in _WEB


def remote_photo(url: str) -> RemotePhoto:
    """The photo with an address; nothing is read yet.

    Raises:
        MissingExtraError, DataError: as `Storage`.
    """
    return RemotePhoto(url, storage_of(url))


def storage_of(url: str) -> Storage:
    """The storage of an address, opened once for all addresses of one beginning.

    Raises:
        MissingExtraError, DataError: as `Storage`.
    """
    parts = urlsplit(url)
    return _storage(f"{parts.scheme}://{parts.netloc}")


@lru_cache(maxsize=64)
def _storage(root: str) -> Storage:
    return Storage(root)


def _version(information: Mapping[str, Any]) -> int:
    """A number of a file's content, from what the storage knows of it."""
    for key in _VERSION_KEYS:
        if information.get(key):
            digest = hashlib.sha256(str(information[key]).encode()).digest()
            return int.from_bytes(digest[:7], "big")
    return -1


def _reason(error: Exception) -> str:
    """A driver's message in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_MAX_REASON]
