"""Tables, photographs, cache, near-duplicates, splits."""

from __future__ import annotations

import io
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw

from conftest import needs_shared
from leafzoom.dataset import audit, synthetic
from leafzoom.dataset import cache as cache_module
from leafzoom.dataset.audit import duplicate_groups, near_duplicates, near_duplicates_of
from leafzoom.dataset.cache import Cache, build_cache, open_cache
from leafzoom.dataset.lesions import read_lesions
from leafzoom.dataset.split import (
    Split,
    evaluation_images,
    grouped_split,
    paper_split,
    subset,
    training_split,
)
from leafzoom.dataset.synthetic import SYNTHETIC_LABELS, render_leaves
from leafzoom.dataset.table import Row, Table, read_table
from leafzoom.errors import DataError, LeafzoomError, PhotoError, RecipeError, UsageError
from leafzoom.labels import Decision, LabelSet, decide
from leafzoom.photo import read_photo, read_source
from leafzoom.recipe import load_recipe, recipe_from_dict, recipe_names, recipe_to_dict


def picture(path: Path, colour: tuple[int, int, int] = (10, 120, 30), size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def folder_with(tmp_path: Path, text: str, *images: str) -> Path:
    for image in images:
        picture(tmp_path / "images" / image)
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")
    return tmp_path


# Tables


def test_own_csv_and_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_bytes("\ufeffimage,labels\r\na.png,scab rust\r\nsub/b.png,\r\n".encode())
    picture(tmp_path / "a.png")
    picture(tmp_path / "images" / "sub" / "b.png")
    table = read_table(tmp_path).require_clean()
    assert [(row.line, row.image, row.labels) for row in table.rows] == [
        (2, "a.png", ("scab", "rust")),
        (3, "sub/b.png", ()),
    ]
    labels = table.label_set()
    assert labels.names == ("rust", "scab")
    assert labels.combinations == ((0, 0), (1, 1))
    assert table.targets(labels).tolist() == [[1, 1], [0, 0]]


def test_problems_name_the_row(tmp_path: Path) -> None:
    outside = picture(tmp_path / "elsewhere" / "secret.png")
    data = folder_with(
        tmp_path / "data",
        "image,labels\nok.png,scab\ngone.png,scab\n../x.png,scab\n/etc/passwd,scab\nok.png,rust\n,scab\nlink.png,rust\n"
        "a\\b.png,rust\n~/x.png,rust\n",
        "ok.png",
    )
    (data / "images" / "link.png").symlink_to(outside)
    table = read_table(data)
    assert table.images == ("ok.png",)
    found = {problem.line: problem.what.split(":")[0] for problem in table.problems}
    assert set(found) == {3, 4, 5, 6, 7, 8, 9, 10}
    assert "does not exist" in found[3]
    assert "outside the data folder" in found[4]
    assert "outside the data folder" in found[5]
    assert "is in row 2 already" in found[6]
    assert "names no photograph" in found[7]
    assert "link out of the data folder" in found[8]
    assert "backslash" in found[9]
    assert "outside" in found[10]
    with pytest.raises(DataError, match=r"train.csv row 3: 'gone.png' does not exist .*\(7 more: `leafzoom prepare`"):
        table.require_clean()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"image,label\na.png,scab\n", "columns image and labels and has image, label: labels missing"),
        (b"", "has no columns"),
        (b"image,labels\n", "has no photographs"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "train.csv").write_bytes(content)
    with pytest.raises(DataError) as error:
        read_table(tmp_path).require_clean()
    assert says in str(error.value).replace("has no columns:", "has no columns")
    assert "train.csv" in str(error.value)


def test_folders_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has to hold train\.csv or one CSV image,labels and has none"):
        read_table(tmp_path)
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.csv").touch()
    with pytest.raises(DataError, match="has 2 of them: name it with --csv"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "nowhere")


def test_unknown_label_where_the_recipe_fixes_them(leaves: Path) -> None:
    with pytest.raises(DataError, match=r"train.csv row 3: unknown label 'ring_spot': the labels are healthy, rust"):
        read_table(leaves).label_set(("healthy", "rust"))


def test_photographs_on_another_disk(leaves: Path, tmp_path: Path) -> None:
    (tmp_path / "train_images").symlink_to(leaves / "train_images")
    shutil.copy(leaves / "train.csv", tmp_path)
    assert len(read_table(tmp_path).require_clean()) == 60


def test_rows_that_hide_something(tmp_path: Path) -> None:
    data = folder_with(tmp_path, 'image,labels\na.png,scab\n./a.png,rust\nb.png\nc.png,"scab,rust"\n',
                       "a.png", "b.png", "c.png")  # fmt: skip
    found = {problem.line: problem.what for problem in read_table(data).problems}
    assert "is the photograph of row 2" in found[3]
    assert "has no labels column" in found[4]
    assert "separate labels by spaces" in found[5]
    (data / "train.csv").write_text("image,labels,labels\na.png,scab,rust\n")
    with pytest.raises(DataError, match="has a column twice"):
        read_table(data)


# Photographs


def test_source_is_squashed_upright_rgb(tmp_path: Path) -> None:
    """Orientation 6 (turn right): the stored picture's left edge is the upright one's top."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40] = (250, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    source = read_source(tmp_path / "turned.jpg", 20)
    assert source.photo_size == (40, 80)
    assert source.pixels.shape == (20, 20, 3)
    assert source.pixels[:8, :, 0].min() > 200
    assert source.pixels[12:, :, 0].max() < 50
    assert read_photo(tmp_path / "turned.jpg").size == (40, 80)


def test_source_equals_pillows_antialiased_resize(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (90, 130, 3), np.uint8))
    image.save(tmp_path / "a.png")
    expected = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(read_source(tmp_path / "a.png", 64).pixels, expected)
    assert np.array_equal(read_source((tmp_path / "a.png").read_bytes(), 64).pixels, expected)


def test_reduced_decoding_stays_close(tmp_path: Path) -> None:
    """A large JPEG is decoded at a reduced scale; the source hardly differs from the full decode's."""
    leaf = Image.fromarray(next(render_leaves(1, size=512, seed=1)).pixels).resize(
        (2048, 1536), Image.Resampling.BICUBIC
    )
    leaf.save(tmp_path / "large.jpg", quality=90)
    full = np.asarray(read_photo(tmp_path / "large.jpg").resize((128, 128), Image.Resampling.BILINEAR), np.int16)
    reduced = read_source(tmp_path / "large.jpg", 128)
    assert reduced.photo_size == (2048, 1536)
    assert np.abs(reduced.pixels.astype(np.int16) - full).mean() < 1.0


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((30, 40), 0x8000, np.uint16))
    else:
        image = Image.new("RGB", (40, 30), (200, 200, 200)).convert(mode)
    suffix = "jpg" if mode == "CMYK" else "png"
    image.save(tmp_path / f"a.{suffix}")
    pixels = read_source(tmp_path / f"a.{suffix}", 32).pixels
    assert pixels.shape == (32, 32, 3)
    assert 100 < pixels.mean() < 256


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.jpg", b"", "is no JPEG, PNG, WebP, MPO or HEIC picture"),
        ("text.jpg", b"hello, I am no picture", "is no JPEG, PNG, WebP, MPO or HEIC picture"),
        ("gif.jpg", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "is no JPEG, PNG, WebP, MPO or HEIC picture"),
    ],
)
def test_no_picture(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PhotoError, match=says) as error:
        read_source(tmp_path / name, 64)
    assert name in str(error.value)


def test_odd_exif_is_read_or_refused_like_any_photograph(tmp_path: Path) -> None:
    """Whatever a byte of the EXIF block is, there is a picture or a PhotoError."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    Image.new("RGB", (40, 30), "green").save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    read = 0
    for place in range(20, 90):
        for value in (0, 1, 255):
            try:
                read_source(content[:place] + bytes([value]) + content[place + 1 :], 32)
                read += 1
            except PhotoError:
                pass
    assert read > 100


def test_all_orientations(tmp_path: Path) -> None:
    from PIL import ImageOps

    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as image:
            upright = ImageOps.exif_transpose(image)
        found = read_source(tmp_path / "a.png", 40)
        assert found.photo_size == upright.size
        assert np.array_equal(found.pixels, np.asarray(upright.resize((40, 40), Image.Resampling.BILINEAR)))


def test_truncated_missing_folder_and_huge(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (200, 200, 3), np.uint8)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    for share in (0.05, 0.3, 0.6, 0.95):
        (tmp_path / "cut.jpg").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(PhotoError, match=r"cut\.jpg"):
            read_source(tmp_path / "cut.jpg", 64)
    with pytest.raises(PhotoError, match="does not exist"):
        read_source(tmp_path / "none.jpg", 64)
    with pytest.raises(PhotoError, match="is a folder"):
        read_source(tmp_path, 64)
    Image.new("1", (13_000, 10_000)).save(tmp_path / "huge.png")
    with pytest.raises(PhotoError, match="13000 x 10000 pixels and at most 120 million"):
        read_source(tmp_path / "huge.png", 64)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "mpo"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(next(render_leaves(1, size=64, seed=0)).pixels)
    extra = {"save_all": True, "append_images": [image]} if suffix == "mpo" else {}
    image.save(tmp_path / f"a.{suffix}", **extra)
    pixels = read_source(tmp_path / f"a.{suffix}", 64).pixels
    assert np.abs(pixels.astype(int) - np.asarray(image).astype(int)).mean() < 12


def test_heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    leaf = Image.fromarray(next(render_leaves(1, size=128, seed=0)).pixels).crop((0, 0, 128, 96))
    pillow_heif.from_pillow(leaf).save(tmp_path / "a.heic", quality=95)
    source = read_source(tmp_path / "a.heic", 64)
    assert source.photo_size == (128, 96)
    wanted = np.asarray(leaf.resize((64, 64), Image.Resampling.BILINEAR), int)
    assert np.abs(source.pixels.astype(int) - wanted).mean() < 6

    leaf.save(tmp_path / "a.png")
    turn = (  # as a camera does; elsewhere, for it registers HEIC with Pillow for good
        "import sys, pillow_heif; from PIL import Image; pillow_heif.register_heif_opener(); "
        "leaf = Image.open(sys.argv[1]); exif = leaf.getexif(); exif[0x0112] = 6; "
        "leaf.save(sys.argv[2], quality=95, exif=exif.tobytes())"
    )
    subprocess.run([sys.executable, "-c", turn, tmp_path / "a.png", tmp_path / "turned.heic"], check=True)
    upright = np.asarray(leaf.transpose(Image.Transpose.ROTATE_270).resize((64, 64), Image.Resampling.BILINEAR), int)
    source = read_source(tmp_path / "turned.heic", 64)
    assert source.photo_size == (96, 128)
    assert np.abs(source.pixels.astype(int) - upright).mean() < 6
    content = (tmp_path / "a.heic").read_bytes()
    for share in range(0, 100, 5):  # cut off anywhere
        with pytest.raises(PhotoError):
            read_source(content[: len(content) * share // 100], 64)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r'a.heic is HEIC: pip install "leafzoom\[heic\]", or convert it to JPEG'):
        read_source(tmp_path / "a.heic", 64)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "MPO", "HEIF"])
def test_damage_anywhere_gives_our_error_or_a_picture(form: str) -> None:
    """Cut off at every per cent, and 400 times some bits flipped: never another error, never more than a second."""
    leaf = Image.fromarray(next(render_leaves(1, size=96, seed=0)).pixels)
    file = io.BytesIO()
    if form == "HEIF":
        pytest.importorskip("pillow_heif").from_pillow(leaf).save(file)
    else:
        leaf.save(file, form, **({"save_all": True, "append_images": [leaf]} if form == "MPO" else {}))
    content = file.getvalue()
    random = np.random.default_rng(0)
    damaged = [content[: len(content) * share // 100] for share in range(100)]
    for _ in range(400):
        changed = np.frombuffer(content, np.uint8).copy()
        # The headers, where sizes and tables are, get half of the flips.
        reach = len(changed) if random.random() < 0.5 else min(256, len(changed))
        places = random.integers(0, reach, random.integers(1, 9))
        changed[places] ^= (1 << random.integers(0, 8, len(places))).astype(np.uint8)
        damaged.append(changed.tobytes())
    refused: list[str] = []
    for one in damaged:
        started = time.perf_counter()
        try:
            assert read_source(one, 64).pixels.shape == (64, 64, 3)
        except PhotoError as error:
            refused.append(str(error))
        assert time.perf_counter() - started < 1
    assert len(refused) >= 90  # at least what is cut off
    assert not [text for text in refused if "\n" in text]


def test_one_pixel(tmp_path: Path) -> None:
    picture(tmp_path / "dot.png", (9, 8, 7), (1, 1))
    source = read_source(tmp_path / "dot.png", 32)
    assert source.photo_size == (1, 1)
    assert np.unique(source.pixels.reshape(-1, 3), axis=0).tolist() == [[9, 8, 7]]


# Cache


def test_cache_holds_what_read_source_gives(cache: Cache) -> None:
    for index in (0, 17, 59):
        expected = read_source(cache.table.rows[index].path, 96)
        assert np.array_equal(cache.sources[index], expected.pixels)
        assert tuple(cache.photo_sizes[index]) == expected.photo_size


def test_unreadable_photographs_become_problems(tmp_path: Path) -> None:
    data = folder_with(tmp_path, "image,labels\na.png,scab\nbad.png,scab\nc.png,rust\n", "a.png", "c.png")
    (data / "images" / "bad.png").write_bytes(b"not a picture")
    built = build_cache(read_table(data), tmp_path / "cache", 32)
    assert built.table.images == ("a.png", "c.png")
    assert len(built.sources) == len(built.photo_sizes) == 2
    assert isinstance(built.sources, np.memmap), "a photograph that cannot be read brings the others into memory"
    assert np.array_equal(built.sources[1], read_source(data / "images" / "c.png", 32).pixels)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"cache.json", "lock", "sources.u8"}
    assert [(p.line, p.image) for p in built.table.problems] == [(3, "bad.png")]
    with pytest.raises(DataError, match=r"row 3: 'bad.png' is no JPEG"):
        built.table.require_clean()


def test_interrupted_build_goes_on(leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second build decodes only what the first had not."""
    monkeypatch.setattr(cache_module, "_CHUNK", 8)
    table = read_table(leaves)
    decoded: list[int] = []
    real = cache_module._decode_chunk

    def counting(task: tuple[int, list[Path], Path, int]) -> list[object]:
        if len(decoded) == 3:
            raise KeyboardInterrupt
        decoded.append(task[0])
        return real(task)  # type: ignore[return-value]

    monkeypatch.setattr(cache_module, "_decode_chunk", counting)
    with pytest.raises(KeyboardInterrupt):
        build_cache(table, tmp_path, 96, workers=1)
    assert not (tmp_path / "cache.json").exists()
    with pytest.raises(DataError, match="no cache in"):
        open_cache(table, tmp_path, 96)
    decoded.clear()
    monkeypatch.setattr(cache_module, "_decode_chunk", lambda task: decoded.append(task[0]) or real(task))
    built = build_cache(table, tmp_path, 96, workers=1)
    assert decoded == [24, 32, 40, 48, 56]
    for index, row in enumerate(table.rows):
        assert np.array_equal(built.sources[index], read_source(row.path, 96).pixels)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache.json", "lock", "sources.u8"]


def _build(arguments: tuple[Path, Path]) -> str:
    return build_cache(read_table(arguments[0]), arguments[1], 96, workers=1).digest


def test_two_builds_at_once(leaves: Path, tmp_path: Path, cache: Cache) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        digests = pool.map(_build, [(leaves, tmp_path / "shared")] * 2)
    assert digests == [cache.digest] * 2


def test_a_script_that_decodes_on_import_is_told_so(tmp_path: Path) -> None:
    """The processes that decode import it; without a guard they would wait for their parent's lock for ever."""
    folder = tmp_path / "leaves"
    synthetic.write_leaves(folder, 2 * cache_module._CHUNK + 1, size=32, seed=0)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from leafzoom.dataset.cache import build_cache\n"
        "from leafzoom.dataset.table import read_table\n"
        f"build_cache(read_table(Path({str(folder)!r})), Path({str(tmp_path / 'cache')!r}), 32, workers=2)\n",
        encoding="utf-8",
    )
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert run.returncode != 0
    assert "this script decodes on import: put what it does below" in run.stderr
    assert 'without `if __name__ == "__main__":` started it, put what it does below' in run.stderr.splitlines()[-1]


def test_damaged_or_outdated_cache_is_found_and_built_anew(leaves: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(leaves, data)
    table, folder = read_table(data), tmp_path / "cache"
    build_cache(table, folder, 96, workers=1)
    with (folder / "sources.u8").open("r+b") as file:
        file.seek(5 * 96 * 96 * 3 + 100)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(DataError, match=r"damaged at 'leaf-00005\.jpg'"):
        open_cache(table, folder, 96)
    for index in ("[]", "5", json.dumps({"key": json.loads((folder / "cache.json").read_text())["key"]})):
        (folder / "cache.json").write_text(index)
        with pytest.raises(DataError, match=r"damaged index|made for other"):
            open_cache(table, folder, 96)
    digest = build_cache(table, folder, 96, workers=1).digest
    picture(data / "train_images" / "leaf-00007.jpg", (200, 10, 10), (96, 96))
    with pytest.raises(DataError, match="made for other photographs"):
        open_cache(table, folder, 96)
    assert build_cache(read_table(data), folder, 96, workers=1).digest != digest
    with pytest.raises(DataError, match="made for other photographs or sizes"):
        open_cache(table, folder, 48)


def test_cache_folder_that_cannot_be_written(leaves: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LeafzoomError, match=r"cannot write to the folder .*file"):
        build_cache(read_table(leaves), tmp_path / "file", 96)


def test_full_disk(leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(LeafzoomError, match=r"needs 0\.0 GB and .* has 0\.0 GB free: make room"):
        build_cache(read_table(leaves), tmp_path / "c", 96, workers=1)


# Near-duplicates and splits


def test_near_duplicates_survive_recompression_and_nothing_else_is_one(cache: Cache) -> None:
    sources = np.array(cache.sources)
    again = sources[[3, 20]].astype(np.int16)
    again[1] = again[1] * 0.9 + 8
    noisy = np.clip(again + np.random.default_rng(0).normal(0, 4, again.shape), 0, 255).astype(np.uint8)
    pairs = near_duplicates(np.concatenate([sources, noisy]))
    assert {(pair.first, pair.second) for pair in pairs} == {(3, 60), (20, 61)}
    assert near_duplicates(np.zeros((4, 32, 32, 3), np.uint8)) == []


def test_near_duplicates_are_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept beside the sources; a damaged file, other sources or a read-only folder cost a new look."""
    data = folder_with(tmp_path, "image,labels\na.png,scab\nb.png,scab\nc.png,rust\n")
    (data / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    for name, pixels in zip("abc", (noise[0], noise[0], noise[1]), strict=True):
        Image.fromarray(pixels).save(data / "images" / f"{name}.png")
    built = build_cache(read_table(data), tmp_path / "cache", 32)
    looks: list[int] = []

    def counting(sources: NDArray[np.uint8]) -> list[audit.NearDuplicate]:
        looks.append(len(sources))
        return near_duplicates(sources)

    monkeypatch.setattr(audit, "near_duplicates", counting)
    pairs = near_duplicates_of(built)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1)]
    assert near_duplicates_of(built) == pairs
    assert looks == [3]
    stored = built.folder / "near-duplicates.json"
    for content in (stored.read_text().replace("0,", "1,"), '{"made_of": 1}', "[]", "", stored.read_text()[:-9]):
        stored.write_text(content)
        assert near_duplicates_of(built) == pairs
    assert looks == [3] * 6
    other = replace(built, digest="other")
    assert near_duplicates_of(other) == pairs
    assert len(looks) == 7
    monkeypatch.setattr(audit, "write_json", failing)
    assert near_duplicates_of(built) == pairs
    assert len(looks) == 8


def failing(path: Path, content: object) -> None:
    """A write to a folder that is read-only."""
    raise LeafzoomError(f"cannot write {path}: Read-only file system")


def test_leaves_alike_on_a_plain_background_are_no_near_duplicates() -> None:
    """Scans in one frame on white: sizes, spots and greens differ, the layout does not."""
    random = np.random.default_rng(0)
    scans = []
    for _ in range(60):
        image = Image.new("RGB", (96, 96), "white")
        pen = ImageDraw.Draw(image)
        w, h = random.uniform(26, 36), random.uniform(34, 44)
        pen.ellipse((48 - w, 48 - h, 48 + w, 48 + h), fill=(50, int(random.uniform(90, 150)), 40))
        for _ in range(int(random.integers(2, 9))):
            x, y = 48 + random.uniform(-18, 18), 48 + random.uniform(-25, 25)
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(110, 70, 30))
        scans.append(np.asarray(image))
    pairs = near_duplicates(np.stack([*scans, scans[7]]))
    assert (7, 60) in {(pair.first, pair.second) for pair in pairs}
    assert len(pairs) < 60  # of 1,830; by the thumbnails alone 1,200
    grouped_split(fake_table(61, [("scab",), ("rust",)]), duplicate_groups(61, pairs))


def test_a_large_group_is_trained_on_and_a_hopeless_one_refused() -> None:
    table = fake_table(100, [("scab",)])
    groups = np.arange(100)
    groups[:40] = 0
    split = grouped_split(table, groups)
    assert set(table.images[:40]) <= set(split.train)
    assert [len(split.train), len(split.select), len(split.report)] == pytest.approx([80, 10, 10], abs=5)
    groups[:97] = 0
    with pytest.raises(DataError, match=r"97 of 100 photographs are near-duplicates .*--split FILE"):
        grouped_split(table, groups)


def test_duplicate_groups_join_chains() -> None:
    from leafzoom.dataset.audit import NearDuplicate

    pairs = [NearDuplicate(4, 5, 1.0), NearDuplicate(1, 4, 1.0), NearDuplicate(2, 3, 1.0)]
    assert duplicate_groups(7, pairs).tolist() == [0, 1, 2, 2, 1, 1, 6]


def fake_table(count: int, combinations: list[tuple[str, ...]]) -> Table:
    rows = (Row(i + 2, f"{i:05d}.jpg", combinations[i % len(combinations)], Path("x")) for i in range(count))
    return Table(Path("t.csv"), tuple(rows), ())


def test_grouped_split_is_balanced_whole_and_keeps_duplicates_together() -> None:
    combinations = [("scab",)] * 6 + [("rust",)] * 3 + [("rust", "scab")]
    table = fake_table(1000, combinations)
    groups = np.arange(1000)
    groups[500:520] = np.arange(20) * 3  # 20 pairs
    split = grouped_split(table, groups)
    parts = [set(split.train), set(split.select), set(split.report)]
    assert sorted(image for part in parts for image in part) == sorted(table.images)
    assert [len(part) for part in parts] == pytest.approx([800, 100, 100], abs=3)
    for part in parts:
        share = Counter(row.labels for row in table.rows if row.image in part)
        assert share["scab",] / len(part) == pytest.approx(0.6, abs=0.03)
        assert share["rust", "scab"] / len(part) == pytest.approx(0.1, abs=0.03)
    for index in range(20):
        pair = {table.images[500 + index], table.images[index * 3]}
        assert sum(pair <= part for part in parts) == 1
    order = np.random.default_rng(0).permutation(1000)
    shuffled = Table(table.csv, tuple(table.rows[i] for i in order), ())
    assert grouped_split(shuffled, groups[order]) == split
    assert grouped_split(table, groups, seed=1) != split


def test_papers_split() -> None:
    """Its validation indices start 6530, 1000, 18123 and end 2120; any other table is an error."""
    table = fake_table(18_632, [("scab",)])
    train, validation = paper_split(table)
    assert len(validation) == 1864
    assert [int(name[:5]) for name in (*validation[:3], validation[-1])] == [6530, 1000, 18123, 2120]
    assert sorted(train + validation) == sorted(table.images)
    with pytest.raises(DataError, match=r"full table of 18632 rows, and t.csv has 18631"):
        paper_split(fake_table(18_631, [("scab",)]))


def test_splits_by_name_and_file(cache: Cache, split: Split, tmp_path: Path) -> None:
    assert training_split(cache, "all").train == split.train + split.report
    assert set(evaluation_images(cache, "inner-report", None)) == set(split.report)
    assert evaluation_images(cache, "all", None) == cache.table.images
    own = {"train": list(split.train[:20]), "select": list(split.select), "report": list(split.report)}
    (tmp_path / "own.json").write_text(json.dumps(own))
    assert training_split(cache, str(tmp_path / "own.json")).train == split.train[:20]
    assert evaluation_images(cache, str(tmp_path / "own.json"), None) == split.report
    (tmp_path / "list.txt").write_text("leaf-00003.jpg\nleaf-00001.jpg\n")
    assert evaluation_images(cache, str(tmp_path / "list.txt"), None) == ("leaf-00003.jpg", "leaf-00001.jpg")
    stored = Split("mine", split.train, split.report, split.select)
    assert evaluation_images(cache, "inner-report", stored) == split.select
    everything = training_split(cache, "all").digest()
    assert set(evaluation_images(cache, "inner-select", None, everything)) == set(split.select)
    assert set(evaluation_images(cache, "inner-train", None, everything)) == set(split.train + split.report)
    with pytest.raises(DataError, match="trained with the split 'all', which has no photographs in inner-report"):
        evaluation_images(cache, "inner-report", None, everything)
    with pytest.raises(UsageError, match="no split 'nothing': give a JSON file or one of all, inner-train"):
        training_split(cache, "nothing")
    with pytest.raises(UsageError, match="is no part to train on"):
        training_split(cache, "inner-report")
    own["select"] = own["train"]
    (tmp_path / "own.json").write_text(json.dumps(own))
    with pytest.raises(DataError, match="in two parts"):
        training_split(cache, str(tmp_path / "own.json"))
    (tmp_path / "list.txt").write_text("gone.jpg\n")
    with pytest.raises(DataError, match=r"no row for 'gone\.jpg' \(1 of 1"):
        evaluation_images(cache, str(tmp_path / "list.txt"), None)


def test_subset_keeps_proportions() -> None:
    table = fake_table(1000, [("scab",)] * 7 + [("rust",)] * 3)
    chosen = table.take(subset(table, 100))
    assert len(chosen) == 100
    assert Counter(row.labels for row in chosen.rows) == {("scab",): 70, ("rust",): 30}
    assert subset(table, 0) == subset(table, 5000) == table.images


def test_real_photographs(tmp_path: Path) -> None:
    """2,000 of the real photographs around the known pairs: each is found, none crosses the inner parts."""
    shared = needs_shared("plant-pathology-2021")
    import csv
    import tarfile

    wanted = {"90a5341f227ce5f9.jpg", "f3dc17a2b20d48ec.jpg", "f6f1160be38a48d5.jpg", "f6f11e0fe38a08c5.jpg"}
    with (shared / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16_768
    wanted |= {row["image"] for row in rows[::12]}
    (tmp_path / "train_images").mkdir()
    for shard in sorted(shared.glob("train_images-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if Path(member.name).name in wanted:
                    tar.extract(member, tmp_path, filter="data")
    lines = [f"{row['image']},{row['labels']}" for row in rows if row["image"] in wanted]
    (tmp_path / "train.csv").write_text("image,labels\n" + "\n".join(lines) + "\n")
    real = build_cache(read_table(tmp_path).require_clean(), tmp_path / "cache", 256)
    pairs = near_duplicates(real.sources)
    found = {frozenset((real.table.images[p.first], real.table.images[p.second])): p for p in pairs}
    first = found[frozenset(("90a5341f227ce5f9.jpg", "f3dc17a2b20d48ec.jpg"))]
    assert first.conflicting(real.table)
    assert not found[frozenset(("f6f1160be38a48d5.jpg", "f6f11e0fe38a08c5.jpg"))].conflicting(real.table)
    assert len(pairs) < 8
    parts = training_split(real, "inner-train")
    for pair in found:
        assert sum(pair <= set(part) for part in (parts.train, parts.select, parts.report)) == 1


# Rendered leaves, labels, recipes


def test_rendered_leaves_are_the_same_each_time_and_know_their_lesions() -> None:
    first, second = (list(render_leaves(8, size=96, seed=3)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert len(a.lesions) == (a.labels != ("healthy",))
        assert all(0 < x0 < x1 < 96 and 0 < y0 < y1 < 96 for x0, y0, x1, y1 in a.lesions)
        assert set(a.labels) <= set(SYNTHETIC_LABELS)
    assert not np.array_equal(first[0].pixels, next(render_leaves(1, size=96, seed=4)).pixels)


def spot(kind: str, scale: float, seed: int) -> np.ndarray:
    """A patch of spots of one kind on plain green, drawn as in a leaf, averaged down `scale` times: grey levels."""
    canvas = Image.new("RGB", (768, 768), (80, 130, 50))
    synthetic._draw_patch(canvas, [kind], (384, 384), np.random.default_rng(seed))
    patch = canvas.crop((288, 288, 480, 480))
    side = round(192 / scale)
    return np.asarray(patch.resize((side, side), Image.Resampling.BOX), np.float64).mean(axis=2)


def test_the_kinds_of_lesion_look_alike_from_afar_and_differ_close_by() -> None:
    """The same patches drawn as both kinds: at the first look's 96 px (an eighth) nearly the same, at 384 px not."""
    alike, apart, means = [], [], []
    for seed in range(40):
        afar, near = ([spot(kind, scale, seed) for kind in SYNTHETIC_LABELS[1:]] for scale in (8, 2))
        lesion = np.abs(afar[1] - afar[1][0, 0]).max()  # how much a spot stands out from the green, from afar
        alike.append(np.abs(afar[0] - afar[1]).mean() / lesion)
        apart.append(np.abs(near[0] - near[1]).mean() / lesion)
        means.append((afar[0].mean() - afar[1].mean()) / lesion)
    assert abs(np.mean(means)) < 0.005  # the same light in all
    assert np.mean(apart) > 2.5 * np.mean(alike)


def test_known_lesions(tmp_path: Path, leaves: Path, cache: Cache) -> None:
    assert read_lesions(tmp_path, cache) == {}
    found = read_lesions(leaves, cache)
    assert len(found) == 45  # three of four combinations have some
    assert all(boxes.shape == (1, 4) for boxes in found.values())
    spaced = "image, x0, y0, x1, y1\n leaf-00001.jpg , 1, 2, 30, 40\nleaf-00001.jpg,0,0,96,96\n\n"
    (tmp_path / "lesions.csv").write_text(spaced)
    assert read_lesions(tmp_path, cache)["leaf-00001.jpg"].tolist() == [[1, 2, 30, 40], [0, 0, 96, 96]]
    good = "image,x0,y0,x1,y1\nleaf-00001.jpg,1,2,3,4\n"
    picture(tmp_path / "train_images" / "elsewhere.png")  # a photograph that this table is not of
    (tmp_path / "lesions.csv").write_text(good + "elsewhere.png,1,2,3,4\n")
    assert list(read_lesions(tmp_path, cache)) == ["leaf-00001.jpg"]
    for content, says in (
        ("image,x0,y0,x1\n", "has no column y1"),
        (good + "leaf-00002.jpg,1,2,x,4\n", "row 3: x0, y0, x1 and y1 have to be numbers"),
        (good + "leaf-00002.jpg,5,2,3,4\n", "row 3: 5, 2, 3, 4 is no box"),
        (good + "leaf-00002.jpg,1,2,inf,4\n", "row 3: 1, 2, inf, 4 is no box"),
        (good + "leaf-00002.jpg,1,2\n", "row 3: x0, y0, x1 and y1 have to be numbers"),
        (good + "leaf-00002.png,1,2,3,4\n", "row 3: no photograph 'leaf-00002.png' in the table"),
        (good + ",1,2,3,4\n", "row 3: no photograph ''"),
        (good + "leaf-00002.jpg,1,2,97,4\n", "row 3: 1, 2, 97, 4 is not inside leaf-00002.jpg, which has 96 x 96"),
    ):
        (tmp_path / "lesions.csv").write_text(content)
        with pytest.raises(DataError, match=says):
            read_lesions(tmp_path, cache)
    (tmp_path / "lesions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_lesions(tmp_path, cache)


def test_what_follows_a_jpeg_does_not_count_as_its_scans() -> None:
    """Phones append a film to a photo, in which the bytes that start a scan may stand many times."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(file, "JPEG", progressive=True, quality=95)
    leaf = file.getvalue()
    film = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x08" * 400
    assert read_source(leaf + film, 32).photo_size == (64, 64)
    last = leaf.rindex(b"\xff\xda")
    for tail in (b"", film):
        with pytest.raises(PhotoError, match="more scans than any camera makes"):
            read_source(leaf[:-2] + leaf[last:-2] * 300 + b"\xff\xd9" + tail, 32)
    inside = b"\xff\xd8\xff\xda\0\x08...\xff\xd9"  # a thumbnail in its EXIF data, with an end of its own
    thumbnail = b"\xff\xe1" + (2 + len(inside)).to_bytes(2, "big") + inside
    with pytest.raises(PhotoError, match="more scans than any camera makes"):
        read_source(leaf[:2] + thumbnail + leaf[2:-2] + leaf[last:-2] * 300 + b"\xff\xd9", 32)


def test_lesions_are_not_taken_for_the_table_of_labels(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "my-leaves.csv").write_text("image,labels\na.png,scab\n")
    (tmp_path / "lesions.csv").write_text("image,x0,y0,x1,y1\na.png,1,2,3,4\n")
    assert read_table(tmp_path).images == ("a.png",)


def test_decision_is_a_combination_that_occurs() -> None:
    labels = LabelSet(("complex", "healthy", "scab"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)))
    half = Decision((0.5, 0.5, 0.5))
    p = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.1], [0.7, 0.6, 0.8], [0.55, 0.1, 0.9]])
    assert decide(p, half, labels).tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 1]]
    stricter = Decision((0.6, 0.5, 0.5))
    assert decide(p, stricter, labels)[3].tolist() == [0, 0, 1]
    may_be_empty = LabelSet(("a", "b"), ((0, 0), (1, 0)))
    assert decide(np.array([[0.4, 0.9]]), Decision((0.5, 0.5)), may_be_empty).tolist() == [[0, 0]]
    with pytest.raises(DataError, match="unknown label 'blotch'"):
        labels.encode(["blotch"])


def test_recipes_load_and_survive_json() -> None:
    assert {"authors", "default", "joint-loss", "no-fine-tuning", "no-upper-bound", "paper", "paper-narrow-relu",
            "paper-narrow-sigmoid", "vgg19"} <= set(recipe_names())  # fmt: skip
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe_from_dict(json.loads(json.dumps(recipe_to_dict(recipe))), name) == recipe
    paper, authors = load_recipe("paper"), load_recipe("authors")
    assert (paper.model.zoom_from, paper.model.apn_hidden, paper.alternation.margin) == ("view", 4096, 0.05)
    assert authors.model.border == pytest.approx(74 / 224)
    assert authors.alternation.apn.learning_rate == paper.alternation.apn.learning_rate == 1e-6


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["model.zoom=1"], "unknown key model.zoom; the keys there are backbone"),
        (["zoom=1"], "unknown key zoom; the keys there are name, seed"),
        (["model.zoom_bounds=[0.9, 0.2]"], "0 < least <= greatest <= 1, not 0.9, 0.2"),
        (["model.zoom_bounds=[1, 1]"], "no box that zooms"),
        (["model.scales=1"], "model.scales: .*greater than or equal to 2, not 1"),
        (["model.input_size=512"], "source_size 256 is smaller than model.input_size 512"),
        (["fine_tuning.optimizer.learning_rate=0"], "fine_tuning.optimizer.learning_rate: .*greater than 0"),
        (["model.zoom_from=here"], "model.zoom_from: Input should be 'source' or 'view', not 'here'"),
        (["model.border=0.495"], "model.border: .*less than or equal to 0.45"),
        (["data.labels=['a', 'a']"], "labels are different words"),
        (["data.labels=['a b']"], "labels are different words"),
        (["nothing"], "--set takes section.key=value, not 'nothing'"),
        (["seed.x=1"], "seed"),
    ],
)
def test_impossible_recipes(changes: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_recipe("default", changes)


def test_recipe_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe 'nothing': give a TOML file or one of authors, default"):
        load_recipe("nothing")
    (tmp_path / "bad.toml").write_text("[model\n")
    with pytest.raises(RecipeError, match=r"bad\.toml is no valid TOML"):
        load_recipe(str(tmp_path / "bad.toml"))
    (tmp_path / "mine.toml").write_text('extends = "paper"\n[model]\ninput_size = 128\n')
    mine = load_recipe(str(tmp_path / "mine.toml"), ["model.scales=2"])
    assert (mine.name, mine.model.input_size, mine.model.scales, mine.model.apn_hidden) == ("mine", 128, 2, 4096)
    loop = tmp_path / "loop.toml"
    loop.write_text(f'extends = "{loop}"\n')
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(str(loop))


def test_no_warning_of_pillow_reaches_the_user(tmp_path: Path) -> None:
    Image.new("1", (10_000, 9_500)).save(tmp_path / "large.png")  # above Pillow's own limit, below ours
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_source(tmp_path / "large.png", 32).photo_size == (10_000, 9_500)


def profile_with_red_and_green_exchanged() -> bytes:
    """sRGB's colour profile under another name, its primaries for red and green exchanged."""
    content = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = int.from_bytes(content[128:132], "big")
    table = content[132 : 132 + 12 * count]
    swapped = table.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    return content.replace(table, swapped).replace("sRGB".encode("utf-16-be"), "xRGB".encode("utf-16-be"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_colours_are_those_of_the_profile(tmp_path: Path, form: str) -> None:
    red = Image.new("RGB", (64, 64), (220, 40, 40))
    path = tmp_path / "photo"
    red.save(path, form, icc_profile=profile_with_red_and_green_exchanged(), quality=95)
    assert read_source(path, 32).pixels[16, 16].tolist() == pytest.approx([40, 220, 40], abs=12)
    red.save(path, form, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), quality=95)
    assert read_source(path, 32).pixels[16, 16].tolist() == pytest.approx([220, 40, 40], abs=6)
    for broken in (b"no profile", profile_with_red_and_green_exchanged()[:200]):
        red.save(path, form, icc_profile=broken, quality=95)
        assert read_source(path, 32).pixels[16, 16].tolist() == pytest.approx([220, 40, 40], abs=6)
