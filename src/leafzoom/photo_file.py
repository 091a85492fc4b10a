"""The bytes of a photo's file, or why the system does not give them."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from leafzoom.errors import PhotoError

__all__ = ["MAX_BYTES", "check_size", "is_url", "read_photo_file", "url_error"]

MAX_BYTES = 100 * 2**20
"""The most bytes of a photo."""

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


def read_photo_file(path: Path) -> bytes:
    """The bytes of a photo's file, at most MAX_BYTES of them.

    Raises:
        PhotoError: the file does not exist, is none that can be a photo, is too large, or the
            system does not let it be read.
    """
    try:
        # A pipe or a device could be read without end.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PhotoError(f"{path} {_describe_no_file(path, status.st_mode)}")
        check_size(status.st_size, str(path))
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PhotoError(f"{path} {_describe_missing(path)}") from error
    except PermissionError as error:
        raise PhotoError(
            f"{path} cannot be read ({error.strerror}): give yourself permission to read it"
        ) from error
    except OSError as error:
        raise PhotoError(
            f"{path} cannot be read ({error.strerror or error}): check the path and its disk"
        ) from error
    except ValueError as error:  # a NUL in the name
        raise PhotoError(f"{str(path)!r} is no file's name ({error}): check the path") from error


def check_size(size: int, name: str) -> None:
    """Refuse a photo of too many bytes.

    Raises:
        PhotoError: it has more than MAX_BYTES.
    """
    if size > MAX_BYTES:
        raise PhotoError(
            f"{name} is too large: it has {size} bytes and at most {MAX_BYTES} are read; "
            "make it smaller"
        )


def is_url(text: str) -> bool:
    """Whether a text is an address on a network, not a path.

    >>> is_url("https://example.org/leaf.jpg"), is_url("C:/leaf.jpg")
    (True, False)
    """
    return _URL.match(text) is not None


def url_error(url: str) -> PhotoError:
    """The error for a web page's address, whole: a path would lose one of its slashes."""
    return PhotoError(
        f"{url} is an address of a web page, and photos are read from files and storage: "
        "download it first"
    )


def _describe_no_file(path: Path, mode: int) -> str:
    """Why a folder, a pipe or a device is no photo."""
    if not stat.S_ISDIR(mode):
        return "is no regular file, not a photo"
    try:
        with os.scandir(path):
            return "is a folder, not a photo"
    except PermissionError as error:
        return f"is a folder that cannot be read ({error.strerror}): give yourself permission to it"
    except OSError as error:
        return f"is a folder that cannot be read ({error.strerror or error}): check its disk"


def _describe_missing(path: Path) -> str:
    """A path that does not exist, or a link to one."""
    if path.is_symlink():
        return f"is a link to {path.readlink()}, which does not exist: copy the photo itself"
    return "does not exist: check the path"
