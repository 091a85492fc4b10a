"""Hostile photos, and more photos than the service accepts."""

from __future__ import annotations

import io
import struct
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from serve.service_process import ServiceProcess


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 100_000, 9)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def encoded(file_format: str, **options: object) -> bytes:
    """A small green picture in a file format."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "green").save(file, file_format, **options)
    return file.getvalue()


def jpeg_with_scans(count: int) -> bytes:
    """A progressive JPEG that repeats its last scan: few bytes each, and much time to decode."""
    jpeg = encoded("JPEG", progressive=True)
    last_scan = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last_scan:-2] * count + b"\xff\xd9"


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(r) file"
HOSTILE_PHOTOS = {
    "50,000 scans": jpeg_with_scans(50_000),
    "65k x 65k": png_header(65_535, 65_535),
    "a bomb within the general limit": png_header(9_000, 9_000),
    "cut off": encoded("JPEG")[:300],
    "TIFF named .jpg": encoded("TIFF"),
    "EPS named .jpg": EPS,
    "SVG named .jpg": SVG,
    "nothing": b"",
    "zeros": b"\0" * 3_000_000,
}


@pytest.fixture(scope="module")
def large_photo_cpu_seconds(service: ServiceProcess) -> float:
    """The CPU time of ordinary work: the largest of three diagnoses of a 12-megapixel photo."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((4000, 3000)).save(file, "JPEG", quality=95)

    seconds = []
    for _ in range(3):
        before = service.cpu_seconds()
        assert service.post_photos(("large.jpg", file.getvalue())).status_code == 200
        seconds.append(service.cpu_seconds() - before)
    return max(seconds)


@pytest.mark.parametrize("kind", HOSTILE_PHOTOS)
def test_a_hostile_photo_is_refused_for_less_than_an_ordinary_one_costs(
    service: ServiceProcess, large_photo_cpu_seconds: float, kind: str
) -> None:
    memory_before = service.memory_mb()
    cpu_before = service.cpu_seconds()
    answer = service.post_photos(("leaf.jpg", HOSTILE_PHOTOS[kind]))
    cpu_seconds = service.cpu_seconds() - cpu_before

    assert 400 <= answer.status_code < 500
    assert answer.json()[0]["error"]
    print(f"ordinary {large_photo_cpu_seconds:.2f} s, hostile {cpu_seconds:.2f} s")
    assert cpu_seconds <= large_photo_cpu_seconds
    assert service.memory_mb() - memory_before < 50


def large_photo(file_format: str, width: int, height: int) -> bytes:
    """A picture of many pixels and few bytes."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "green").save(file, file_format)
    return file.getvalue()


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_photo_of_64_megapixels_is_read(service: ServiceProcess, file_format: str) -> None:
    """As the largest common phones make them."""
    answer = service.post_photos(("a.jpg", large_photo(file_format, 9280, 6960)))
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["scales"][0]["box"] == [0, 0, 9280, 6960]


@pytest.mark.parametrize(
    ("photo", "size", "limit"),
    [
        (png_header(12_001, 10_000), "12001 x 10000", "66 million"),
        (large_photo("JPEG", 12_001, 10_000), "12001 x 10000", "120 million"),
    ],
    ids=["PNG", "JPEG"],
)
def test_a_photo_of_too_many_pixels_is_called_too_large(
    service: ServiceProcess, photo: bytes, size: str, limit: str
) -> None:
    (result,) = service.post_photos(("a.jpg", photo)).json()
    assert f"is too large: {size} pixels, and at most {limit} are read" in result["error"]


def test_more_photos_than_accepted_are_refused_with_the_time_to_try_again(
    service: ServiceProcess, six_photos: list[tuple[str, bytes]]
) -> None:
    statuses: list[int] = []
    retry_after: list[str] = []

    def post_four_times() -> None:
        for _ in range(4):
            answer = service.post_photos(*six_photos)
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                retry_after.append(answer.headers["retry-after"])

    threads = [threading.Thread(target=post_four_times) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(statuses) == {200, 429}
    assert set(retry_after) == {"1"}
    assert service.post_photos(six_photos[0]).status_code == 200
