"""Photographs: decoded, upright, sRGB; damaged or oversized ones are refused."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from conftest import save_photo
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.errors import PhotoError
from leafzoom.photo import read_photo, read_source

ORIENTATION_TAG = 0x0112
MAKER_TAG = 0x010F


def rendered_leaf(size: int, seed: int = 0) -> Image.Image:
    """A leaf of `size` x `size` pixels."""
    return Image.fromarray(next(render_leaves(1, size=size, seed=seed)).pixels)


def noise_image(width: int, height: int) -> Image.Image:
    """Random pixels, the same in every run."""
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))


def bilinear(image: Image.Image, size: int) -> NDArray[np.int64]:
    """The pixels of Pillow's antialiased resize to a square."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.int64)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """The content of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def oriented_exif(orientation: int) -> Image.Exif:
    """EXIF data with an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


# Geometry


def test_source_is_squashed_upright_rgb(tmp_path: Path) -> None:
    """Orientation 6 (turn right): the stored image's left edge is the upright one's top."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = (250, 0, 0)
    path = tmp_path / "turned.jpg"
    Image.fromarray(pixels).save(path, exif=oriented_exif(6), quality=95)

    source = read_source(path, 20)
    assert source.photo_size == (40, 80)
    assert source.pixels.shape == (20, 20, 3)
    assert source.pixels[:8, :, 0].min() > 200
    assert source.pixels[12:, :, 0].max() < 50
    assert read_photo(path).size == (40, 80)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.png"
    noise_image(50, 30).save(path, exif=oriented_exif(orientation))
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)

    source = read_source(path, 40)
    assert source.photo_size == upright.size
    assert np.array_equal(source.pixels, bilinear(upright, 40))


def test_source_equals_pillows_antialiased_resize(tmp_path: Path) -> None:
    image = noise_image(130, 90)
    path = tmp_path / "a.png"
    image.save(path)

    expected = bilinear(image, 64)
    assert np.array_equal(read_source(path, 64).pixels, expected)
    assert np.array_equal(read_source(path.read_bytes(), 64).pixels, expected)


def test_reduced_decoding_stays_close(tmp_path: Path) -> None:
    """A large JPEG is decoded at a reduced scale; the source hardly differs from the full one."""
    leaf = rendered_leaf(512, seed=1).resize((2048, 1536), Image.Resampling.BICUBIC)
    path = tmp_path / "large.jpg"
    leaf.save(path, quality=90)

    reduced = read_source(path, 128)
    assert reduced.photo_size == (2048, 1536)
    assert np.abs(reduced.pixels - bilinear(read_photo(path), 128)).mean() < 1.0


def test_one_pixel(tmp_path: Path) -> None:
    source = read_source(save_photo(tmp_path / "dot.png", (9, 8, 7), (1, 1)), 32)
    assert source.photo_size == (1, 1)
    assert np.unique(source.pixels.reshape(-1, 3), axis=0).tolist() == [[9, 8, 7]]


# Formats and colours


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((30, 40), 0x8000, np.uint16))
    else:
        image = Image.new("RGB", (40, 30), (200, 200, 200)).convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path)

    pixels = read_source(path, 32).pixels
    assert pixels.shape == (32, 32, 3)
    assert 100 < pixels.mean() < 256


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "mpo"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    leaf = rendered_leaf(64)
    options = {"save_all": True, "append_images": [leaf]} if suffix == "mpo" else {}
    path = tmp_path / f"a.{suffix}"
    leaf.save(path, **options)

    difference = np.abs(read_source(path, 64).pixels - np.asarray(leaf, np.int64))
    assert difference.mean() < 12


def test_heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    leaf = rendered_leaf(128).crop((0, 0, 128, 96))
    path = tmp_path / "a.heic"
    pillow_heif.from_pillow(leaf).save(path, quality=95)

    source = read_source(path, 64)
    assert source.photo_size == (128, 96)
    assert np.abs(source.pixels - bilinear(leaf, 64)).mean() < 6

    # Cut off anywhere.
    content = path.read_bytes()
    for percent in range(0, 100, 5):
        with pytest.raises(PhotoError):
            read_source(content[: len(content) * percent // 100], 64)

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    advice = r'a.heic is HEIC: pip install "leafzoom\[heic\]", or convert it to JPEG'
    with pytest.raises(PhotoError, match=advice):
        read_source(path, 64)


def test_turned_heic(tmp_path: Path) -> None:
    """As a camera writes it; in a process of its own, which registers HEIC with Pillow."""
    pytest.importorskip("pillow_heif")
    leaf = rendered_leaf(128).crop((0, 0, 128, 96))
    leaf.save(tmp_path / "a.png")
    turned = tmp_path / "turned.heic"
    script = (
        "import sys, pillow_heif\n"
        "from PIL import Image\n"
        "pillow_heif.register_heif_opener()\n"
        "leaf = Image.open(sys.argv[1])\n"
        "exif = leaf.getexif()\n"
        "exif[0x0112] = 6\n"
        "leaf.save(sys.argv[2], quality=95, exif=exif.tobytes())\n"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "a.png", turned], check=True)

    source = read_source(turned, 64)
    upright = leaf.transpose(Image.Transpose.ROTATE_270)
    assert source.photo_size == (96, 128)
    assert np.abs(source.pixels - bilinear(upright, 64)).mean() < 6


def srgb_profile() -> bytes:
    """The colour profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def red_green_profile() -> bytes:
    """sRGB's profile under another name, its primaries for red and green exchanged."""
    content = srgb_profile()
    tags = int.from_bytes(content[128:132], "big")
    table = content[132 : 132 + 12 * tags]
    swapped = table.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")

    renamed = content.replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))
    return renamed.replace(table, swapped)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_colours_are_those_of_the_profile(image_format: str) -> None:
    red = Image.new("RGB", (64, 64), (220, 40, 40))

    def centre_pixel(profile: bytes) -> list[int]:
        content = encoded(red, image_format, icc_profile=profile, quality=95)
        return read_source(content, 32).pixels[16, 16].tolist()

    assert centre_pixel(red_green_profile()) == pytest.approx([40, 220, 40], abs=12)
    assert centre_pixel(srgb_profile()) == pytest.approx([220, 40, 40], abs=6)

    # An invalid profile is ignored.
    for invalid in (b"no profile", red_green_profile()[:200]):
        assert centre_pixel(invalid) == pytest.approx([220, 40, 40], abs=6)


# Damage and limits


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("odd.jpg", b"\x01\x02"),
        ("gif.jpg", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    message = rf"{name} is no JPEG, PNG, WebP, MPO or HEIC picture"
    with pytest.raises(PhotoError, match=message):
        read_source(tmp_path / name, 64)


def test_odd_exif_is_read_or_refused_like_any_photograph() -> None:
    """Whatever a byte of the EXIF block is, the result is an image or a PhotoError."""
    exif = oriented_exif(6)
    exif[MAKER_TAG] = "maker"
    content = encoded(Image.new("RGB", (40, 30), "green"), "JPEG", exif=exif)

    readable = 0
    for offset in range(20, 90):
        for value in (0, 1, 255):
            changed = content[:offset] + bytes([value]) + content[offset + 1 :]
            try:
                read_source(changed, 32)
                readable += 1
            except PhotoError:
                pass
    assert readable > 100


def test_truncated_missing_folder_and_huge(tmp_path: Path) -> None:
    content = encoded(noise_image(200, 200), "JPEG")
    for share in (0.05, 0.3, 0.6, 0.95):
        (tmp_path / "cut.jpg").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(PhotoError, match=r"cut\.jpg"):
            read_source(tmp_path / "cut.jpg", 64)

    with pytest.raises(PhotoError, match="does not exist"):
        read_source(tmp_path / "none.jpg", 64)
    with pytest.raises(PhotoError, match="is a folder"):
        read_source(tmp_path, 64)

    Image.new("1", (13_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(
        PhotoError, match="too large: 13000 x 10000 pixels, and at most 120 million"
    ):
        read_source(tmp_path / "huge.png", 64)


def test_no_warning_of_pillow_reaches_the_user(tmp_path: Path) -> None:
    """A size above Pillow's own limit and below leafzoom's."""
    path = tmp_path / "large.png"
    Image.new("1", (10_000, 9_500)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_source(path, 32).photo_size == (10_000, 9_500)


def leaf_content(image_format: str) -> bytes:
    """A photograph's content in a format, HEIF only with its library."""
    leaf = rendered_leaf(96)
    if image_format == "HEIF":
        buffer = io.BytesIO()
        pytest.importorskip("pillow_heif").from_pillow(leaf).save(buffer)
        return buffer.getvalue()

    options = {"save_all": True, "append_images": [leaf]} if image_format == "MPO" else {}
    return encoded(leaf, image_format, **options)


def damaged_contents(content: bytes) -> list[bytes]:
    """The content cut off at every per cent, and 400 times with some bits flipped."""
    damaged = [content[: len(content) * percent // 100] for percent in range(100)]
    random = np.random.default_rng(0)
    for _ in range(400):
        changed = np.frombuffer(content, np.uint8).copy()

        # The headers, where sizes and tables are, get half of the flips.
        reach = len(changed) if random.random() < 0.5 else min(256, len(changed))
        offsets = random.integers(0, reach, random.integers(1, 9))
        changed[offsets] ^= (1 << random.integers(0, 8, len(offsets))).astype(np.uint8)
        damaged.append(changed.tobytes())
    return damaged


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "MPO", "HEIF"])
def test_damage_anywhere_gives_a_photo_error_or_an_image(image_format: str) -> None:
    """Never another error; and damage costs no more than a hundred times the whole photograph."""
    content = leaf_content(image_format)
    read_source(content, 64)
    started = time.process_time()
    for _ in range(5):
        read_source(content, 64)
    undamaged_seconds = (time.process_time() - started) / 5

    messages: list[str] = []
    for damaged in damaged_contents(content):
        started = time.process_time()
        try:
            assert read_source(damaged, 64).pixels.shape == (64, 64, 3)
        except PhotoError as error:
            messages.append(str(error))
        seconds = time.process_time() - started
        assert seconds < 100 * undamaged_seconds + 1

    # At least what is cut off is refused.
    assert len(messages) >= 90
    assert not [message for message in messages if "\n" in message]


def test_jpegs_with_too_many_scans_are_refused() -> None:
    """Phones append a film to a photo, whose bytes may look like many scans: it is not counted."""
    leaf = encoded(noise_image(64, 64), "JPEG", progressive=True, quality=95)
    film = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x08" * 400
    assert read_source(leaf + film, 32).photo_size == (64, 64)

    end = b"\xff\xd9"
    last_scan = leaf[leaf.rindex(b"\xff\xda") : -len(end)]
    many_scans = last_scan * 300
    for tail in (b"", film):
        with pytest.raises(PhotoError, match="more scans than any camera makes"):
            read_source(leaf[: -len(end)] + many_scans + end + tail, 32)

    # A thumbnail in the EXIF data has an end of its own.
    thumbnail = b"\xff\xd8\xff\xda\0\x08..." + end
    segment = b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    with pytest.raises(PhotoError, match="more scans than any camera makes"):
        read_source(leaf[:2] + segment + leaf[2 : -len(end)] + many_scans + end, 32)
