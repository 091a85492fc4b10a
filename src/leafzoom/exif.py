"""When, where and with what a photo was taken, as its EXIF says.

A camera's clock may be unset, a GPS without a fix writes zeros, and a damaged EXIF holds anything.
Impossible values are left out, and named, so that they can be counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from PIL import Image

__all__ = ["NO_EXIF", "Exif", "read_exif"]

_MAKE = 0x010F
_MODEL = 0x0110
_DETAILS_IFD = 0x8769
_GPS_IFD = 0x8825
_TAKEN = (0x9003, 0x9004)  # DateTimeOriginal, DateTimeDigitized
_OFFSETS = (0x9011, 0x9012)  # of them from UTC
_LATITUDE = (1, 2, "NS", 90)  # the tags of its letter and of its degrees, letters, greatest
_LONGITUDE = (3, 4, "EW", 180)

_TIME_FORMAT = "%Y:%m:%d %H:%M:%S"
_FIRST_YEAR = 1990  # no digital camera is older
_DIGITS = 6  # of degrees: a tenth of a metre
_MAX_CAMERA_LENGTH = 100
_SIXTIETHS = (1, 60, 3600)


@dataclass(frozen=True)
class Exif:
    """When, where and with what a photo was taken; None where it does not say.

    Attributes:
        taken: the local time, ISO 8601 to the second, with its offset from UTC if that is known.
        latitude: in degrees, positive to the north.
        longitude: in degrees, positive to the east.
        camera: maker and model.
        impossible: the names of values that cannot be true and were left out.
    """

    taken: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    camera: str | None = None
    impossible: tuple[str, ...] = ()

    @property
    def day(self) -> str | None:
        """The date of `taken`, year first.

        >>> Exif("2026-06-01T10:15:00").day
        '2026-06-01'
        """
        return self.taken[:10] if self.taken else None

    def without_place(self) -> Exif:
        """The same without latitude and longitude."""
        left = tuple(name for name in self.impossible if name not in ("latitude", "longitude"))
        return replace(self, latitude=None, longitude=None, impossible=left)

    def to_dict(self) -> dict[str, Any]:
        """What is known, by name; `impossible_exif` where something is."""
        known = {
            "taken": self.taken,
            "latitude": self.latitude,
            "longitude": self.longitude,
            "camera": self.camera,
            "impossible_exif": list(self.impossible) or None,
        }
        return {name: value for name, value in known.items() if value is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Exif:
        """The inverse of `to_dict`; other entries are ignored."""
        return cls(
            taken=content.get("taken"),
            latitude=content.get("latitude"),
            longitude=content.get("longitude"),
            camera=content.get("camera"),
            impossible=tuple(content.get("impossible_exif", ())),
        )


NO_EXIF = Exif()


def read_exif(image: Image.Image) -> Exif:
    """The EXIF of an opened image; whatever is damaged in it is impossible, and no error."""
    try:
        exif = image.getexif()
        main = dict(exif)
        details = exif.get_ifd(_DETAILS_IFD)
        gps = exif.get_ifd(_GPS_IFD)
    except Exception:  # a damaged EXIF makes Pillow raise nearly anything
        return Exif(impossible=("taken", "latitude", "longitude", "camera"))

    values: dict[str, Any] = {}
    impossible: list[str] = []
    for name, read in (
        ("taken", lambda: _taken(details)),
        ("latitude", lambda: _degrees(gps, *_LATITUDE)),
        ("longitude", lambda: _degrees(gps, *_LONGITUDE)),
        ("camera", lambda: _camera(main)),
    ):
        try:
            values[name] = read()
        except (ValueError, TypeError, ArithmeticError, AttributeError):
            impossible.append(name)

    # One without the other is no place, and a GPS without a fix writes zeros.
    place = (values.get("latitude"), values.get("longitude"))
    if place == (0.0, 0.0) or (None in place and place != (None, None)):
        values.update(latitude=None, longitude=None)
        impossible = [*(name for name in impossible if name[0] != "l"), "latitude", "longitude"]
    return Exif(**values, impossible=tuple(impossible))


def _taken(details: Mapping[int, Any]) -> str | None:
    """The time in ISO 8601.

    Raises:
        ValueError, TypeError: it is no time, before 1990, or in the future.
    """
    for tag, offset_tag in zip(_TAKEN, _OFFSETS, strict=True):
        text = _text(details.get(tag))
        if not text.replace(":", "").strip():
            continue  # absent, or the blanks by which EXIF says that it is unknown

        time = datetime.strptime(text[:19], _TIME_FORMAT)
        tomorrow = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
        if time.year < _FIRST_YEAR or time > tomorrow:
            raise ValueError("no time at which a photo was taken")
        return time.isoformat() + _offset(_text(details.get(offset_tag)))
    return None


def _offset(text: str) -> str:
    """An offset from UTC, such as +02:00; nothing if it is none."""
    try:
        datetime.strptime(text, "%z")
    except ValueError:
        return ""
    return text


def _degrees(
    gps: Mapping[int, Any], letter_tag: int, degrees_tag: int, letters: str, greatest: int
) -> float | None:
    """Latitude or longitude in degrees.

    Raises:
        ValueError, TypeError: it is not three numbers with a letter, or out of range.
    """
    parts = gps.get(degrees_tag)
    if parts is None:
        return None
    numbers = [float(part) for part in parts]
    letter = _text(gps.get(letter_tag)).upper()

    # Minutes and seconds are below 60; a rational number with denominator 0 is no number.
    in_range = all(math.isfinite(number) and number >= 0 for number in numbers)
    in_range = in_range and all(number <= 60 for number in numbers[1:])
    if len(numbers) != len(_SIXTIETHS) or not in_range or len(letter) != 1:
        raise ValueError("no degrees, minutes and seconds")
    degrees = sum(number / unit for number, unit in zip(numbers, _SIXTIETHS, strict=True))
    if letter not in letters or degrees > greatest:
        raise ValueError("no place on the earth")
    return round(-degrees if letter == letters[1] else degrees, _DIGITS)


def _camera(main: Mapping[int, Any]) -> str | None:
    """Maker and model; the model alone where it names the maker.

    Raises:
        ValueError, TypeError: a text with characters that cannot be printed.
    """
    make = _text(main.get(_MAKE))
    model = _text(main.get(_MODEL))
    first_word = make.split(" ")[0].lower()
    named = first_word and model.lower().startswith(first_word)
    camera = model if named else f"{make} {model}".strip()
    if not camera.isprintable() or len(camera) > _MAX_CAMERA_LENGTH:
        raise ValueError("no name of a camera")
    return camera or None


def _text(value: Any) -> str:
    """A text without the zeros and blanks that fill it up.

    Raises:
        TypeError: something else than a text.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", errors="replace")
    if not isinstance(value, str):
        raise TypeError("no text")
    return " ".join(value.split("\0")[0].split()) if value.isascii() else value.strip("\0 ")
