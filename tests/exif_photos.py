"""Photos with the EXIF that cameras write."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

DETAILS = 0x8769
GPS = 0x8825
TAKEN = 0x9003

Degrees = tuple[IFDRational, ...]


def degrees(value: float) -> Degrees:
    """Degrees, minutes and seconds of a positive angle, to a millisecond."""
    whole = int(value)
    minutes = int((value - whole) * 60)
    seconds = round((value - whole - minutes / 60) * 3600 * 1000)
    return (IFDRational(whole, 1), IFDRational(minutes, 1), IFDRational(seconds, 1000))


def make_exif(
    taken: object = None,
    latitude: tuple[object, object] | None = None,
    longitude: tuple[object, object] | None = None,
    camera: tuple[object, object] | None = None,
) -> Image.Exif:
    """An EXIF; latitude and longitude are a letter and degrees, the camera is maker and model."""
    exif = Image.Exif()
    if camera is not None:
        exif[0x010F], exif[0x0110] = camera
    if taken is not None:
        exif.get_ifd(DETAILS)[TAKEN] = taken
    gps = exif.get_ifd(GPS)
    if latitude is not None:
        gps[1], gps[2] = latitude
    if longitude is not None:
        gps[3], gps[4] = longitude
    return exif


def save_with_exif(path: Path, image: Image.Image, exif: Image.Exif) -> Path:
    """Write a JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)
    return path
