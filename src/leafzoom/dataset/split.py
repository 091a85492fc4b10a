"""Which photographs are trained on, which choose, and which are reported.

`grouped` (our own work): near-duplicates on one side, label combinations balanced, three parts of 80, 10 and
10 %: `inner-train`, `inner-select` (early stops, thresholds, calibration) and `inner-report` (read once, for
the figures). The paper's split is a permutation of the 18,632 rows of Kaggle's table.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.audit import duplicate_groups, near_duplicates_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.table import Table
from leafzoom.errors import DataError, UsageError

__all__ = [
    "PARTS",
    "Split",
    "evaluation_images",
    "grouped_split",
    "known_split",
    "paper_split",
    "read_split",
    "subset",
    "training_split",
]

PARTS = ("all", "inner-train", "inner-select", "inner-report", "paper-train", "paper-validation")
_INNER = ("inner-train", "inner-select", "inner-report")
_SHARES = (0.8, 0.1, 0.1)
_PAPER_ROWS = 18_632


@dataclass(frozen=True)
class Split:
    """The photographs of a run's three parts, by name; a photograph is in one part at the most.

    Raises:
        DataError: a photograph is in two parts, or no photograph is trained on.
    """

    name: str
    train: tuple[str, ...]
    select: tuple[str, ...]
    report: tuple[str, ...]

    def __post_init__(self) -> None:
        everything = self.train + self.select + self.report
        if len(set(everything)) != len(everything):
            raise DataError(f"the split {self.name} has a photograph in two parts or twice in one: mend the file")
        for part, images in (("train", self.train), ("select", self.select)):
            if not images:
                raise DataError(f"the split {self.name} has no photograph to {part}: label more photographs")

    def part(self, name: str) -> tuple[str, ...]:
        """The photographs of `inner-train`, `inner-select` or `inner-report`."""
        return dict(zip(_INNER, (self.train, self.select, self.report), strict=True))[name]

    def digest(self) -> str:
        """A hash of which photograph is in which part."""
        parts = "\n".join("\t".join(sorted(part)) for part in (self.train, self.select, self.report))
        return hashlib.sha256(parts.encode()).hexdigest()

    def to_dict(self) -> dict[str, object]:
        """Plain values, as JSON and `from_dict` take them."""
        return {"name": self.name, "train": self.train, "select": self.select, "report": self.report}

    @classmethod
    def from_dict(cls, content: object, where: Path) -> Split:
        """The split that `to_dict` wrote, or one written by hand (`report` may be left out).

        Raises:
            DataError: not an object of lists of names.
        """
        if not isinstance(content, Mapping) or not content.get("train"):
            raise DataError(f'the split {where} has to be {{"train": [names], "select": [names], "report": [..]}}')
        parts = [content.get(key, []) for key in ("train", "select", "report")]
        for images in parts:
            if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
                raise DataError(f"the split {where} has to list photographs by name, as the CSV writes them")
        return cls(str(content.get("name", where.stem)), *(tuple(images) for images in parts))


def grouped_split(table: Table, groups: NDArray[np.int64], *, seed: int = 0, name: str = "inner") -> Split:
    """Three parts of 80, 10 and 10 %, near-duplicates together, label combinations balanced.

    Depends on the photographs' names, labels and groups alone, not on the order of the table's rows.

    Args:
        table: N photographs.
        groups: [N], the same number for near-duplicates (see `duplicate_groups`).
        seed: of the shuffle.
        name: of the split.

    Raises:
        DataError: too few photographs for three parts.
    """
    if len(table) < 10:
        raise DataError(f"{table.csv} has {len(table)} photographs and a split in three parts needs 10: add some")
    members: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(table)), key=lambda i: table.rows[i].image):
        members[int(groups[index])].append(index)
    strata: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for group in members.values():
        strata[tuple(sorted(table.rows[group[0]].labels))].append(group)
    random = np.random.RandomState(seed)
    parts: list[list[int]] = [[], [], []]
    wanted = np.zeros(3)
    for labels in sorted(strata):
        stratum = strata[labels]
        wanted += np.array(_SHARES) * sum(len(group) for group in stratum)
        for place in random.permutation(len(stratum)):
            # The part that lacks most of its share so far gets the next group; one that is larger than a few
            # photographs and than what selection or report lacks is trained on.
            group = stratum[int(place)]
            lacks = wanted - [len(part) for part in parts]
            choice = int(np.argmax(lacks / _SHARES))
            parts[choice if len(group) <= max(3, lacks[choice]) else 0].extend(group)
    if min(len(parts[1]), len(parts[2])) < len(table) * _SHARES[1] / 2:
        largest = max(len(group) for group in members.values())
        raise DataError(
            f"{table.csv}: {largest} of {len(table)} photographs are near-duplicates of each other, so no tenth of "
            "them can be kept apart for selection: add different ones, or give a split of your own with --split FILE"
        )
    train, select, report = (tuple(sorted(table.rows[i].image for i in part)) for part in parts)
    return Split(name, train, select, report)


def paper_split(table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paper's training and validation photographs, of Kaggle's full table in its row order.

    Raises:
        DataError: the table does not have the 18,632 rows that the permutation is of.
    """
    if len(table) != _PAPER_ROWS:
        raise DataError(
            f"the paper's split is of Kaggle's full table of {_PAPER_ROWS} rows, and {table.csv} has {len(table)} "
            "that can be used: give the full table or an inner split"
        )
    order = np.random.RandomState(11).permutation(_PAPER_ROWS)
    validation = math.ceil(_PAPER_ROWS / 10)
    images = table.images
    return tuple(images[i] for i in order[validation:]), tuple(images[i] for i in order[:validation])


def training_split(cache: Cache, name_or_file: str) -> Split:
    """The split that a training uses.

    `inner-train` (the default) trains on 80 % and selects on 10 %; `all` trains on everything but
    `inner-select`; `paper-train` trains on the paper's training photographs but for a tenth of them, which
    selects (the authors selected on the validation part); a file is a split in JSON, as a run stores it.

    Raises:
        UsageError: no part of this name to train on, and no such file.
        DataError: the file is no split, or the table does not suit it.
    """
    if name_or_file in ("inner-train", "all"):
        inner = _grouped(cache, cache.table)
        return inner if name_or_file == "inner-train" else _with_report(inner)
    if name_or_file == "paper-train":
        train, validation = paper_split(cache.table)
        inner = _grouped(cache, cache.table.take(train))
        return Split("paper", inner.train + inner.report, inner.select, validation)
    if name_or_file in PARTS:
        raise UsageError(f"--split {name_or_file} is no part to train on: inner-train, all, paper-train or a file")
    split = read_split(Path(name_or_file))
    cache.table.take(split.train + split.select + split.report)
    return split


def evaluation_images(
    cache: Cache, name_or_file: str, stored: Split | None, trained_with: str | None = None
) -> tuple[str, ...]:
    """The photographs that an evaluation reads.

    Args:
        cache: of the data set.
        name_or_file: a part's name, or a file: a split in JSON (its `report` part) or a text of one name a line.
        stored: the split of the evaluated run, which decides what the inner parts are.
        trained_with: the digest of the split that the model was trained with, where only that is known.

    Raises:
        UsageError: no part of this name, and no such file.
        DataError: the table does not suit the part.
    """
    if name_or_file == "all":
        return cache.table.images
    if name_or_file in _INNER:
        split = stored or _grouped(cache, cache.table)
        if trained_with and not stored and _with_report(split).digest() == trained_with:
            split = _with_report(split)
        if trained_with and split.digest() != trained_with:
            raise DataError(
                f"the model was trained with another split than {cache.table.csv} gives, so {name_or_file} may hold "
                "photographs that it was trained on: evaluate its run's folder, or name the photographs in a file"
            )
        images = split.part(name_or_file)
        if not images:
            raise DataError(
                f"the model was trained with the split {split.name!r}, which has no photographs in {name_or_file}: "
                "choose another part"
            )
        return cache.table.take(images).images
    if name_or_file in PARTS:
        train, validation = paper_split(cache.table)
        return train if name_or_file == "paper-train" else validation
    path = Path(name_or_file)
    if path.suffix == ".json":
        split = read_split(path)
        return cache.table.take(split.report or split.select).images
    if not path.is_file():
        raise UsageError(f"no split {name_or_file!r}: give a file or one of {', '.join(PARTS)}")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the split {path} cannot be read as UTF-8 text ({error}): one name a line") from error
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise DataError(f"the split {path} names no photograph: write one name a line")
    return cache.table.take(names).images


def known_split(cache: Cache, stored: Split | None, trained_with: str | None) -> Split | None:
    """The split that a model was trained with: its run's, or this table's own where the digest is that one's.

    Args:
        cache: of the data set.
        stored: the split of the run, if it is there.
        trained_with: the digest that the model file tells, if it does.
    """
    if stored or not trained_with:
        return stored
    with suppress(DataError):  # a table that cannot be split is not the one that it was trained on
        inner = _grouped(cache, cache.table)
        return next((split for split in (inner, _with_report(inner)) if split.digest() == trained_with), None)
    return None


def subset(table: Table, count: int, *, seed: int = 0) -> tuple[str, ...]:
    """`count` photographs of a table (0 or too many: all), label combinations in proportion, sorted by name."""
    if not count or count >= len(table):
        return table.images
    random = np.random.RandomState(seed)
    shuffled = random.permutation(len(table))
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index in shuffled:
        strata[tuple(sorted(table.rows[index].labels))].append(int(index))
    spread = [
        ((place + 0.5) / len(stratum), index) for stratum in strata.values() for place, index in enumerate(stratum)
    ]
    return tuple(sorted(table.rows[index].image for _, index in sorted(spread)[:count]))


def _with_report(inner: Split) -> Split:
    """The split `all`: everything but `inner-select` is trained on."""
    return Split("all", inner.train + inner.report, inner.select, ())


def _grouped(cache: Cache, table: Table) -> Split:
    """The grouped split of a part of a cache's photographs."""
    places = {image: place for place, image in enumerate(cache.table.images)}
    groups = duplicate_groups(len(cache.table), near_duplicates_of(cache))
    return grouped_split(table, groups[[places[image] for image in table.images]])


def read_split(path: Path) -> Split:
    """A split in JSON, as a run stores it.

    Raises:
        UsageError: no such file.
        DataError: not a split.
    """
    if not path.is_file():
        raise UsageError(f"no split {str(path)!r}: give a JSON file or one of {', '.join(PARTS)}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"the split {path} is no JSON: {error}") from error
    return Split.from_dict(content, path)
