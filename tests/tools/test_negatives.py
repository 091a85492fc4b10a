"""Photographs of anything but apple leaves, collected from made-up packages without a network."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools.archives import members, resource_members
from tools.negative_pictures import on_backgrounds, read_picture
from tools.negatives import KINDS, Package, collect, read_packages, verified

TABLE = """
[[package]]
registry = "pypi"
name = "garden"
version = "1.0"
licence = "CC0-1.0"
sha256 = "{sha256}"
take = [
    {{ files = 'apple', kind = "skip" }},
    {{ files = 'flowers/', kind = "plants" }},
    {{ files = 'walls/', kind = "textures", limit = 2 }},
]
"""


def picture_bytes(
    seed: int, size: tuple[int, int] = (200, 160), file_format: str = "PNG", cut_out: bool = False
) -> bytes:
    """A noisy picture; as a cut-out, its left half is transparent."""
    width, height = size
    channels = 4 if cut_out else 3
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    if cut_out:
        pixels[..., 3] = 255
        pixels[:, : width // 2, 3] = 0

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format)
    return stream.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def qt_resource(folder: str, name: str, content: bytes) -> bytes:
    """A compiled Qt resource file, version 1, with one file in one folder."""
    names = b""
    offsets = []
    for text in (folder, name):
        offsets.append(len(names))
        names += struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")

    data = struct.pack(">I", len(content)) + content
    tree = struct.pack(">IHII", 0, 2, 1, 1)
    tree += struct.pack(">IHII", offsets[0], 2, 1, 2)
    tree += struct.pack(">IHHHI", offsets[1], 0, 0, 0, 0)

    header_size = 20
    data_start = header_size + len(tree)
    header = struct.pack(">4I", 1, header_size, data_start, data_start + len(data))
    return b"qres" + header + tree + data + names


@pytest.fixture
def garden(tmp_path: Path) -> tuple[list[Package], Path]:
    """A package and its archive: opaque pictures, a cut-out, a copy, an icon and an apple."""
    folder = tmp_path / "archives"
    folder.mkdir()
    archive = folder / "garden-1.0.tar.gz"
    write_tar(
        archive,
        {
            "garden/flowers/rose.png": picture_bytes(1, cut_out=True, size=(300, 200)),
            "garden/flowers/apple-blossom.png": picture_bytes(2),
            "garden/flowers/icon.png": picture_bytes(3, size=(64, 64)),
            "garden/flowers/broken.png": picture_bytes(4)[:80],
            "garden/readme.txt": b"no picture",
            "garden/walls/brick.jpg": picture_bytes(5, file_format="JPEG", size=(900, 700)),
            "garden/walls/copy.png": picture_bytes(6),
            "garden/walls/copy-again.png": picture_bytes(6),
            "garden/walls/flat.png": zipped({}),
            "garden/other/stone.png": picture_bytes(7),
        },
    )

    table = tmp_path / "table.toml"
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    table.write_text(TABLE.format(sha256=sha256))
    return read_packages(table), archive


def test_what_the_table_takes_is_laid_out_by_kind(
    garden: tuple[list[Package], Path], tmp_path: Path
) -> None:
    packages, archive = garden
    out = tmp_path / "out"
    rows = collect(packages, [archive], out)

    assert (
        sorted(row.source_name for row in rows if row.kind == "plants")
        == ["garden/flowers/rose.png"] * 3
    )
    walls = [row.source_name for row in rows if row.kind == "textures"]
    assert len(walls) == len(set(walls)) <= 2

    with (out / "index.csv").open(newline="") as stream:
        index = list(csv.DictReader(stream))
    assert [line["file"] for line in index] == [row.file for row in rows]
    assert {line["licence"] for line in index} == {"CC0-1.0"}

    for row in rows:
        with Image.open(out / row.file) as image:
            assert image.format == "JPEG"
            assert image.mode == "RGB"
            assert max(image.size) <= 512


def test_collecting_again_gives_the_same_pictures(
    garden: tuple[list[Package], Path], tmp_path: Path
) -> None:
    packages, archive = garden
    first = collect(packages, [archive], tmp_path / "first")
    second = collect(packages, [archive], tmp_path / "second")

    assert first == second
    for row in first:
        expected = (tmp_path / "first" / row.file).read_bytes()
        assert (tmp_path / "second" / row.file).read_bytes() == expected


def test_a_cut_out_is_put_on_grey_white_and_a_photograph() -> None:
    picture = read_picture(picture_bytes(1, size=(300, 300), cut_out=True))
    assert picture is not None
    assert picture.is_cut_out
    # The transparent half is cut away.
    assert picture.image.size == (150, 300)

    photograph = Image.new("RGB", (640, 480), (10, 200, 30))
    on = on_backgrounds(picture, photograph, "rose")
    assert list(on) == ["grey", "white", "photo"]

    white = np.asarray(on["white"])
    assert 0.1 < (white == 255).all(axis=2).mean() < 0.9
    green = np.asarray(on["photo"]) == (10, 200, 30)
    assert 0.1 < green.all(axis=2).mean() < 0.9


def test_a_photograph_is_turned_upright() -> None:
    image = Image.new("RGB", (300, 200))
    exif = image.getexif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)

    picture = read_picture(stream.getvalue())

    assert picture is not None
    assert picture.image.size == (200, 300)


def test_pictures_of_nested_archives_are_read(tmp_path: Path) -> None:
    red = picture_bytes(1)
    blue = picture_bytes(2)
    archive = tmp_path / "game-1.whl"
    inner = {"textures/grass.png": red, "textures/notes.txt": b"none"}
    archive.write_bytes(
        zipped(
            {"data/all.pk3": zipped(inner), "data/animals.rcc": qt_resource("cats", "a.png", blue)}
        )
    )

    found = dict(members(archive, lambda name: True))
    assert found == {
        "data/all.pk3!textures/grass.png": red,
        "data/animals.rcc!cats/a.png": blue,
    }

    unwanted = dict(members(archive, lambda name: "cats" not in name))
    assert list(unwanted) == ["data/all.pk3!textures/grass.png"]


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_debian_package_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: garden\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\n"
        "Description: made up\n"
    )
    (root / "usr").mkdir()
    (root / "usr" / "rose.png").write_bytes(picture_bytes(1))
    archive = tmp_path / "garden_1.0_all.deb"
    subprocess.run(["dpkg-deb", "--build", root, archive], check=True, capture_output=True)

    assert dict(members(archive, lambda name: True)) == {"usr/rose.png": picture_bytes(1)}


def test_other_bytes_are_no_resource_file() -> None:
    with pytest.raises(ValueError, match="starts with 'qres'"):
        list(resource_members(b"PK\3\4 something else"))


def test_an_archive_with_another_checksum_is_refused(
    garden: tuple[list[Package], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, archive = garden
    assert verified(packages[0], archive.parent) == archive

    # The registry's client reports success, but the file is another one.
    archive.write_bytes(archive.read_bytes() + b"x")
    monkeypatch.setattr("tools.negatives._download_command", lambda package: ["true"])
    with pytest.raises(ValueError, match=packages[0].sha256):
        verified(packages[0], archive.parent)


def test_a_download_that_fails_tells_the_command(
    garden: tuple[list[Package], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages, _ = garden
    monkeypatch.setattr("tools.negatives._download_command", lambda package: ["ls", "--no-such"])
    with pytest.raises(ValueError, match="ls --no-such failed"):
        verified(packages[0], tmp_path / "empty")


def test_a_kind_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "table.toml"
    table.write_text(TABLE.format(sha256="0").replace('"plants"', '"planets"'))
    with pytest.raises(ValueError, match="garden: kind is 'planets'; expected one of plants"):
        read_packages(table)


def test_the_shipped_table_names_every_licence_and_checksum() -> None:
    packages = read_packages(Path("tools/negatives.toml"))
    assert len(packages) > 20
    for package in packages:
        assert len(package.sha256) == 64
        assert package.licence
        assert package.registry in ("debian", "pypi", "npm")
        assert any(rule.kind in KINDS for rule in package.rules)
