"""Photos in a ZIP archive, read from it one by one; nothing is ever extracted to the disk.

The archive's own claims are bounded before they are believed: the size of its directory, the count
of its photos, their bytes, and how much each one expands.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from leafzoom.errors import DataError, PhotoError
from leafzoom.photo_file import MAX_BYTES, check_size

__all__ = ["ArchivedPhoto", "PhotoArchive", "is_archive"]

# What is accepted of an archive. Photos are compressed already, so they hardly shrink in a ZIP.
_MAX_DIRECTORY_BYTES = 32 * 2**20
_MAX_MEMBERS = 100_000
_MAX_TOTAL_BYTES = 200 * 2**30
_MAX_RATIO = 200  # of a member's bytes to its compressed ones
_MIN_RATIO_BYTES = 2**20  # smaller members may expand as they like

_ZIP_START = b"PK\x03\x04"
_END_RECORD = b"PK\x05\x06"
_END_RECORD_BYTES = 22
_MAX_COMMENT_BYTES = 2**16
_ZIP64_RECORD = b"PK\x06\x06"
_ENCRYPTED_FLAG = 1


@dataclass(frozen=True)
class ArchivedPhoto:
    """A photo in an archive: `str()` of it is the archive's path, then the member's name."""

    archive: PhotoArchive = field(repr=False)
    member: str

    def __str__(self) -> str:
        return f"{self.archive.path}/{self.member}"

    @property
    def stem(self) -> str:
        """The member's file name without its suffix."""
        return PurePosixPath(self.member.replace("\\", "/")).stem

    def read(self) -> bytes:
        """The photo's bytes.

        Raises:
            PhotoError: it is encrypted, damaged, too large, or expands too much.
        """
        return self.archive.read(self)


class PhotoArchive:
    """A ZIP archive that is open for reading, by several threads at once.

    Args:
        path: of its file.

    Raises:
        DataError: it cannot be read, is damaged, or has more members or bytes than are read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            _check_directory(path)
            self._zip = zipfile.ZipFile(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DataError(
                f"{path} is no ZIP archive, or damaged ({error}): copy it again, or unpack it"
            ) from error
        self._check_members()

    @cached_property
    def members(self) -> tuple[str, ...]:
        """The names of its files, sorted; folders are left out."""
        return tuple(sorted({info.filename for info in self._zip.infolist() if not info.is_dir()}))

    def read(self, photo: ArchivedPhoto) -> bytes:
        """See `ArchivedPhoto.read`."""
        info = self._zip.getinfo(photo.member)
        _check_member(info, str(photo))
        try:
            with self._zip.open(info) as file:
                content = file.read(MAX_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise PhotoError(
                f"{photo} is damaged in its archive ({error}): make the archive again"
            ) from error
        except NotImplementedError as error:
            raise PhotoError(
                f"{photo} is compressed in a way that is not read ({error}): unpack the archive"
            ) from error
        except (OSError, RuntimeError) as error:
            raise PhotoError(f"{photo} cannot be read from its archive ({error})") from error

        check_size(len(content), str(photo))
        return content

    def _check_members(self) -> None:
        infos = self._zip.infolist()
        if len(infos) > _MAX_MEMBERS:
            raise DataError(
                f"{self.path} has {len(infos)} files and at most {_MAX_MEMBERS} are read: unpack it"
            )

        total = sum(info.file_size for info in infos)
        if total > _MAX_TOTAL_BYTES:
            raise DataError(
                f"{self.path} unpacks to {total / 2**30:.0f} GB and at most "
                f"{_MAX_TOTAL_BYTES >> 30} are read: unpack it"
            )


def is_archive(path: Path) -> bool:
    """Whether a file is a ZIP archive, by its name or its first bytes."""
    if path.suffix.lower() == ".zip":
        return path.is_file()
    try:
        if not path.is_file():  # a pipe would wait for its writer
            return False
        with path.open("rb") as file:
            return file.read(len(_ZIP_START)) == _ZIP_START
    except (OSError, ValueError):
        return False


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    """Refuse a photo by what the archive says of it; nothing is unpacked for that."""
    if info.flag_bits & _ENCRYPTED_FLAG:
        raise PhotoError(f"{name} is encrypted: unpack the archive with its password")

    check_size(info.file_size, name)
    is_large = info.file_size > _MIN_RATIO_BYTES
    if is_large and info.file_size > _MAX_RATIO * max(1, info.compress_size):
        raise PhotoError(
            f"{name} expands more than {_MAX_RATIO} times, as no photo does: unpack the archive "
            "if you trust it"
        )


def _check_directory(path: Path) -> None:
    """Refuse an archive whose directory alone would fill the memory when it is opened."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        tail_bytes = min(size, _END_RECORD_BYTES + _MAX_COMMENT_BYTES)
        file.seek(size - tail_bytes)
        tail = file.read(tail_bytes)

    # The directory's size is in the last record, or with 64 bits in the record before it.
    end = tail.rfind(_END_RECORD)
    directory_bytes = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    zip64 = tail.rfind(_ZIP64_RECORD)
    if zip64 >= 0:
        directory_bytes = max(
            directory_bytes % 0xFFFFFFFF, int.from_bytes(tail[zip64 + 40 : zip64 + 48], "little")
        )
    if directory_bytes > _MAX_DIRECTORY_BYTES:
        raise DataError(
            f"{path} has a directory of {directory_bytes >> 20} MB and at most "
            f"{_MAX_DIRECTORY_BYTES >> 20} are read: unpack it"
        )
