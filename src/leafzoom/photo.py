"""From a user's photo to the source: decoded, upright, squashed to a square of uint8 RGB.

Training, evaluation and prediction all go through `read_source`, so that they see the same pixels.
"""

from __future__ import annotations

import io
import re
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import (
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from leafzoom.errors import PhotoError

__all__ = [
    "BOX_COLOURS",
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "PREPROCESSING",
    "SUFFIXES",
    "Photo",
    "Source",
    "read_photo",
    "read_source",
]

# Loaded here, so that Image.open need not load the plugins of all formats; MPO is opened by JPEG's.
_PLUGINS = (JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".mpo", ".heic", ".heif")
BOX_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#F0E442")
"""Of the boxes of scales 2, 3, … drawn on a photo (Okabe and Ito's, told apart by colour-blind people too)."""
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")
MAX_BYTES = 100 * 2**20
MAX_PIXELS = 120_000_000
_MARKER, _END = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]"), b"\xff\xd9"  # none stands for a byte of the data of a scan
_SCAN, _MOST_SCANS = b"\xff\xda", 250  # each scan of a progressive JPEG costs time, and may be a few bytes
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in (5, 6, 7, 8)}
PREPROCESSING = "pillow-bilinear-antialias-2"
"""Changes whenever the pixels of a source change; caches and models carry it. 1 took no notice of colour profiles."""
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_PROFILE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Source:
    """The square that the network reads, and the size of the upright photo it was squashed from.

    `pixels`: uint8 [S, S, 3], RGB. `photo_size`: width, height in photo pixels.
    """

    pixels: NDArray[np.uint8]
    photo_size: tuple[int, int]


Photo = Path | bytes | Image.Image | NDArray[np.uint8]
"""A photo: a file, its content, a Pillow image (turned upright by its EXIF), or an upright array, uint8, [H, W, 3]
(RGB) or [H, W] (grey)."""


def read_source(photo: Photo, size: int, *, jpeg_pixels: int = MAX_PIXELS, other_pixels: int = MAX_PIXELS) -> Source:
    """Decode a photo, turn it upright and squash it to `size` x `size`, antialiased (Pillow's bilinear).

    A JPEG much larger than the source is decoded at a reduced scale, never below twice the source's side.

    Args:
        photo: a file, its content, a Pillow image or an array.
        size: S, the side of the source in pixels.
        jpeg_pixels, other_pixels: more are refused: of a JPEG, which is decoded at reduced scale, and of other files.

    Raises:
        PhotoError: not a readable JPEG, PNG, WebP, MPO or (with the extra `heic`) HEIC, too large, or cut off.
    """
    image, photo_size = _opened(photo, at_least=2 * size, jpeg_pixels=jpeg_pixels, other_pixels=other_pixels)
    squashed = image.resize((size, size), Image.Resampling.BILINEAR)
    return Source(np.asarray(squashed, np.uint8), photo_size)


def read_photo(photo: Photo) -> Image.Image:
    """The photo at full resolution, upright, RGB.

    Raises:
        PhotoError: as `read_source`.
    """
    return _opened(photo, at_least=None)[0]


def _opened(
    photo: Photo, *, at_least: int | None, jpeg_pixels: int = MAX_PIXELS, other_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB picture and the full upright size, whatever kind of photo it is."""
    if isinstance(photo, Path | bytes):
        return _decode(photo, at_least=at_least, jpeg_pixels=jpeg_pixels, other_pixels=other_pixels)
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or not (photo.ndim == 2 or (photo.ndim == 3 and photo.shape[2] == 3)):
            raise PhotoError(
                f"an array has to be uint8 [H, W, 3] (RGB) or [H, W] (grey), not {photo.dtype} {photo.shape}"
            )
        photo = Image.fromarray(photo)
    if not isinstance(photo, Image.Image):
        raise PhotoError(f"a photo is a path, bytes, a Pillow image or an array, not {type(photo).__name__}")
    if not (photo.width and photo.height) or photo.width * photo.height > MAX_PIXELS:
        raise PhotoError(
            f"the photo has {photo.width} x {photo.height} pixels and at most {MAX_PIXELS / 1e6:.0f} million are read"
        )
    try:
        turn = _TURNS.get(photo.getexif().get(_ORIENTATION, 1))
        upright = _rgb(photo if turn is None else photo.transpose(turn))
    except MemoryError:
        raise
    except Exception as error:  # a lazily loaded Pillow image may fail in any way only now
        raise PhotoError(f"the photo cannot be decoded ({_one_line(error)}): it is damaged or cut off") from error
    return upright, upright.size


def _scans_too_often(content: bytes) -> bool:
    """Whether a JPEG's first picture has more scans than a camera's; what follows it (a film, say) is none of it."""
    if content.count(_SCAN) <= _MOST_SCANS:
        return False
    scans, place = 0, 2
    while scans <= _MOST_SCANS and (marker := _MARKER.search(content, place)):
        place = marker.end()
        if marker.group() == _END:
            break
        scans += marker.group() == _SCAN
        place += int.from_bytes(content[place : place + 2], "big")  # a segment's length counts its own two bytes
    return scans > _MOST_SCANS


def _decode(
    photo: Path | bytes, *, at_least: int | None, jpeg_pixels: int, other_pixels: int
) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB picture (reduced, but no side under `at_least`), and the full upright size (w, h)."""
    name = str(photo) if isinstance(photo, Path) else "the photo"
    try:
        content = _content(photo)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own size warning: the limit below is an error
            with _picture_file(content, name) as image:
                width, height = image.size
                if image.format in ("JPEG", "MPO") and _scans_too_often(content):
                    raise PhotoError(f"{name} is a JPEG of more scans than any camera makes: save it anew")
                most = min(jpeg_pixels if image.format in ("JPEG", "MPO") else other_pixels, MAX_PIXELS)
                if width * height > most:
                    raise PhotoError(
                        f"{name} has {width} x {height} pixels and at most {most / 1e6:.0f} million are read: "
                        "make it smaller"
                    )
                if at_least is not None:
                    image.draft("RGB", (min(at_least, width), min(at_least, height)))
                image.load()
                turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
                upright = image if turn is None else image.transpose(turn)
                return _rgb(upright), (height, width) if turn in _SIDEWAYS else (width, height)
    except UnidentifiedImageError as error:
        raise PhotoError(f"{name} is no JPEG, PNG, WebP, MPO or HEIC picture: convert it to one of these") from error
    except PhotoError:
        raise
    except FileNotFoundError as error:
        raise PhotoError(f"{name} does not exist: check the path") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise PhotoError(
            f"{name} cannot be decoded ({_one_line(error)}): it is damaged or cut off, copy it again"
        ) from error


def _one_line(error: Exception) -> str:
    """What a decoder says, in one line."""
    return " ".join(str(error).split())


def _picture_file(content: bytes, name: str) -> Image.Image:
    """The picture, not decoded yet; no parser but those of the formats listed ever sees a user's file."""
    if content[4:8] != b"ftyp" or content[8:12] not in _HEIC_BRANDS:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise PhotoError(f'{name} is HEIC: pip install "leafzoom[heic]", or convert it to JPEG') from error
    picture: Image.Image = HeifImageFile(io.BytesIO(content))
    return picture


def _content(photo: Path | bytes) -> bytes:
    """The photo's bytes, at most MAX_BYTES of them."""
    if isinstance(photo, Path):
        status = photo.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise PhotoError(f"{photo} is {kind}, not a photo")
        size = status.st_size
    else:
        size = len(photo)
    if size > MAX_BYTES:
        raise PhotoError(
            f"{photo if isinstance(photo, Path) else 'the photo'} has {size} bytes and at most "
            f"{MAX_BYTES} are read: make it smaller"
        )
    return photo.read_bytes() if isinstance(photo, Path) else photo


def _srgb(image: Image.Image) -> Image.Image:
    """The picture with its colours as sRGB means them, by its colour profile; as it is where that is none."""
    profile = image.info.get("icc_profile")
    if image.mode not in ("RGB", "CMYK", "L") or not isinstance(profile, bytes) or len(profile) > _PROFILE_BYTES:
        return image
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(given):
            return image
        converted = ImageCms.profileToProfile(image, given, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return converted or image


def _rgb(image: Image.Image) -> Image.Image:
    """Eight-bit sRGB; 16-bit grey is scaled, transparency is laid on white."""
    image = _srgb(image)
    if image.mode.startswith("I"):
        grey = np.asarray(image, np.int64)
        eight_bit = (grey >> 8 if grey.max(initial=0) > 255 else grey).clip(0, 255).astype(np.uint8)
        return Image.fromarray(eight_bit).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
