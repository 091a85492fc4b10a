"""Hostile and odd photos: contents of files, and names of files. The pictures are noise."""

from __future__ import annotations

import gzip
import io
import struct
import unicodedata
import zipfile
import zlib

import numpy as np
from PIL import Image, PngImagePlugin

__all__ = ["archive", "odd_photo_names", "odd_photos", "sound_photos"]


def sound_photos(seed: int) -> dict[str, bytes]:
    """Small pictures that can be read, one of each kind of encoding."""
    noise = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
    image = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Maker"
    return {
        "jpeg": _encode(image, "JPEG"),
        "progressive": _encode(image, "JPEG", progressive=True, exif=exif.tobytes()),
        "cmyk": _encode(image.convert("CMYK"), "JPEG"),
        "grey": _encode(image.convert("L"), "JPEG"),
        "png": _encode(image, "PNG"),
        "palette": _encode(image.quantize(16), "PNG", transparency=0),
        "alpha": _encode(image.convert("RGBA"), "PNG"),
        "one-bit": _encode(image.convert("1"), "PNG"),
        "sixteen-bit": _encode(Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "PNG"),
        "webp": _encode(image, "WEBP"),
        "lossless": _encode(image, "WEBP", lossless=True),
        "animation": _encode(image, "WEBP", save_all=True, append_images=[image.rotate(90)]),
        "two-pictures": _encode(image, "MPO", save_all=True, append_images=[image]),
        "one-pixel": _encode(image.crop((0, 0, 1, 1)), "PNG"),
        "thin": _encode(image.resize((4000, 1)), "PNG"),
    }


def odd_photos(seed: int) -> dict[str, bytes]:
    """Contents of files that are called photos, sound ones too."""
    sound = sound_photos(seed)
    jpeg = sound["jpeg"]
    png = sound["png"]
    photos = {
        **sound,
        "empty": b"",
        "one-byte": b"\xff",
        "zeros": bytes(4096),
        "page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
        "text": b"Ein Blatt\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "gzip": gzip.compress(jpeg, mtime=0),
        "zip": archive({"a.jpg": jpeg}),
        "avif": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(64),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64),
        "gif": _encode(Image.new("P", (8, 8)), "GIF"),
        "bmp": _encode(Image.new("RGB", (8, 8)), "BMP"),
        "tiff": _encode(Image.new("RGB", (8, 8)), "TIFF"),
        "jpeg-half": jpeg[: len(jpeg) // 2],
        "jpeg-without-end": jpeg[:-2],
        "jpeg-half-zeros": jpeg[: len(jpeg) // 2] + bytes(len(jpeg) // 2),
        "jpeg-as-text": jpeg.replace(b"\n", b"\r\n"),
        "jpeg-and-more": jpeg + bytes(1000) + jpeg,
        "jpeg-only-start": b"\xff\xd8\xff\xd9",
        "jpeg-wrong-exif": jpeg[:2]
        + _jpeg_segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")
        + jpeg[2:],
        "jpeg-wrong-profile": jpeg[:2]
        + _jpeg_segment(0xE2, b"ICC_PROFILE\0\x01\x01" + bytes(200))
        + jpeg[2:],
        "jpeg-many-scans": jpeg[:-2] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 1000 + b"\xff\xd9",
        "png-half": png[: len(png) // 2],
        "png-wrong-checksum": png[:40] + bytes([png[40] ^ 1]) + png[41:],
        "png-huge": _png_of_size(60_000, 60_000),
        "png-no-pixels": _png_of_size(0, 0),
        "png-negative": _png_of_size(2**31, 2**31),
        "png-long-text": _png_with_text("x" * 100_000),
        "png-text-bomb": _png_with_text("x" * 30_000_000),
        "webp-half": sound["webp"][: len(sound["webp"]) // 2],
        "webp-wrong-length": b"RIFF\xff\xff\xff\x7fWEBPVP8 " + sound["webp"][16:],
    }
    for orientation in (0, 9, 999, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image = Image.open(io.BytesIO(png))
        photos[f"orientation-{orientation}"] = _encode(image, "JPEG", exif=exif.tobytes())
    return photos


def odd_photo_names() -> list[str]:
    """Names of files that a photo may have."""
    return [
        "leaf with spaces.jpg",
        " leading.jpg",
        "-dash.jpg",
        "--out.jpg",
        "quote'\".jpg",
        "percent%20%s%n.jpg",
        "semicolon;&|$(x).jpg",
        "new\nline.jpg",
        "tab\t.jpg",
        "\x1b[31mred.jpg",
        unicodedata.normalize("NFD", "Blätter.jpg"),
        "叶子.jpg",
        "ورقة.jpg",
        "\u202egnp.jpg",
        "🍎.JPG",
        "a" * 240 + ".jpg",
        "UPPER.JPEG",
        "two.suffixes.jpg.jpg",
        "{braces}.jpg",
        "[1-9]*?.jpg",
    ]


def _encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _jpeg_segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def _png_of_size(width: int, height: int) -> bytes:
    """A PNG that says it is so large, with a few bytes of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        checksum = zlib.crc32(kind + body)
        content += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
    return content


def _png_with_text(text: str) -> bytes:
    """A PNG with a compressed text, which unpacks to much more than the file."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", text, zip=True)
    return _encode(Image.new("RGB", (16, 16), "green"), "PNG", pnginfo=info)


def archive(files: dict[str, bytes]) -> bytes:
    """A ZIP archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in files.items():
            file.writestr(zipfile.ZipInfo(name), body)
    return content.getvalue()
