"""A data set with cut-out leaves on other grounds beside the photographs:
python -m tools.varied_data DATA OUT [--grounds FOLDER...] [--varied N] [--plain N]

Writes OUT/train.csv, OUT/train_images and OUT/split.json. The validation and test parts are those
of DATA; the training part has N of its photographs as they are, spread over all, and N cut out and
laid on table tops or pictures of the folders (see `tools.cutouts`), with their labels. To train:
leafzoom train --data OUT --split OUT/split.json …
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

Picture = NDArray[np.uint8]


def main() -> None:
    """Cut out, lay on, write."""
    arguments = parser().parse_args()
    cache = open_data(arguments.data, _SOURCE_SIZE)
    split = training_split(cache, "inner-train")
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
    with (arguments.out / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "labels"), *table])

    trained_on = (*plain, *(_PREFIX + name for name in varied))
    new_split = replace(split, name="varied", train=trained_on)
    write_json(arguments.out / "split.json", new_split.to_dict())
    print(f"{len(plain)} photographs and {len(varied)} cut-outs to train on")


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
