"""Splits: balanced, the same in every release, and named as the command line takes them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conftest import numbered_table
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.evaluated_part import evaluation_image_names
from leafzoom.dataset.split import (
    PARTS,
    Split,
    grouped_split,
    read_split,
    training_split,
)
from leafzoom.dataset.table import Table
from leafzoom.errors import DataError, UsageError

# Digests of the release before: they are stored in model files.
GROUPED_DIGESTS = {
    0: "32ffd8e3f8e7037cbef2b18148fa33524191481a48fc6596aa00ebb7cfeea48b",
    1: "0732c4e7b22ec96ac66e677ab5a80bbc8c9f8fd4087ee3dc564398e8a07b1473",
}
TRAINING_DIGESTS = {
    "inner-train": "8132659a5f0c171f0842f57bee0d07e4c36c9782acb6c79760021fa325faadfd",
    "all": "5a9ba42860a0299595a64990b31ff7ef70f8925eb86b62b62b13f4c24438e23e",
}


@pytest.fixture
def table() -> Table:
    """A thousand photographs of three label combinations."""
    return numbered_table(1000, [("scab",)] * 6 + [("rust",)] * 3 + [("rust", "scab")])


@pytest.fixture
def groups() -> np.ndarray:
    """Twenty pairs of near-duplicates among a thousand photographs."""
    groups = np.arange(1000)
    groups[500:520] = np.arange(20) * 3
    return groups


# The grouped split


def test_grouped_split_is_balanced_whole_and_keeps_duplicates_together(
    table: Table, groups: np.ndarray
) -> None:
    split = grouped_split(table, groups)
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert sorted(split.train + split.validation + split.test) == sorted(table.image_names)
    assert [len(part) for part in parts] == pytest.approx([800, 100, 100], abs=3)

    for part in parts:
        counts = Counter(row.labels for row in table.rows if row.image_name in part)
        assert counts["scab",] / len(part) == pytest.approx(0.6, abs=0.03)
        assert counts["rust", "scab"] / len(part) == pytest.approx(0.1, abs=0.03)

    for index in range(20):
        pair = {table.image_names[500 + index], table.image_names[index * 3]}
        assert sum(pair <= part for part in parts) == 1


def test_grouped_split_depends_on_the_seed_and_not_on_the_order_of_rows(
    table: Table, groups: np.ndarray
) -> None:
    split = grouped_split(table, groups)
    order = np.random.default_rng(0).permutation(1000)
    shuffled = Table(table.csv, tuple(table.rows[index] for index in order), ())
    assert grouped_split(shuffled, groups[order]) == split
    assert grouped_split(table, groups, seed=1) != split


@pytest.mark.parametrize("seed", GROUPED_DIGESTS)
def test_grouped_split_stays_the_same(table: Table, groups: np.ndarray, seed: int) -> None:
    assert grouped_split(table, groups, seed=seed).digest() == GROUPED_DIGESTS[seed]


def test_a_large_group_is_trained_on_and_one_of_nearly_all_photographs_refused() -> None:
    table = numbered_table(100, [("scab",)])
    groups = np.arange(100)
    groups[:40] = 0
    split = grouped_split(table, groups)
    assert set(table.image_names[:40]) <= set(split.train)

    sizes = [len(split.train), len(split.validation), len(split.test)]
    assert sizes == pytest.approx([80, 10, 10], abs=5)

    groups[:97] = 0
    message = r"97 of 100 photographs are near-duplicates .*--split FILE"
    with pytest.raises(DataError, match=message):
        grouped_split(table, groups)


def test_a_split_in_three_parts_needs_ten_photographs() -> None:
    with pytest.raises(DataError, match=r"t\.csv has 9 photographs .* needs 10: add some"):
        grouped_split(numbered_table(9, [("scab",)]), np.arange(9))


# Splits of a training


@pytest.mark.parametrize("name", TRAINING_DIGESTS)
def test_training_splits_stay_the_same(cache: Cache, name: str) -> None:
    assert training_split(cache, name).digest() == TRAINING_DIGESTS[name]


def test_all_trains_on_everything_but_the_validation_part(cache: Cache, split: Split) -> None:
    everything = training_split(cache, "all")
    assert everything.train == split.train + split.test
    assert everything.validation == split.validation
    assert everything.test == ()


def test_without_a_selection_the_validation_part_is_trained_on(cache: Cache, split: Split) -> None:
    inner = training_split(cache, "inner-train", "none")
    assert inner.train == split.train + split.validation
    assert inner.validation == ()
    assert inner.test == split.test
    assert inner.select_on == "none"

    everything = training_split(cache, "all", "none")
    assert everything.train == cache.table.image_names
    assert everything.test == ()


def test_a_file_that_holds_nothing_out(cache: Cache, split: Split, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"train": list(split.train[:20]), "test": list(split.test)}))
    with pytest.raises(DataError, match="has no photograph in its validation part"):
        training_split(cache, str(path))
    assert training_split(cache, str(path), "none").train == split.train[:20]

    # As a run stores it.
    path.write_text(json.dumps(split.without_validation().to_dict()))
    assert read_split(path) == split.without_validation()
    with pytest.raises(UsageError, match="holds no photograph out: add --select-on none"):
        training_split(cache, str(path))


def test_a_training_takes_a_split_in_json(cache: Cache, split: Split, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    content = {
        "train": list(split.train[:20]),
        "validation": list(split.validation),
        "test": list(split.test),
    }
    path.write_text(json.dumps(content))
    assert training_split(cache, str(path)).train == split.train[:20]
    assert evaluation_image_names(cache, str(path), None) == split.test

    content["validation"] = content["train"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="in two parts"):
        training_split(cache, str(path))


def test_a_training_refuses_other_names(cache: Cache) -> None:
    message = "no split 'nothing': give a JSON file or one of all, inner-train, inner-validation"
    with pytest.raises(UsageError, match=r"no split 'typo\.json', the file does not exist: give"):
        read_split(Path("typo.json"))
    with pytest.raises(UsageError, match=message):
        training_split(cache, "nothing")

    for name in ("inner-validation", "inner-test", "inner-select", "inner-report"):
        with pytest.raises(UsageError, match=f"{name} is no part to train on"):
            training_split(cache, name)


# Files and former names


@pytest.mark.parametrize(
    ("former", "present"),
    [("inner-select", "inner-validation"), ("inner-report", "inner-test")],
)
def test_former_names_of_parts_are_aliases(
    cache: Cache, split: Split, former: str, present: str
) -> None:
    assert {former, present} <= set(PARTS)
    assert split.part(former) == split.part(present)

    expected = evaluation_image_names(cache, present, None)
    assert evaluation_image_names(cache, former, None) == expected
    assert evaluation_image_names(cache, former, split) == expected

    with pytest.raises(DataError, match=f"so {former} may hold photographs"):
        evaluation_image_names(cache, former, None, "0" * 64)


def test_files_keep_the_former_names_of_the_parts(split: Split, tmp_path: Path) -> None:
    content = split.to_dict()
    assert list(content) == ["name", "train", "select", "report"]
    assert content["select"] == split.validation
    assert content["report"] == split.test

    path = tmp_path / "split.json"
    path.write_text(json.dumps(content))
    assert read_split(path) == split


@pytest.mark.parametrize("validation", ["select", "validation"])
@pytest.mark.parametrize("test", ["report", "test"])
def test_files_may_use_former_and_present_names(tmp_path: Path, validation: str, test: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"train": ["a"], validation: ["b"], test: ["c"]}))
    assert read_split(path) == Split("mine", ("a",), ("b",), ("c",))

    path.write_text(json.dumps({"train": ["a"], validation: ["b"]}))
    assert read_split(path) == Split("mine", ("a",), ("b",), ())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", 'has to be {"train"'),
        ('{"validation": ["a"]}', 'has to be {"train"'),
        ('{"train": ["a"], "validation": "b"}', "has to list photographs by name"),
        ('{"train": ["a"], "validation": [1]}', "has to list photographs by name"),
        (
            '{"train": ["a"], "validation": ["b"], "select": ["c"]}',
            "lists one part twice, as validation and select",
        ),
        ('{"train": ["a"]}', "has no photograph in its validation part"),
        ('{"train": ["a"], "select_on": "test"}', "select_on 'test': write validation or none"),
        ('{"train": ["a"], "select": ["b"], "select_on": "none"}', "leave one of both out"),
        ('{"train": ["a", "a"], "select": ["b"]}', "in two parts or twice in one"),
    ],
)
def test_files_that_are_no_split_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_split(path)
