"""When, where and with what a photo was taken; impossible values are named and left out."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from exif_photos import DETAILS, degrees, make_exif
from leafzoom.exif import Exif, read_exif
from leafzoom.photo import read_source

BONN = {"latitude": ("N", degrees(50.735)), "longitude": ("E", degrees(7.0998))}
LIMA = {"latitude": ("S", degrees(12.0464)), "longitude": ("W", degrees(77.0428))}
NO_NUMBER = (IFDRational(0, 0), IFDRational(0, 1), IFDRational(0, 1))


def written(exif: Image.Exif, image_format: str = "JPEG") -> bytes:
    """A small photo as a file's content."""
    content = io.BytesIO()
    Image.new("RGB", (40, 30), "green").save(content, image_format, exif=exif)
    return content.getvalue()


def exif_of(**values: Any) -> Exif:
    return read_source(written(make_exif(**values)), 64).exif


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_everything_is_read_from_each_format(image_format: str) -> None:
    exif = make_exif("2026:06:01 10:15:00", camera=("Canon", "Canon EOS 90D"), **LIMA)
    exif.get_ifd(DETAILS)[0x9011] = "-05:00"

    found = read_source(written(exif, image_format), 64).exif

    assert found == Exif("2026-06-01T10:15:00-05:00", -12.0464, -77.0428, "Canon EOS 90D")
    assert found.day == "2026-06-01"
    assert Exif.from_dict(found.to_dict()) == found


def test_places_in_the_north_and_east_are_positive() -> None:
    found = exif_of(**BONN)
    assert (found.latitude, found.longitude) == (50.735, 7.0998)
    assert found.without_place() == Exif()


@pytest.mark.parametrize(
    ("camera", "name"),
    [
        (("NIKON CORPORATION", "NIKON D750"), "NIKON D750"),
        (("Google", "Pixel 8"), "Google Pixel 8"),
        (("", "Pixel 8\0\0"), "Pixel 8"),
        (("OPPO  ", ""), "OPPO"),
    ],
)
def test_a_maker_is_named_once(camera: tuple[str, str], name: str) -> None:
    assert exif_of(camera=camera).camera == name


def test_a_photo_may_say_nothing() -> None:
    assert read_source(written(Image.Exif()), 64).exif == Exif()
    assert Exif().to_dict() == {}
    assert exif_of(taken="    :  :     :  :  ") == Exif()


@pytest.mark.parametrize(
    ("values", "impossible"),
    [
        ({"taken": "0000:00:00 00:00:00"}, {"taken"}),
        ({"taken": "2026:13:01 10:00:00"}, {"taken"}),
        ({"taken": "1980:01:01 00:00:00"}, {"taken"}),
        ({"taken": "2999:01:01 00:00:00"}, {"taken"}),
        ({"taken": "yesterday"}, {"taken"}),
        ({**BONN, "latitude": ("N", degrees(91.0))}, {"latitude", "longitude"}),
        ({**BONN, "longitude": ("E", degrees(200.0))}, {"latitude", "longitude"}),
        ({**BONN, "longitude": ("N", degrees(7.0))}, {"latitude", "longitude"}),
        ({**BONN, "latitude": ("N", NO_NUMBER)}, {"latitude", "longitude"}),
        ({"latitude": BONN["latitude"]}, {"latitude", "longitude"}),
        (
            {"latitude": ("N", degrees(0.0)), "longitude": ("E", degrees(0.0))},
            {"latitude", "longitude"},
        ),
        ({"camera": ("Canon", "EOS\x07 90D")}, {"camera"}),
        ({"camera": ("x" * 200, "y")}, {"camera"}),
    ],
)
def test_impossible_values_are_named_and_left_out(
    values: dict[str, Any], impossible: set[str]
) -> None:
    found = exif_of(**values)
    assert set(found.impossible) == impossible
    assert len(found.impossible) == len(impossible)
    assert found.to_dict().keys() == {"impossible_exif"}
    assert found.without_place().impossible == tuple(
        name for name in found.impossible if name in ("taken", "camera")
    )


def test_a_damaged_exif_is_no_error() -> None:
    class Damaged(Image.Image):
        def getexif(self) -> Image.Exif:
            raise ValueError("not a TIFF")

    assert "taken" in read_exif(Damaged()).impossible
