"""From a photo to the source: decoded, upright, squashed to a square of uint8 RGB.

Training, evaluation and prediction all go through `read_source`, so that they see the same pixels.
"""

from __future__ import annotations

import io
import re
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
from leafzoom.exif import NO_EXIF, Exif, read_exif
from leafzoom.file_kinds import HEIC_BRANDS, READ_KINDS, describe_file, isobmff_brands
from leafzoom.photo_archive import ArchivedPhoto
from leafzoom.photo_file import check_size, read_photo_file
from leafzoom.photo_url import RemotePhoto
from leafzoom.source_size import SourceSize

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "PREPROCESSING",
    "SUFFIXES",
    "Photo",
    "Source",
    "read_photo",
    "read_source",
]

PREPROCESSING = "pillow-bilinear-antialias-2"
"""Version of the pixels of a source, stored in caches and models. Version 1 ignored colour
profiles."""

# What is accepted.
FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    *(".png", ".webp", ".heic", ".heif", ".hif"),
)
MAX_PIXELS = 120_000_000

_MAX_DOUBLED_SIZE = 256  # JPEGs for small sources are decoded at twice their side

# Imported so that Image.open need not load the plugins of all formats; JPEG's also opens MPO.
_PLUGINS = (JpegImagePlugin, PngImagePlugin, WebPImagePlugin)
_JPEG_FORMATS = ("JPEG", "MPO")

# Pillow limits how large a PNG's text and profile are, and its message names this setting.
_PNG_LIMIT = "MAX_TEXT"
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PNG_PROFILE = (b"iCCP",)

# JPEG markers. The pattern leaves out those that can stand between the data of a scan.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JPEG_START_OF_SCAN = b"\xff\xda"
_JPEG_END_OF_IMAGE = b"\xff\xd9"
_MAX_JPEG_SCANS = 250  # a scan may be a few bytes long and still costs time over the whole image

# How EXIF says that a photo has to be turned.
_EXIF_ORIENTATION = 0x0112
_TRANSPOSE_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDE_SWAPPING_ORIENTATIONS = (5, 6, 7, 8)

# Colour profiles that are applied; others are ignored.
_COLOUR_PROFILE_MODES = ("RGB", "CMYK", "L")
_MAX_COLOUR_PROFILE_BYTES = 4 * 2**20
_SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@dataclass(frozen=True)
class Source:
    """The square that the network reads, and the size of the upright photo.

    `pixels`: uint8 [S, S, 3], RGB. `photo_size`: width, height in photo pixels. `exif`: when and
    where the photo was taken.
    """

    pixels: NDArray[np.uint8]
    photo_size: tuple[int, int]
    exif: Exif = NO_EXIF


@dataclass(frozen=True)
class _Upright:
    """The upright RGB image, its full size (width, height), and its EXIF."""

    image: Image.Image
    full_size: tuple[int, int]
    exif: Exif


Photo = Path | ArchivedPhoto | RemotePhoto | bytes | Image.Image | NDArray[np.uint8]
"""A photo: a file, a member of a ZIP archive, one in a storage, a file's content, a Pillow image
(its EXIF orientation is applied), or an upright array, uint8, [H, W, 3] (RGB) or [H, W] (grey)."""


@dataclass(frozen=True)
class _PixelLimits:
    """The most pixels that are decoded: of a JPEG, and of a file of another format."""

    jpeg: int = MAX_PIXELS
    other: int = MAX_PIXELS

    def of(self, image: Image.Image) -> int:
        """The limit for an image, by its format."""
        limit = self.jpeg if image.format in _JPEG_FORMATS else self.other
        return min(limit, MAX_PIXELS)


def read_source(
    photo: Photo,
    size: int | SourceSize,
    *,
    jpeg_pixels: int = MAX_PIXELS,
    other_pixels: int = MAX_PIXELS,
) -> Source:
    """Decode a photo, turn it upright and squash it to a square (Pillow's bilinear).

    The resize is antialiased. A JPEG much larger than the source is decoded at a reduced scale,
    never below twice the source's side or 512 pixels, and never below the source's side.

    Args:
        photo: a file, its content, a Pillow image or an array.
        size: S, the side of the source in pixels.
        jpeg_pixels: the most pixels of a JPEG, which is decoded at a reduced scale.
        other_pixels: the most pixels of a file of another format.

    Raises:
        PhotoError: the photo is no readable JPEG, PNG, WebP, MPO or (with the extra `heic`) HEIC,
            has too many bytes or pixels, or is cut off.
    """
    sizes = SourceSize(size, size) if isinstance(size, int) else size
    limits = _PixelLimits(jpeg=jpeg_pixels, other=other_pixels)
    upright = _open_upright(photo, sizes=sizes, limits=limits)

    side = sizes.of(upright.full_size)
    squashed = upright.image.resize((side, side), Image.Resampling.BILINEAR)
    return Source(np.asarray(squashed, np.uint8), upright.full_size, upright.exif)


def read_photo(photo: Photo) -> Image.Image:
    """The photo at full resolution, upright, RGB.

    Raises:
        PhotoError: as `read_source`.
    """
    return _open_upright(photo, sizes=None, limits=_PixelLimits()).image


def _open_upright(photo: Photo, *, sizes: SourceSize | None, limits: _PixelLimits) -> _Upright:
    """The upright image of any kind of photo.

    Args:
        photo: see `Photo`.
        sizes: of the source, for which a JPEG may be decoded at a reduced scale; None: at full
            resolution.
        limits: the most pixels of a file.
    """
    if isinstance(photo, Path | ArchivedPhoto | RemotePhoto | bytes):
        return _decode_file(photo, sizes=sizes, limits=limits)

    return _upright_from_memory(photo)


def _upright_from_memory(photo: Image.Image | NDArray[np.uint8]) -> _Upright:
    """The upright image of a Pillow image or an array."""
    image = _image_from_array(photo) if isinstance(photo, np.ndarray) else photo

    if not isinstance(image, Image.Image):
        raise PhotoError(
            f"a photo is a path, bytes, a Pillow image or an array, not {type(image).__name__}"
        )
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise PhotoError(
            f"the photo is too large: {image.width} x {image.height} pixels, and at most "
            f"{MAX_PIXELS / 1e6:.0f} million are read"
        )

    # A Pillow image may be loaded only here, and fail in any way.
    try:
        upright = _to_rgb(_turn_upright(image))
        return _Upright(upright, upright.size, read_exif(image))
    except MemoryError:
        raise
    except Exception as error:
        raise PhotoError(
            f"the photo cannot be decoded ({_one_line(error)}): it is damaged or cut off"
        ) from error


def _image_from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    """The image of an array, uint8 [H, W, 3] or [H, W]."""
    is_grey = pixels.ndim == 2
    is_rgb = pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (is_grey or is_rgb):
        raise PhotoError(
            "an array has to be uint8 [H, W, 3] (RGB) or [H, W] (grey), "
            f"not {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(pixels)


def _decode_file(
    photo: Path | ArchivedPhoto | RemotePhoto | bytes,
    *,
    sizes: SourceSize | None,
    limits: _PixelLimits,
) -> _Upright:
    """`_open_upright` for a file or its content; whatever fails becomes a PhotoError."""
    name = "the photo" if isinstance(photo, bytes) else str(photo)
    content = _content_of(photo, name)
    try:
        return _decode_content(content, name, sizes, limits)
    except (PhotoError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(
            f"{name} is too large: at most {MAX_PIXELS / 1e6:.0f} million pixels are read; "
            "make it smaller"
        ) from error
    except UnidentifiedImageError as error:
        kind = describe_file(content) or (f"is no {READ_KINDS}: convert it to one of these")
        raise PhotoError(f"{name} {kind}") from error
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise PhotoError(
            f"{name} cannot be decoded ({_one_line(error)}): "
            "it is damaged or cut off, copy it again"
        ) from error


def _content_of(photo: Path | ArchivedPhoto | RemotePhoto | bytes, name: str) -> bytes:
    """The photo's bytes, not too many of them."""
    if isinstance(photo, Path):
        return read_photo_file(photo)
    if isinstance(photo, ArchivedPhoto | RemotePhoto):
        return photo.read()

    check_size(len(photo), name)
    return photo


def _decode_content(
    content: bytes, name: str, sizes: SourceSize | None, limits: _PixelLimits
) -> _Upright:
    """The upright image of a file; a PNG's oversized text and profile are left out."""
    try:
        return _decode_once(content, name, sizes, limits)
    except ValueError as error:
        if _PNG_LIMIT not in str(error) or not content.startswith(_PNG_START):
            raise

    # Text is no part of the picture. Its profile is, so that is tried first.
    without_text = _without_png_chunks(content, _PNG_TEXT)
    try:
        return _decode_once(without_text, name, sizes, limits)
    except ValueError as error:
        if _PNG_LIMIT not in str(error):
            raise
    without_profile = _without_png_chunks(without_text, _PNG_PROFILE)
    return _decode_once(without_profile, name, sizes, limits)


def _decode_once(
    content: bytes, name: str, sizes: SourceSize | None, limits: _PixelLimits
) -> _Upright:
    with warnings.catch_warnings():
        # Pillow warns of large images; `_check_image` raises instead.
        warnings.simplefilter("ignore")
        with _open_image(content, name) as image:
            _check_image(image, content, name, limits)
            return _decode_image(image, sizes)


def _without_png_chunks(content: bytes, kinds: tuple[bytes, ...]) -> bytes:
    """A PNG without its chunks of some kinds."""
    parts = [_PNG_START]
    offset = len(_PNG_START)
    while offset < len(content):
        # A chunk is its data's length, its kind, the data and a checksum.
        end = offset + 12 + int.from_bytes(content[offset : offset + 4], "big")
        if content[offset + 4 : offset + 8] not in kinds:
            parts.append(content[offset:end])
        offset = end
    return b"".join(parts)


def _open_image(content: bytes, name: str) -> Image.Image:
    """The image, not decoded yet; only the parsers of the listed formats see the file."""
    # HEIC files start with a box of their brand, and Pillow needs a plugin for them. What else has
    # such a box (AVIF, a film) has words of its own.
    brands = isobmff_brands(content)
    is_heic = bool(brands) and brands[0] in HEIC_BRANDS and describe_file(content) is None
    if not is_heic:
        return Image.open(io.BytesIO(content), formats=FORMATS)

    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise PhotoError(
            f'{name} is HEIC: pip install "leafzoom[heic]", or convert it to JPEG'
        ) from error
    image: Image.Image = HeifImageFile(io.BytesIO(content))
    return image


def _check_image(image: Image.Image, content: bytes, name: str, limits: _PixelLimits) -> None:
    """Refuse an image that would take too long or too much memory to decode."""
    # Each scan costs a pass over the whole picture.
    if image.format in _JPEG_FORMATS and _has_too_many_scans(content):
        raise PhotoError(
            f"{name} is a JPEG of more scans than any camera makes: save it again as a new file"
        )

    width, height = image.size
    limit = limits.of(image)
    if width * height > limit:
        raise PhotoError(
            f"{name} is too large: {width} x {height} pixels, and at most "
            f"{limit / 1e6:.0f} million are read: make it smaller"
        )


def _has_too_many_scans(content: bytes) -> bool:
    """Whether a JPEG's first image has more than _MAX_JPEG_SCANS scans.

    Phones append a film to a photo; what follows the first image is not counted.
    """
    # Few markers in the whole file, the usual case.
    if content.count(_JPEG_START_OF_SCAN) <= _MAX_JPEG_SCANS:
        return False

    # The same bytes can occur inside a segment, so walk from segment to segment.
    scans = 0
    offset = 2
    while scans <= _MAX_JPEG_SCANS and (marker := _JPEG_MARKER.search(content, offset)):
        if marker.group() == _JPEG_END_OF_IMAGE:
            break
        if marker.group() == _JPEG_START_OF_SCAN:
            scans += 1

        # A segment starts with its length, which counts its own two bytes.
        segment_length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        offset = marker.end() + segment_length

    return scans > _MAX_JPEG_SCANS


def _decode_image(image: Image.Image, sizes: SourceSize | None) -> _Upright:
    """The upright image, with its size at full resolution, whatever is decoded."""
    width, height = image.size
    # JPEG's decoder scales down by 2, 4 or 8 on its way, as far as no side falls below these.
    if sizes is not None:
        side = sizes.of((width, height))
        draft_side = max(side, 2 * min(side, _MAX_DOUBLED_SIZE))
        image.draft("RGB", (min(draft_side, width), min(draft_side, height)))
    image.load()

    swaps_sides = _orientation(image) in _SIDE_SWAPPING_ORIENTATIONS
    upright_size = (height, width) if swaps_sides else (width, height)
    return _Upright(_to_rgb(_turn_upright(image)), upright_size, read_exif(image))


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation; 1 (upright) where there is none. A damaged EXIF may hold any value."""
    return image.getexif().get(_EXIF_ORIENTATION, 1)


def _turn_upright(image: Image.Image) -> Image.Image:
    """The image with its EXIF orientation applied."""
    transpose = _TRANSPOSE_BY_ORIENTATION.get(_orientation(image))  # type: ignore[call-overload]
    return image if transpose is None else image.transpose(transpose)


def _to_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit sRGB; 16-bit grey is scaled, transparency is laid on white."""
    image = _to_srgb(image)

    # Pillow's own conversion would clip 16-bit grey instead of scaling it.
    if image.mode.startswith("I"):
        grey = np.asarray(image, np.int64)
        if grey.max(initial=0) > 255:
            grey = grey >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")

    # A palette may have a transparent colour.
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")

    return image.convert("RGB")


def _to_srgb(image: Image.Image) -> Image.Image:
    """The image converted from its colour profile to sRGB; unchanged without a valid profile."""
    profile = image.info.get("icc_profile")
    if image.mode not in _COLOUR_PROFILE_MODES or not isinstance(profile, bytes):
        return image
    if len(profile) > _MAX_COLOUR_PROFILE_BYTES:
        return image

    # A damaged profile is no reason to refuse a photo.
    try:
        image_profile = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(image_profile):
            return image
        converted = ImageCms.profileToProfile(image, image_profile, _SRGB_PROFILE, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return converted or image


def _one_line(error: Exception) -> str:
    """A decoder's message in one line."""
    return " ".join(str(error).split())
