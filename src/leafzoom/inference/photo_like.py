"""What Python's callers give as a photo, as one of the types that are decoded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from leafzoom.errors import PhotoError, UsageError
from leafzoom.photo import Photo
from leafzoom.photo_archive import ArchivedPhoto, is_archive
from leafzoom.photo_file import MAX_BYTES, is_url, url_error
from leafzoom.photo_files import find_photos, is_folder
from leafzoom.photo_url import RemotePhoto, is_storage_url, remote_photo

__all__ = [
    "ManyPhotos",
    "PhotoLike",
    "ReadableFile",
    "many_photos",
    "name_of",
    "plain_photo",
    "require_one_photo",
]

_IN_MEMORY = (bytes, bytearray, memoryview, Image.Image, np.ndarray, ArchivedPhoto, RemotePhoto)


@runtime_checkable
class ReadableFile(Protocol):
    """An open file, of any library."""

    def read(self, size: int = ..., /) -> bytes:
        """The next bytes, at most `size`."""


@runtime_checkable
class _SeekableFile(Protocol):
    """An open file that may go back to its start."""

    def seekable(self) -> bool:
        """Whether it can."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset."""


PhotoLike = str | os.PathLike[str] | Photo | bytearray | memoryview | ReadableFile
"""A `Photo`, a path or an address of a storage as a string, the bytes of a file, or a file that is
open in binary mode (a `BytesIO`, a server's response): it is read from its start where it can go
there."""

ManyPhotos = str | os.PathLike[str] | Iterable[PhotoLike]
"""A folder, a ZIP archive, an address of a folder, or an iterable of photos."""


def many_photos(photos: ManyPhotos, method: str) -> Iterable[PhotoLike]:
    """The photos of a folder, of an archive or of an iterable.

    Args:
        photos: what the caller gave.
        method: the predictor's method that was called, for messages.

    Raises:
        DataError: a folder without a photo.
        UsageError: one photo, a folder that does not exist, or no photos at all.
    """
    if isinstance(photos, str) and is_url(photos):
        return find_photos([photos])

    takes = f"{method} takes a folder or an iterable of photos"
    if isinstance(photos, str | os.PathLike):
        return _photos_of_folder(Path(photos), takes)
    if _is_single_photo(photos):
        raise UsageError(
            f"{takes}, not one photo ({type(photos).__name__}): put it into a list, or call predict"
        )
    if not isinstance(photos, Iterable):
        raise UsageError(f"{takes}, not {type(photos).__name__}")
    return photos


def _photos_of_folder(folder: Path, takes: str) -> Iterable[PhotoLike]:
    """The photos below a folder or in an archive."""
    if is_folder(folder) or is_archive(folder):
        return find_photos([folder])
    if not folder.exists():
        raise UsageError(f"{takes}, and {folder} does not exist")
    raise UsageError(
        f"{takes}, and {folder} is a file: put it into a list, or call predict for one photo"
    )


def require_one_photo(photo: PhotoLike) -> None:
    """Refuse what is not one photo.

    Raises:
        UsageError: a folder or an iterable.
    """
    if isinstance(photo, str | os.PathLike):
        if is_folder(Path(photo)):
            raise UsageError(f"{photo} is a folder and predict takes one photo: call predict_many")
        return
    if not _is_single_photo(photo):
        raise UsageError(
            "predict takes one photo (a path, bytes, an open file, a Pillow image or an array), "
            f"not {type(photo).__name__}: call predict_many for a folder or an iterable of photos"
        )


def _is_single_photo(photo: object) -> bool:
    """Whether an object is one photo, and no path; an open file is, though it is iterable."""
    return isinstance(photo, (*_IN_MEMORY, ReadableFile))


def name_of(photo: PhotoLike, number: int) -> str:
    """A photo's name in results: its path, or else its number in the stream, from 1."""
    if isinstance(photo, str | ArchivedPhoto | RemotePhoto):
        return str(photo)
    if isinstance(photo, os.PathLike):
        return os.fspath(photo)

    # An open file has its path as its name; other streams have none, or a number.
    name = None if isinstance(photo, _IN_MEMORY) else getattr(photo, "name", None)
    return name if isinstance(name, str) and name else f"photo {number}"


def plain_photo(photo: PhotoLike) -> Photo:
    """The photo as one of the types that `read_source` takes.

    Raises:
        PhotoError: a web page's address, or an open file that cannot be read or gives no bytes.
        DataError, MissingExtraError: an address whose storage cannot be opened.
    """
    if isinstance(photo, str) and is_url(photo):
        return _photo_at(photo)
    if isinstance(photo, str):
        return Path(photo)
    if isinstance(photo, bytearray | memoryview):
        return bytes(photo)
    if isinstance(photo, os.PathLike):
        return Path(photo)
    if isinstance(photo, ArchivedPhoto | RemotePhoto | bytes | Image.Image | np.ndarray):
        return photo
    return _read_stream(photo)


def _photo_at(url: str) -> Path | RemotePhoto:
    """The photo with an address: a file, or one in a storage."""
    if url.startswith("file://"):
        (path,) = find_photos([url])
        return Path(str(path))
    if not is_storage_url(url):
        raise url_error(url)
    return remote_photo(url)


def _read_stream(file: object) -> bytes:
    """The bytes of an open file, from its start where it can go there."""
    if not isinstance(file, ReadableFile):
        raise PhotoError(
            "a photo is a path, bytes, an open file, a Pillow image or an array, "
            f"not {type(file).__name__}"
        )
    try:
        if isinstance(file, _SeekableFile) and file.seekable():
            file.seek(0)
        content = file.read(MAX_BYTES + 1)
    except Exception as error:  # a stream of any library may fail in any way
        raise PhotoError(f"the open file cannot be read ({error}): open it again") from error

    if not isinstance(content, bytes):  # of a file that is open as text
        raise PhotoError(
            f"the open file gives {type(content).__name__}, not bytes: open it in binary mode "
            '(open(path, "rb"))'
        )
    return content
