"""Which photographs a model is trained on, which validate it, and which test it.

The grouped split (our own work) keeps near-duplicates in one part, balances label combinations and
has three parts of 80, 10 and 10 %: `inner-train`, `inner-validation` (early stops, thresholds,
calibration) and `inner-test` (read once, for the figures). The paper's split is a permutation of
the 18,632 rows of Kaggle's table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.audit import duplicate_groups, near_duplicates_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.group_split import group_parts, joined_groups
from leafzoom.dataset.paper_split import paper_split
from leafzoom.dataset.rare_labels import place_rare_labels
from leafzoom.dataset.stratification import sorted_image_names, stratified_parts
from leafzoom.dataset.table import Table
from leafzoom.errors import DataError, UsageError

__all__ = [
    "INNER_PARTS",
    "PARTS",
    "PRESENT_PARTS",
    "SelectOn",
    "Split",
    "grouped_split",
    "missing_file",
    "present_name",
    "read_split",
    "splits_of_table",
    "training_split",
]

INNER_PARTS = ("inner-train", "inner-validation", "inner-test")
PRESENT_PARTS = ("all", *INNER_PARTS, "paper-train", "paper-validation")

# Former names, accepted for one version more.
_FORMER_PARTS = {"inner-select": "inner-validation", "inner-report": "inner-test"}

PARTS = (*PRESENT_PARTS, *_FORMER_PARTS)

# Shares of the train, validation and test parts.
_SHARES = (0.8, 0.1, 0.1)
_MIN_PHOTOGRAPHS = 10

SelectOn = Literal["validation", "none"]
"""What chooses the best epoch, and what decisions are fitted on; `none`: nothing is held out."""


@dataclass(frozen=True)
class Split:
    """The photographs of a run's three parts, by name; each photograph is in at most one part.

    `select_on`: with `none` the validation part is empty, and its photographs are trained on.

    Raises:
        DataError: a photograph is in two parts, the train part is empty, or the validation part is
            empty but for `none`, or not empty with it.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    select_on: SelectOn = "validation"

    def __post_init__(self) -> None:
        image_names = self.train + self.validation + self.test
        if len(set(image_names)) != len(image_names):
            raise DataError(
                f"the split {self.name} has a photograph in two parts or twice in one: "
                "list each photograph once"
            )

        if self.select_on == "none" and self.validation:
            raise DataError(
                f"the split {self.name} has select_on none and {len(self.validation)} photographs "
                "in its validation part: leave one of both out"
            )

        # Without a selection the validation part is empty.
        needed = {"train": self.train}
        if self.select_on == "validation":
            needed["validation"] = self.validation
        for part, names in needed.items():
            if not names:
                raise DataError(
                    f"the split {self.name} has no photograph in its {part} part: "
                    "label more photographs"
                )

    def without_validation(self) -> Split:
        """The split that trains on the validation part too and selects on nothing."""
        train = self.train + self.validation
        return replace(self, train=train, validation=(), select_on="none")

    def part(self, name: str) -> tuple[str, ...]:
        """The photographs of `inner-train`, `inner-validation` or `inner-test`."""
        parts = (self.train, self.validation, self.test)
        return dict(zip(INNER_PARTS, parts, strict=True))[present_name(name)]

    def digest(self) -> str:
        """A hash of which photograph is in which part."""
        parts = (self.train, self.validation, self.test)
        lines = ["\t".join(sorted(part)) for part in parts]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_dict(self) -> dict[str, object]:
        """Plain values for a file in JSON; its keys keep the former names of the parts."""
        content: dict[str, object] = {
            "name": self.name,
            "train": self.train,
            "select": self.validation,
            "report": self.test,
        }
        if self.select_on == "none":
            content["select_on"] = "none"
        return content

    @classmethod
    def from_dict(cls, content: object, where: Path, needed_for: SelectOn | None = None) -> Split:
        """The split that `to_dict` gives, or one written by hand.

        The validation part may be called `validation` or `select`, the test part `test` or
        `report`; the test part may be left out, the validation part where `select_on` is `none`.

        Args:
            content: of the file.
            where: the file.
            needed_for: what a training selects on. For `none` a validation part is trained on.

        Raises:
            DataError: `content` is not an object with lists of names, has a part twice, or an
                unknown `select_on`.
        """
        if not isinstance(content, Mapping) or not content.get("train"):
            raise DataError(
                f'the split {where} has to be {{"train": [names], "validation": [names], '
                '"test": [names]}'
            )

        select_on = content.get("select_on", "validation")
        if select_on not in get_args(SelectOn):
            raise DataError(
                f"the split {where} has select_on {select_on!r}: write validation or none"
            )
        train = _names_of_part(content, where, "train")
        validation = _names_of_part(content, where, "validation", "select")
        if needed_for == "none":
            train += validation
            validation = ()
            select_on = "none"
        return cls(
            name=str(content.get("name", where.stem)),
            train=train,
            validation=validation,
            test=_names_of_part(content, where, "test", "report"),
            select_on=select_on,
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


def training_split(cache: Cache, name_or_file: str, select_on: SelectOn = "validation") -> Split:
    """The split that a training uses.

    `inner-train` (the default) trains on 80 % and validates on 10 %. `all` trains on everything but
    `inner-validation`. `paper-train` trains on nine tenths of the paper's training photographs,
    which is 81 % of Kaggle's table, and validates on the other tenth; the paper's validation part
    is its test part (the authors selected on it). `folders` keeps the parts of class folders
    (`DIR/train/scab`). A file is a split in JSON, as a run stores it.

    The inner and the paper's split need the near-duplicates of the cache's photographs (see
    `near_duplicates_of`).

    Args:
        cache: of the data set.
        name_or_file: which split.
        select_on: `none`: the validation part is trained on too. `all` and `paper-train` are then
            whole.

    Raises:
        UsageError: no part to train on has this name, and no file.
        DataError: the file is no split, or the table does not suit it.
    """
    table = cache.table
    if name_or_file == "all" and select_on == "none":
        return Split("all", table.image_names, (), (), select_on)
    if name_or_file == "paper-train" and select_on == "none":
        train, test = paper_split(table)
        return Split("paper", train, (), test, select_on)

    split = _named_split(cache, name_or_file, select_on)
    return split.without_validation() if select_on == "none" else split


def present_name(part: str) -> str:
    """The present name of a part that may be called by its former one."""
    return _FORMER_PARTS.get(part, part)


def splits_of_table(cache: Cache) -> tuple[Split, ...]:
    """The splits that `inner-train` and `all` name for a cache's table, selecting and not.

    With a column of groups, those that keep groups together come first.
    """
    inner = _inner_split(cache, cache.table)
    selecting = (inner, _merge_test_into_train(inner))
    splits = (*selecting, *(split.without_validation() for split in selecting))
    if not cache.table.group_column:
        return splits

    # A model may have been trained without the column.
    without = _inner_split(cache, replace(cache.table, group_column=""))
    return (*splits, without, _merge_test_into_train(without))


def missing_file(path: Path) -> str:
    """That there is no such file, where a word can only be a file's name."""
    return ", the file does not exist" if path.suffix or len(path.parts) > 1 else ""


def read_split(path: Path, select_on: SelectOn | None = None) -> Split:
    """A split in JSON, as a run stores it.

    Args:
        path: of the file.
        select_on: of the training that it is read for; None: what the file has.

    Raises:
        UsageError: there is no such file, or it holds nothing out and `select_on` is `validation`.
        DataError: the file is not a split.
    """
    if not path.is_file():
        raise UsageError(
            f"no split {str(path)!r}{missing_file(path)}: give a JSON file or one of "
            f"{', '.join(PRESENT_PARTS)}"
        )

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"the split {path} is no JSON: {error}") from error
    split = Split.from_dict(content, path, select_on)
    if select_on == "validation" and split.select_on == "none":
        raise UsageError(f"the split {path} holds no photograph out: add --select-on none")
    return split


def _named_split(cache: Cache, name_or_file: str, select_on: SelectOn) -> Split:
    """The split of `training_split` with its validation part, which `select_on` may not need."""
    if name_or_file == "inner-train":
        return _inner_split(cache, cache.table)
    if name_or_file == "all":
        return _merge_test_into_train(_inner_split(cache, cache.table))
    if name_or_file == "paper-train":
        train, test = paper_split(cache.table)
        inner = _inner_split(cache, cache.table.take(train))
        return Split("paper", inner.train + inner.test, inner.validation, test)
    if name_or_file == "folders":
        return _split_of_folders(cache.table, select_on)
    if name_or_file in PARTS:
        raise UsageError(
            f"--split {name_or_file} is no part to train on: inner-train, all, folders, "
            "paper-train or a file"
        )

    # A file of another table's photographs is an error.
    split = read_split(Path(name_or_file), select_on)
    return replace(
        split,
        train=cache.table.take(split.train).image_names,
        validation=cache.table.take(split.validation).image_names,
        test=cache.table.take(split.test).image_names,
    )


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


def _split_of_folders(table: Table, select_on: SelectOn) -> Split:
    """The parts that the folders of the photographs give; without `val/` nothing is selected on."""
    by_part: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for row in table.rows:
        if not row.part:
            raise DataError(
                f"{table.csv}: --split folders needs every photograph in train/, val/ or test/, "
                f"and {row.image_name!r} is in none: move it, or leave --split out"
            )
        by_part[row.part].append(row.image_name)
    train = tuple(by_part["train"])
    validation = tuple(by_part["validation"])
    if select_on == "none":
        return Split("folders", train + validation, (), tuple(by_part["test"]), select_on)
    return Split("folders", train, validation, tuple(by_part["test"]))
