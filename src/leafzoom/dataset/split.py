"""Which photographs a model is trained on, which validate it, and which test it.

The grouped split (our own work) keeps near-duplicates in one part, balances label combinations and
has three parts of 80, 10 and 10 %: `inner-train`, `inner-validation` (early stops, thresholds,
calibration) and `inner-test` (read once, for the figures). The paper's split is a permutation of
the 18,632 rows of Kaggle's table.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.audit import duplicate_groups, near_duplicates_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.group_split import group_parts, joined_groups
from leafzoom.dataset.rare_labels import place_rare_labels
from leafzoom.dataset.stratification import sorted_image_names, stratified_parts
from leafzoom.dataset.table import Table
from leafzoom.errors import DataError, UsageError

__all__ = [
    "PARTS",
    "Split",
    "evaluation_image_names",
    "grouped_split",
    "paper_split",
    "read_split",
    "split_of_model",
    "training_split",
]

_INNER_PARTS = ("inner-train", "inner-validation", "inner-test")
_PRESENT_PARTS = ("all", *_INNER_PARTS, "paper-train", "paper-validation")

# Former names, accepted for one version more.
_FORMER_PARTS = {"inner-select": "inner-validation", "inner-report": "inner-test"}

PARTS = (*_PRESENT_PARTS, *_FORMER_PARTS)

# Shares of the train, validation and test parts.
_SHARES = (0.8, 0.1, 0.1)
_MIN_PHOTOGRAPHS = 10

_PAPER_ROWS = 18_632
_PAPER_SEED = 11


@dataclass(frozen=True)
class Split:
    """The photographs of a run's three parts, by name; each photograph is in at most one part.

    Raises:
        DataError: a photograph is in two parts, or the train or the validation part is empty.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        image_names = self.train + self.validation + self.test
        if len(set(image_names)) != len(image_names):
            raise DataError(
                f"the split {self.name} has a photograph in two parts or twice in one: "
                "list each photograph once"
            )

        for part, names in (("train", self.train), ("validation", self.validation)):
            if not names:
                raise DataError(
                    f"the split {self.name} has no photograph in its {part} part: "
                    "label more photographs"
                )

    def part(self, name: str) -> tuple[str, ...]:
        """The photographs of `inner-train`, `inner-validation` or `inner-test`."""
        parts = (self.train, self.validation, self.test)
        return dict(zip(_INNER_PARTS, parts, strict=True))[_present_name(name)]

    def digest(self) -> str:
        """A hash of which photograph is in which part."""
        parts = (self.train, self.validation, self.test)
        lines = ["\t".join(sorted(part)) for part in parts]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_dict(self) -> dict[str, object]:
        """Plain values for a file in JSON; its keys keep the former names of the parts."""
        return {
            "name": self.name,
            "train": self.train,
            "select": self.validation,
            "report": self.test,
        }

    @classmethod
    def from_dict(cls, content: object, where: Path) -> Split:
        """The split that `to_dict` gives, or one written by hand.

        The validation part may be called `validation` or `select`, the test part `test` or
        `report`; the test part may be left out.

        Raises:
            DataError: `content` is not an object with lists of names, or has a part twice.
        """
        if not isinstance(content, Mapping) or not content.get("train"):
            raise DataError(
                f'the split {where} has to be {{"train": [names], "validation": [names], '
                '"test": [names]}'
            )

        return cls(
            name=str(content.get("name", where.stem)),
            train=_names_of_part(content, where, "train"),
            validation=_names_of_part(content, where, "validation", "select"),
            test=_names_of_part(content, where, "test", "report"),
        )


def grouped_split(
    table: Table,
    groups: NDArray[np.int64],
    *,
    seed: int = 0,
    name: str = "inner",
) -> Split:
    """Three parts of 80, 10 and 10 %, near-duplicates together, label combinations balanced.

    A label of two photographs or more that are no near-duplicates is in the training and in the
    validation part, however rare it is (see `place_rare_labels`). Where the table has a column of
    groups, each group is in one part, and shares and labels are as near as that allows (see
    `group_parts`).

    Depends on the photographs' names, labels and groups alone, not on the order of the rows.

    Args:
        table: N photographs.
        groups: [N], the same number for near-duplicates (see `duplicate_groups`).
        seed: of the shuffle.
        name: of the split.

    Raises:
        DataError: there are too few photographs for three parts, or too many of them are
            near-duplicates of each other; or fewer than three groups.
    """
    if len(table) < _MIN_PHOTOGRAPHS:
        raise DataError(
            f"{table.csv} has {len(table)} photographs and a split in three parts needs "
            f"{_MIN_PHOTOGRAPHS}: add some"
        )

    if table.group_column:
        parts = group_parts(table, joined_groups(table, groups), seed)
        named = [sorted_image_names(table, part) for part in parts]
        return Split(name, named[0], named[1], named[2])

    train, validation, test = stratified_parts(table, groups, _SHARES, seed)

    # One large group can leave too little for the two small parts.
    if min(len(validation), len(test)) < len(table) * _SHARES[1] / 2:
        largest = np.unique(groups, return_counts=True)[1].max()
        raise DataError(
            f"{table.csv}: {largest} of {len(table)} photographs are near-duplicates of each "
            "other, so no tenth of them can be kept apart for validation: add different ones, or "
            "give a split of your own with --split FILE"
        )

    # The shares alone would leave most rare labels out of the validation part.
    train, validation, test = place_rare_labels(table, groups, (train, validation, test))
    return Split(
        name=name,
        train=sorted_image_names(table, train),
        validation=sorted_image_names(table, validation),
        test=sorted_image_names(table, test),
    )


def paper_split(table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paper's training and validation photographs, of Kaggle's full table in its row order.

    Raises:
        DataError: the table does not have the 18,632 rows that the permutation is of.
    """
    if len(table) != _PAPER_ROWS:
        raise DataError(
            f"the paper's split is of Kaggle's full table of {_PAPER_ROWS} rows, and {table.csv} "
            f"has {len(table)} that can be used: give the full table or an inner split"
        )

    # The authors' permutation, whose first tenth validates.
    order = np.random.RandomState(_PAPER_SEED).permutation(_PAPER_ROWS)
    validation_count = math.ceil(_PAPER_ROWS / 10)

    image_names = table.image_names
    validation = tuple(image_names[index] for index in order[:validation_count])
    train = tuple(image_names[index] for index in order[validation_count:])
    return train, validation


def training_split(cache: Cache, name_or_file: str) -> Split:
    """The split that a training uses.

    `inner-train` (the default) trains on 80 % and validates on 10 %. `all` trains on everything but
    `inner-validation`. `paper-train` trains on nine tenths of the paper's training photographs and
    validates on the other tenth; the paper's validation part is its test part (the authors
    selected on it). `folders` keeps the parts of class folders (`DIR/train/scab`). A file is a
    split in JSON, as a run stores it.

    The inner and the paper's split need the near-duplicates of the cache's photographs (see
    `near_duplicates_of`).

    Raises:
        UsageError: no part to train on has this name, and no file.
        DataError: the file is no split, or the table does not suit it.
    """
    if name_or_file == "inner-train":
        return _inner_split(cache, cache.table)
    if name_or_file == "all":
        return _merge_test_into_train(_inner_split(cache, cache.table))
    if name_or_file == "paper-train":
        train, test = paper_split(cache.table)
        inner = _inner_split(cache, cache.table.take(train))
        return Split("paper", inner.train + inner.test, inner.validation, test)
    if name_or_file == "folders":
        return _split_of_folders(cache.table)
    if name_or_file in PARTS:
        raise UsageError(
            f"--split {name_or_file} is no part to train on: inner-train, all, folders, "
            "paper-train or a file"
        )

    # A file of another table's photographs is an error.
    split = read_split(Path(name_or_file))
    return replace(
        split,
        train=cache.table.take(split.train).image_names,
        validation=cache.table.take(split.validation).image_names,
        test=cache.table.take(split.test).image_names,
    )


def evaluation_image_names(
    cache: Cache,
    name_or_file: str,
    stored: Split | None,
    trained_with: str | None = None,
) -> tuple[str, ...]:
    """The photographs that an evaluation reads.

    Args:
        cache: of the data set.
        name_or_file: a part's name, or a file: a split in JSON (its test part, or its validation
            part where that is empty) or a text of one name a line.
        stored: the split of the evaluated run, which decides what the inner parts are.
        trained_with: the digest of the split that the model was trained with, where only that is
            known.

    Raises:
        UsageError: no part has this name, and no file.
        DataError: the table does not suit the part.
    """
    if name_or_file == "all":
        return cache.table.image_names
    if _present_name(name_or_file) in _INNER_PARTS:
        return _inner_image_names(cache, name_or_file, stored, trained_with)
    if name_or_file == "paper-train":
        return paper_split(cache.table)[0]
    if name_or_file == "paper-validation":
        return paper_split(cache.table)[1]
    return cache.table.take(_image_names_of_file(Path(name_or_file))).image_names


def split_of_model(cache: Cache, stored: Split | None, trained_with: str | None) -> Split | None:
    """The split that a model was trained with, or None where it is not known.

    It is that of its run, or the table's `inner-train` or `all` split that has the digest.

    Args:
        cache: of the data set.
        stored: the split of the run, if it is there.
        trained_with: the split's digest in the model file, if it has one.
    """
    if stored or not trained_with:
        return stored

    # A table that cannot be split is not the one that the model was trained on.
    with suppress(DataError):
        for split in _splits_of_table(cache):
            if split.digest() == trained_with:
                return split
    return None


def _missing_file(path: Path) -> str:
    """That there is no such file, where a word can only be a file's name."""
    return ", the file does not exist" if path.suffix or len(path.parts) > 1 else ""


def read_split(path: Path) -> Split:
    """A split in JSON, as a run stores it.

    Raises:
        UsageError: there is no such file.
        DataError: the file is not a split.
    """
    if not path.is_file():
        raise UsageError(
            f"no split {str(path)!r}{_missing_file(path)}: give a JSON file or one of "
            f"{', '.join(_PRESENT_PARTS)}"
        )

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the split {path} is no JSON: {error}") from error
    return Split.from_dict(content, path)


def _present_name(part: str) -> str:
    """The present name of a part that may be called by its former one."""
    return _FORMER_PARTS.get(part, part)


def _names_of_part(content: Mapping[str, Any], where: Path, *keys: str) -> tuple[str, ...]:
    """The photographs that a split in JSON lists under one of some keys; none without a key."""
    used_keys = [key for key in keys if key in content]
    if len(used_keys) > 1:
        raise DataError(
            f"the split {where} lists one part twice, as {' and '.join(used_keys)}: keep one"
        )
    if not used_keys:
        return ()

    # A hand-written file can hold anything.
    image_names = content[used_keys[0]]
    if not isinstance(image_names, list) or not all(isinstance(name, str) for name in image_names):
        raise DataError(
            f"the split {where} has to list photographs by name, as the CSV writes them"
        )
    return tuple(image_names)


def _inner_split(cache: Cache, table: Table) -> Split:
    """The grouped split of some of a cache's photographs."""
    groups = duplicate_groups(len(cache.table), near_duplicates_of(cache))

    # The groups are by row of the whole table, of which `table` may be a part.
    indices = {image_name: index for index, image_name in enumerate(cache.table.image_names)}
    rows = [indices[image_name] for image_name in table.image_names]
    return grouped_split(table, groups[rows])


def _merge_test_into_train(inner: Split) -> Split:
    """The split `all`: everything but the validation part is trained on."""
    return Split("all", inner.train + inner.test, inner.validation, ())


def _split_of_folders(table: Table) -> Split:
    """The parts that the folders of the photographs give."""
    by_part: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for row in table.rows:
        if not row.part:
            raise DataError(
                f"{table.csv}: --split folders needs every photograph in train/, val/ or test/, "
                f"and {row.image_name!r} is in none: move it, or leave --split out"
            )
        by_part[row.part].append(row.image_name)
    return Split(
        "folders", tuple(by_part["train"]), tuple(by_part["validation"]), tuple(by_part["test"])
    )


def _splits_of_table(cache: Cache) -> tuple[Split, ...]:
    """The splits that `inner-train` and `all` name for a cache's table.

    With a column of groups, those that keep groups together come first.
    """
    inner = _inner_split(cache, cache.table)
    splits = (inner, _merge_test_into_train(inner))
    if not cache.table.group_column:
        return splits

    # A model may have been trained without the column.
    without = _inner_split(cache, replace(cache.table, group_column=""))
    return (*splits, without, _merge_test_into_train(without))


def _inner_image_names(
    cache: Cache,
    part: str,
    stored: Split | None,
    trained_with: str | None,
) -> tuple[str, ...]:
    """The photographs of an inner part, of the split that the model was trained with."""
    # Without the run's own split, the digest tells which of the table's splits it was.
    splits = (stored,) if stored else _splits_of_table(cache)
    matches = [split for split in splits if not trained_with or split.digest() == trained_with]
    if not matches:
        raise DataError(
            f"the model was trained with another split than {cache.table.csv} gives, so {part} may "
            "hold photographs that it was trained on: evaluate its run's folder, or name the "
            "photographs in a file"
        )

    split = matches[0]
    image_names = split.part(part)
    if not image_names:
        raise DataError(
            f"the model was trained with the split {split.name!r}, which has no photographs in "
            f"{part}: choose another part"
        )
    return cache.table.take(image_names).image_names


def _image_names_of_file(path: Path) -> tuple[str, ...]:
    """The photographs that a file names: a split in JSON, or a text of one name a line."""
    if path.suffix == ".json":
        split = read_split(path)
        return split.test or split.validation
    if not path.is_file():
        raise UsageError(
            f"no split {str(path)!r}{_missing_file(path)}: give a file or one of "
            f"{', '.join(_PRESENT_PARTS)}"
        )

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the split {path} cannot be read as UTF-8 text ({error}): one name a line"
        ) from error

    # Blank lines are skipped, and a name that is there twice counts once.
    names = dict.fromkeys(line.strip() for line in lines if line.strip())
    if not names:
        raise DataError(f"the split {path} names no photograph: write one name a line")
    return tuple(names)
