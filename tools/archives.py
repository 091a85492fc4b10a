"""Read the pictures inside packages: Debian, Python and npm archives, and archives within them."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

__all__ = ["PICTURE_SUFFIXES", "ArchiveMember", "members", "resource_members"]

# A file's name inside an archive (nested archives: "outer.zip!inner.png") and its bytes.
ArchiveMember = tuple[str, bytes]

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".dds", ".tga", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".rgb", ".pcx", ".gif"),
)
_ZIP_SUFFIXES = (".zip", ".whl", ".pk3", ".wz", ".kpz", ".puzzle")

_RESOURCE_COMPRESSED = 1
_RESOURCE_FOLDER = 2
_RESOURCE_ZSTANDARD = 4


def members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[ArchiveMember]:
    """The pictures of a package whose names are wanted, in the archive's order.

    Raises:
        ValueError: the file is neither .deb, .tar.gz, .tgz nor .whl.
        subprocess.CalledProcessError: dpkg-deb can't read the Debian package.
    """
    if archive.suffix == ".deb":
        yield from _debian_members(archive, wanted)
    elif archive.name.endswith((".tar.gz", ".tgz")):
        with archive.open("rb") as stream:
            yield from _tar_members(stream, wanted)
    elif archive.suffix in _ZIP_SUFFIXES:
        with archive.open("rb") as stream:
            yield from _zip_members(stream, "", wanted)
    else:
        raise ValueError(f"{archive}: expected a .deb, .tar.gz, .tgz or .whl file")


def _debian_members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[ArchiveMember]:
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield from _tar_members(process.stdout, wanted)

        # The padding after a tar's last member belongs to it; unread, it would break the pipe.
        process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def _tar_members(stream: IO[bytes], wanted: Callable[[str], bool]) -> Iterator[ArchiveMember]:
    with tarfile.open(fileobj=stream, mode="r|*") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield from _opened(name, content, wanted)


def _zip_members(
    stream: IO[bytes], prefix: str, wanted: Callable[[str], bool]
) -> Iterator[ArchiveMember]:
    with zipfile.ZipFile(stream) as archive:
        for name in archive.namelist():
            with archive.open(name) as content:
                yield from _opened(prefix + name, content, wanted)


def _opened(
    name: str, content: IO[bytes], wanted: Callable[[str], bool]
) -> Iterator[ArchiveMember]:
    """The picture, the pictures of a nested archive, or nothing."""
    lower = name.lower()
    if lower.endswith(PICTURE_SUFFIXES):
        if wanted(name):
            yield name, content.read()

    elif lower.endswith(".rcc"):
        for inner, picture in resource_members(content.read()):
            if wanted(f"{name}!{inner}"):
                yield f"{name}!{inner}", picture

    elif lower.endswith(_ZIP_SUFFIXES):
        # Zip archives are read from their end, and some have gigabytes.
        with TemporaryFile() as unpacked:
            shutil.copyfileobj(content, unpacked)
            yield from _zip_members(unpacked, f"{name}!", wanted)


def resource_members(content: bytes) -> Iterator[ArchiveMember]:
    """The pictures of a compiled Qt resource file (rcc), by their path in it.

    Files compressed with Zstandard are left out: pictures are rarely worth compressing again.

    Raises:
        ValueError: the bytes are no Qt resource file.
    """
    if content[:4] != b"qres":
        raise ValueError("expected a Qt resource file, which starts with 'qres'")
    version, tree, data, names = struct.unpack_from(">4I", content, 4)
    node_size = 22 if version >= 2 else 14

    # Node 0 is the root folder; a folder names the range of its children.
    pending = [(0, "")]
    while pending:
        node, folder = pending.pop()
        start = tree + node * node_size
        name_offset, flags = struct.unpack_from(">IH", content, start)
        path = _joined(folder, _resource_name(content, names + name_offset) if node else "")

        if flags & _RESOURCE_FOLDER:
            count, first = struct.unpack_from(">II", content, start + 6)
            pending.extend((child, path) for child in range(first, first + count))
            continue

        if path.lower().endswith(PICTURE_SUFFIXES) and not flags & _RESOURCE_ZSTANDARD:
            (offset,) = struct.unpack_from(">I", content, start + 10)
            yield path, _resource_data(content, data + offset, flags)


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _resource_name(content: bytes, start: int) -> str:
    (length,) = struct.unpack_from(">H", content, start)
    return content[start + 6 : start + 6 + 2 * length].decode("utf-16-be")


def _resource_data(content: bytes, start: int, flags: int) -> bytes:
    (size,) = struct.unpack_from(">I", content, start)
    stored = content[start + 4 : start + 4 + size]

    # Qt puts the unpacked size, four bytes, before the compressed bytes.
    return zlib.decompress(stored[4:]) if flags & _RESOURCE_COMPRESSED else stored
