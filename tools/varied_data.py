"""A data set with cut-out leaves on other grounds beside the photographs:
python -m tools.varied_data DATA OUT [--grounds FOLDER...] [--varied N] [--plain N] [--also D]

Writes OUT/train.csv, OUT/train_images and OUT/split.json. The validation and test parts are those
of DATA; the training part has N of its photographs as they are, spread over all, and N cut out and
laid on table tops or pictures of the folders (see `tools.cutouts`), with their labels. To train:
leafzoom train --data OUT --split OUT/split.json …

--also: a labelled folder from elsewhere (images and labels.csv, as ../shared/elsewhere has them).
Three quarters of each label's photographs are trained on, three times in an epoch. The last quarter
is held out; where the file names end in the camera's numbers, it is other leaves. OUT/also/trained
and OUT/also/held-out are labelled folders of both.
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

__all__ = ["hold_out", "main", "parser", "write_labelled_folder"]

_SOURCE_SIZE = 256
_JPEG_QUALITY = 95
_PREFIX = "varied_"
_SEED = 0
_TABLE_TOP_SHARE = 0.6
_OUT_OF_FOCUS_PX = 6
_ALSO_SHARE = 0.75
_ALSO_REPEATS = 3

Picture = NDArray[np.uint8]
LabelledName = tuple[str, str]
"""A photograph's file name, and its labels as the table has them."""


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
        trained, held_out = hold_out(arguments.also)
        write_labelled_folder(arguments.also, trained, arguments.out / "also" / "trained")
        write_labelled_folder(arguments.also, held_out, arguments.out / "also" / "held-out")
        also = _link_repeats(arguments.also, trained, images)
        table += also

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


def hold_out(folder: Path) -> tuple[list[LabelledName], list[LabelledName]]:
    """Three quarters of each label's photographs of a labelled folder, and the others."""
    rows_of_label: dict[str, list[str]] = {}
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows_of_label.setdefault(row["labels"], []).append(row["image"])

    trained = []
    held_out = []
    for labels, names in rows_of_label.items():
        ordered = sorted(names, key=_camera_number)
        count = round(_ALSO_SHARE * len(ordered))
        trained += [(name, labels) for name in ordered[:count]]
        held_out += [(name, labels) for name in ordered[count:]]
    return trained, held_out


def write_labelled_folder(folder: Path, rows: Sequence[LabelledName], out: Path) -> None:
    """Write a labelled folder of some photographs of another one."""
    images = out / "images"
    make_folder(images)
    for name, _ in rows:
        _link(folder / "images" / name, images / name)
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "labels"), *rows])


def _link_repeats(folder: Path, rows: Sequence[LabelledName], images: Path) -> list[LabelledName]:
    """Link every photograph a few times into the training images; the rows of the table."""
    repeated = []
    for name, labels in rows:
        for repeat in range(_ALSO_REPEATS):
            copy = f"also{repeat}_{name}"
            _link(folder / "images" / name, images / copy)
            repeated.append((copy, labels))
    return repeated


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
