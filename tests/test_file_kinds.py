"""What is no photo is called what it is, and what is sound is never called damaged."""

from __future__ import annotations

import errno
import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from leafzoom.errors import PhotoError
from leafzoom.photo import read_source

AVIF = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(range(50))
AVIF_AS_MIF1 = b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(range(50))
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def error_of(path: Path) -> str:
    with pytest.raises(PhotoError) as caught:
        read_source(path, 32)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty (0 bytes): copy it again"),
        (bytes(5000), "holds nothing but zeros (5000 bytes): its copy did not finish"),
        (b"\n <!DOCTYPE html><html><body>Sign in</body>", "is an HTML page, not a photo"),
        ("<html>".encode("utf-16"), "is an HTML page, not a photo"),
        (b"<?xml version='1.0'?><!DOCTYPE html ><html>", "is an HTML page, not a photo"),
        (b"<?xml version='1.0'?><svg>", "but an SVG or XML file: convert it to JPEG"),
        (LFS, "is a Git LFS pointer, not the photo itself: fetch it with git lfs pull"),
        (AVIF, "but an AVIF picture: convert it to JPEG"),
        (AVIF_AS_MIF1, "but an AVIF picture: convert it to JPEG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "is a film, not a photo"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "but a camera's raw file"),
        (b"II*\0\x08\0\0\0", "but a TIFF picture or a raw file: convert it to JPEG"),
        (b"%PDF-1.7", "is a PDF document, not a photo"),
        (b"PK\x03\x04\x14\0", "is a ZIP archive, not a photo"),
        (b'{"error": "not found"}\n', "is text, not a photo: check the path"),
        ("a.jpg\nverger/été.jpg\n".encode(), "is text, not a photo: check the path"),
        (b"a" * 4095 + "é".encode(), "is text, not a photo: check the path"),
        (b"caf\xe9 \x01\x02", "is no JPEG, PNG, WebP, MPO or HEIC picture: convert it"),
    ],
)
def test_each_kind_has_its_own_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "leaf.jpg"
    path.write_bytes(content)

    message = error_of(path)

    assert message.startswith(str(path))
    assert words in message
    assert "damaged" not in message


def png_with(chunks: PngImagePlugin.PngInfo, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (10, 120, 30)).save(buffer, "PNG", pnginfo=chunks, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [True, False])
def test_a_pngs_long_text_is_no_damage(compressed: bool) -> None:
    """Workflow notes and XMP of several megabytes; Pillow refuses what expands to over one."""
    notes = PngImagePlugin.PngInfo()
    for number in range(1 if compressed else 17):
        notes.add_text(f"notes {number}", "leaf " * 400_000, zip=compressed)
        notes.add_itxt(f"more {number}", "leaf " * 400_000, zip=compressed)

    pixels = read_source(png_with(notes), 32).pixels

    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [[10, 120, 30]]


def test_text_behind_the_pixels_and_a_large_profile_are_no_damage() -> None:
    content = png_with(PngImagePlugin.PngInfo(), icc_profile=bytes(3_000_000))
    data = b"notes\0\0" + zlib.compress(bytes(3_000_000))
    chunk = b"zTXt" + data
    text = len(data).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    end = content.rindex(b"IEND") - 4

    source = read_source(content[:end] + text + content[end:], 32)

    assert source.photo_size == (40, 30)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "cannot be read (Permission denied): give yourself permission to read it"),
        (errno.EIO, "cannot be read (Input/output error): check the path and its disk"),
        (errno.ESTALE, "cannot be read (Stale file handle): check the path and its disk"),
    ],
)
def test_what_the_system_refuses_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    path = tmp_path / "leaf.jpg"
    Image.new("RGB", (40, 30)).save(path)

    def refuse(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)

    message = error_of(path)
    assert words in message
    assert "damaged" not in message


@pytest.mark.parametrize("size", [(14_000, 13_000), (40_000, 9_000)])
def test_a_photo_that_is_too_large_is_called_so(tmp_path: Path, size: tuple[int, int]) -> None:
    """Also above twice Pillow's own limit, where Pillow raises."""
    path = tmp_path / "large.png"
    Image.new("1", size).save(path)

    message = error_of(path)
    assert "large.png is too large" in message
    assert "120 million" in message


def test_a_lost_link_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("gone.jpg")

    assert "a.jpg is a link to gone.jpg, which does not exist" in error_of(tmp_path / "a.jpg")
