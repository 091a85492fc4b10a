"""A data set with cut-out leaves on other grounds beside the photographs:
python -m tools.varied_data DATA OUT [--grounds FOLDER...] [--varied N] [--plain N] [--also D]

Writes OUT/train.csv, OUT/train_images and OUT/split.json. The validation and test parts are those
of DATA; the training part has N of its photographs as they are, spread over all, and N cut out and
laid on table tops or pictures of the folders (see `tools.cutouts`), with their labels. To train:
leafzoom train --data OUT --split OUT/split.json …

--also: a labelled folder from elsewhere (images and labels.csv, as ../shared/elsewhere has them).
Three quarters of each label's photographs are trained on, three times in an epoch; the last
quarter, which is other leaves where the file names end in the camera's numbers, is named in
OUT/held-out.txt.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import training_split
from leafzoom.dataset.table import read_table
from leafzoom.storage import make_folder, write_json
from tools.cutouts import cut_out, lay_on, photometric_change, table_top
from tools.evaluation_data import open_data
from tools.verdicts import read_pictures

__all__ = ["main", "parser"]

_SOURCE_SIZE = 256
_JPEG_QUALITY = 95
_PREFIX = "varied_"
_SEED = 0
_TABLE_TOP_SHARE = 0.6
_OUT_OF_FOCUS_PX = 6
_ALSO_SHARE = 0.75
_ALSO_REPEATS = 3

Picture = NDArray[np.uint8]


def main() -> None:
    """Cut out, lay on, write."""
    arguments = parser().parse_args()
    cache = open_data(arguments.data, _SOURCE_SIZE)
    split = training_split(cache, arguments.part)
    grounds = [
        picture
        for folder in arguments.grounds
        for picture in read_pictures(folder, _SOURCE_SIZE).sources
    ]

    images = arguments.out / "train_images"
    make_folder(images)
    varied = _write_varied(cache, _spread(split.train, arguments.varied), grounds, images)
    plain = _spread(split.train, arguments.plain)

    # The table: plain photographs of all parts by link, then the varied ones.
    kept = (*plain, *split.validation, *split.test)
    rows = {row.image_name: row for row in read_table(arguments.data).rows}
    table = [(name, " ".join(rows[name].labels)) for name in kept]
    table += [(_PREFIX + name, " ".join(rows[name].labels)) for name in varied]
    for name in kept:
        _link(rows[name].path, images / name)

    # Photographs from elsewhere, each a few times in an epoch.
    also: list[tuple[str, str]] = []
    if arguments.also is not None:
        also, held_out = _link_also(arguments.also, images)
        table += also
        (arguments.out / "held-out.txt").write_text("\n".join(held_out) + "\n", encoding="utf-8")

    with (arguments.out / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "labels"), *table])

    trained_on = (*plain, *(_PREFIX + name for name in varied), *(name for name, _ in also))
    new_split = replace(split, name="varied", train=trained_on)
    write_json(arguments.out / "split.json", new_split.to_dict())
    print(f"{len(plain)} photographs, {len(varied)} cut-outs, {len(also)} from elsewhere")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.varied_data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("data", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--grounds", type=Path, action="append", default=[])
    options.add_argument("--varied", type=int, default=4500)
    options.add_argument("--plain", type=int, default=20000)
    options.add_argument("--also", type=Path)
    options.add_argument("--part", choices=("inner-train", "all"), default="inner-train")

    return options


def _spread(names: Sequence[str], count: int) -> tuple[str, ...]:
    """At most so many names, spread over all."""
    rows = np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)
    return tuple(names[row] for row in rows)


def _write_varied(
    cache: Cache, names: Sequence[str], grounds: Sequence[Picture], folder: Path
) -> list[str]:
    """Write the cut-outs of some photographs; the names of those that could be cut out."""
    random = np.random.default_rng(_SEED)
    row_of = {name: row for row, name in enumerate(cache.table.image_names)}
    written = []
    for name in names:
        leaf = cut_out(np.asarray(cache.sources[row_of[name]]))
        if leaf is None:
            continue

        other = np.asarray(cache.sources[row_of[names[int(random.integers(len(names)))]]])
        picture = photometric_change(random, lay_on(random, leaf, _ground(random, other, grounds)))
        Image.fromarray(picture).save(folder / (_PREFIX + name), quality=_JPEG_QUALITY)
        written.append(name)
    return written


def _ground(random: np.random.Generator, other: Picture, grounds: Sequence[Picture]) -> Picture:
    """A table top, a picture without a leaf, or another photograph far out of focus."""
    kind = random.random()
    if kind < _TABLE_TOP_SHARE:
        return table_top(random, _SOURCE_SIZE)
    if grounds and kind < (1 + _TABLE_TOP_SHARE) / 2:
        return grounds[int(random.integers(len(grounds)))]
    blurred = Image.fromarray(other).filter(ImageFilter.GaussianBlur(_OUT_OF_FOCUS_PX))
    return np.asarray(blurred, np.uint8)


def _link_also(folder: Path, images: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Link three quarters of each label's photographs: rows to train on, names of the others."""
    rows_of_label: dict[str, list[str]] = {}
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows_of_label.setdefault(row["labels"], []).append(row["image"])

    rows = []
    held_out = []
    for label, names in rows_of_label.items():
        ordered = sorted(names, key=_camera_number)
        count = round(_ALSO_SHARE * len(ordered))
        held_out += ordered[count:]
        for name in ordered[:count]:
            for repeat in range(_ALSO_REPEATS):
                copy = f"also{repeat}_{name}"
                _link(folder / "images" / name, images / copy)
                rows.append((copy, label))
    return rows, held_out


def _camera_number(name: str) -> tuple[str, int]:
    """The series and number at a file name's end: neighbours may show one leaf."""
    last = Path(name).stem.rpartition("__")[2]
    series = last.rstrip("0123456789")
    return series, int(last[len(series) :] or 0)


def _link(path: Path, target: Path) -> None:
    """The same file under another name, or a copy on another disk."""
    if target.exists():
        return
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


if __name__ == "__main__":
    main()
