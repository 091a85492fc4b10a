"""Photos in ZIP archives: bounded, and read without being unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leafzoom import photo_archive
from leafzoom.errors import DataError, PhotoError
from leafzoom.photo import read_source
from leafzoom.photo_archive import ArchivedPhoto, PhotoArchive, is_archive


def leaf_bytes() -> bytes:
    """A small photograph in PNG."""
    buffer = io.BytesIO()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (30, 40, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_archive(path: Path, content: bytes, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.png", content)
    return path


def photo_in(path: Path) -> ArchivedPhoto:
    return ArchivedPhoto(PhotoArchive(path), "a.png")


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
)
def test_the_pixels_are_those_of_the_file(tmp_path: Path, compression: int) -> None:
    photo = photo_in(write_archive(tmp_path / "a.zip", leaf_bytes(), compression))

    assert str(photo) == f"{tmp_path}/a.zip/a.png"
    assert np.array_equal(read_source(photo, 32).pixels, read_source(leaf_bytes(), 32).pixels)


def test_a_photo_that_expands_like_none_is_refused(tmp_path: Path) -> None:
    photo = photo_in(write_archive(tmp_path / "bomb.zip", bytes(20 * 2**20)))

    with pytest.raises(PhotoError, match=r"bomb.zip/a.png expands more than 200 times"):
        photo.read()


def test_a_size_that_is_a_lie_is_damage(tmp_path: Path) -> None:
    """The directory says 1,000 bytes and the member has a million."""
    path = write_archive(tmp_path / "lie.zip", bytes(range(256)) * 4000)
    content = path.read_bytes().replace(struct.pack("<I", 1_024_000), struct.pack("<I", 1000))
    path.write_bytes(content)

    with pytest.raises(PhotoError, match="is damaged in its archive"):
        photo_in(path).read()


def test_too_many_files_bytes_or_directory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_archive(tmp_path / "a.zip", leaf_bytes())

    for limit, message in [
        ("_MAX_MEMBERS", "has 1 files and at most 0 are read"),
        ("_MAX_TOTAL_BYTES", "unpacks to 0 GB and at most 0 are read"),
        ("_MAX_DIRECTORY_BYTES", "has a directory of 0 MB and at most 0 are read"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(photo_archive, limit, 0)
            with pytest.raises(DataError, match=message):
                PhotoArchive(path)


def test_an_encrypted_photo_is_named(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.zip", leaf_bytes())
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)

    with pytest.raises(PhotoError, match="is encrypted: unpack the archive with its password"):
        photo_in(path).read()


def test_damage_anywhere_is_an_error_of_ours_or_the_photo(tmp_path: Path) -> None:
    whole = write_archive(tmp_path / "whole.zip", leaf_bytes()).read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "damaged.zip"

    messages = []
    for number in range(300):
        content = bytearray(whole)
        if number < 100:
            content = content[: len(content) * number // 100]
        else:
            content[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(content)
        try:
            archive = PhotoArchive(path)
            for member in archive.members:
                ArchivedPhoto(archive, member).read()
        except (DataError, PhotoError) as error:
            messages.append(str(error))
    assert len(messages) > 150
    assert all("damaged.zip" in message for message in messages)


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(leaf_bytes())
    (tmp_path / "b.zip").write_bytes(b"no archive")

    assert not is_archive(tmp_path / "a.jpg")
    assert not is_archive(tmp_path / "none.zip")
    assert is_archive(tmp_path / "b.zip")
    with pytest.raises(DataError, match=r"b\.zip is no ZIP archive, or damaged"):
        PhotoArchive(tmp_path / "b.zip")
