"""Near-duplicates: pairs of the same picture, and nothing else."""

from __future__ import annotations

import csv
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from conftest import needs_shared, numbered_table, write_data_folder
from leafzoom.dataset import audit
from leafzoom.dataset.audit import (
    NearDuplicate,
    duplicate_groups,
    near_duplicates,
    near_duplicates_of,
)
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.split import grouped_split, training_split
from leafzoom.dataset.table import read_table
from leafzoom.errors import LeafzoomError


def test_near_duplicates_survive_recompression_and_different_photographs_are_none(
    cache: Cache,
) -> None:
    sources = np.array(cache.sources)
    copies = sources[[3, 20]].astype(np.int16)
    copies[1] = copies[1] * 0.9 + 8
    noise = np.random.default_rng(0).normal(0, 4, copies.shape)
    noisy_copies = np.clip(copies + noise, 0, 255).astype(np.uint8)

    pairs = near_duplicates(np.concatenate([sources, noisy_copies]))
    assert {(pair.first, pair.second) for pair in pairs} == {(3, 60), (20, 61)}

    assert near_duplicates(np.zeros((4, 32, 32, 3), np.uint8)) == []


def test_leaves_in_the_same_position_on_a_plain_background_are_no_near_duplicates() -> None:
    """Scans in one frame on white: sizes, spots and greens differ, the layout does not."""
    random = np.random.default_rng(0)
    scans = [plain_scan(random) for _ in range(60)]
    pairs = near_duplicates(np.stack([*scans, scans[7]]))
    assert (7, 60) in {(pair.first, pair.second) for pair in pairs}

    # Of 1,830 pairs; by the thumbnails alone 1,200.
    assert len(pairs) < 60
    grouped_split(numbered_table(61, [("scab",), ("rust",)]), duplicate_groups(61, pairs))


def plain_scan(random: np.random.Generator) -> NDArray[np.uint8]:
    """A leaf with brown spots in the middle of a white scan, [96, 96, 3]."""
    image = Image.new("RGB", (96, 96), "white")
    pen = ImageDraw.Draw(image)
    half_width = random.uniform(26, 36)
    half_height = random.uniform(34, 44)
    outline = (48 - half_width, 48 - half_height, 48 + half_width, 48 + half_height)
    pen.ellipse(outline, fill=(50, int(random.uniform(90, 150)), 40))

    for _ in range(int(random.integers(2, 9))):
        x = 48 + random.uniform(-18, 18)
        y = 48 + random.uniform(-25, 25)
        pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(110, 70, 30))
    return np.asarray(image)


def test_near_duplicates_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file, other sources or a read-only folder lead to another computation."""
    table = "image,labels\na.png,scab\nb.png,scab\nc.png,rust\n"
    data = write_data_folder(tmp_path, table)
    (data / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)
    for name, pixels in (("a", noise[0]), ("b", noise[0]), ("c", noise[1])):
        Image.fromarray(pixels).save(data / "images" / f"{name}.png")
    built = build_cache(read_table(data), tmp_path / "cache", 32)
    computations: list[int] = []

    def counting(sources: NDArray[np.uint8]) -> list[NearDuplicate]:
        computations.append(len(sources))
        return near_duplicates(sources)

    monkeypatch.setattr(audit, "near_duplicates", counting)
    pairs = near_duplicates_of(built)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1)]
    assert near_duplicates_of(built) == pairs
    assert computations == [3]

    # Damaged files.
    path = built.folder / "near-duplicates.json"
    text = path.read_text()
    damaged = (text.replace("0,", "1,"), '{"made_of": 1}', "[]", "", text[:-9])
    for content in damaged:
        path.write_text(content)
        assert near_duplicates_of(built) == pairs
    assert len(computations) == 1 + len(damaged)

    # Other sources.
    assert near_duplicates_of(replace(built, digest="other")) == pairs
    assert len(computations) == 2 + len(damaged)

    # A folder that cannot be written to.
    monkeypatch.setattr(audit, "write_json", fail_to_write)
    assert near_duplicates_of(built) == pairs
    assert len(computations) == 3 + len(damaged)


def fail_to_write(path: Path, content: object) -> None:
    """Write to a folder that is read-only."""
    raise LeafzoomError(f"cannot write {path}: Read-only file system")


def test_duplicate_groups_join_chains() -> None:
    pairs = [NearDuplicate(4, 5, 1.0), NearDuplicate(1, 4, 1.0), NearDuplicate(2, 3, 1.0)]
    assert duplicate_groups(7, pairs).tolist() == [0, 1, 2, 2, 1, 1, 6]


CONFLICTING_PAIR = frozenset(("90a5341f227ce5f9.jpg", "f3dc17a2b20d48ec.jpg"))
AGREEING_PAIR = frozenset(("f6f1160be38a48d5.jpg", "f6f11e0fe38a08c5.jpg"))


@pytest.mark.slow
def test_known_pairs_of_real_photographs_are_detected_and_stay_in_one_part(tmp_path: Path) -> None:
    """1,400 of the real photographs with two known pairs."""
    shared = needs_shared("plant-pathology-2021")
    extract_photographs(shared, tmp_path, CONFLICTING_PAIR | AGREEING_PAIR)
    cache = build_cache(read_table(tmp_path).require_clean(), tmp_path / "cache", 256)

    image_names = cache.table.image_names
    pairs = {}
    for pair in near_duplicates(cache.sources):
        pairs[frozenset((image_names[pair.first], image_names[pair.second]))] = pair
    assert len(pairs) < 8
    assert pairs[CONFLICTING_PAIR].conflicting(cache.table)
    assert not pairs[AGREEING_PAIR].conflicting(cache.table)

    split = training_split(cache, "inner-train")
    parts = [set(part) for part in (split.train, split.validation, split.test)]
    for names in pairs:
        assert sum(names <= part for part in parts) == 1


def extract_photographs(shared: Path, folder: Path, image_names: frozenset[str]) -> None:
    """Write some photographs and every twelfth row of Plant Pathology 2021 as a data folder."""
    with (shared / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16_768

    selected = image_names | {row["image"] for row in rows[::12]}
    lines = [f"{row['image']},{row['labels']}" for row in rows if row["image"] in selected]
    (folder / "train.csv").write_text("image,labels\n" + "\n".join(lines) + "\n")

    (folder / "train_images").mkdir()
    for shard in sorted(shared.glob("train_images-*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                if Path(member.name).name in selected:
                    tar.extract(member, folder, filter="data")
