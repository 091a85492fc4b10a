"""What too few photographs are told about, label by label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from leafzoom.dataset.split import grouped_split
from leafzoom.dataset.sufficiency import split_warnings, table_warnings
from leafzoom.dataset.table import Row, Table


def table_of(counts: dict[str, int]) -> Table:
    """A table of {labels: photographs}."""
    labels = [tuple(key.split()) for key, count in counts.items() for _ in range(count)]
    rows = [Row(i + 2, f"{i:05d}.jpg", each, Path("x")) for i, each in enumerate(labels)]
    return Table(Path("t.csv"), tuple(rows), ())


def test_enough_photographs_are_no_matter() -> None:
    assert table_warnings(table_of({"healthy": 20, "scab": 30})) == []


def test_a_label_with_few_photographs_is_named_with_their_number() -> None:
    (warning,) = table_warnings(table_of({"healthy": 22, "scab": 22, "mildew": 4}))
    assert warning.startswith("mildew: 4 photographs, too few to choose thresholds")

    (warning,) = table_warnings(table_of({"healthy": 22, "mildew": 1}))
    assert warning.startswith("mildew: 1 photograph, which is learned from")


def test_one_class_only_is_said() -> None:
    (warning,) = table_warnings(table_of({"scab": 30}))
    assert "every photograph has the same labels, scab" in warning
    assert "every answer will be this one" in warning

    (warning,) = table_warnings(table_of({"": 30}))
    assert "no label" in warning


def test_a_label_that_can_never_or_always_be_said_is_said() -> None:
    table = table_of({"healthy": 30, "scab": 30})
    (warning,) = table_warnings(table, ("healthy", "rust", "scab"))
    assert warning.startswith("rust: no photograph has it, so it can never be the answer")

    (warning,) = table_warnings(table_of({"leaf scab": 30, "leaf": 30}))
    assert warning.startswith("leaf: every photograph has it, so every answer will have it")


def test_a_split_tells_what_it_cannot_judge() -> None:
    table = table_of({"healthy": 200, "scab": 200, "mildew": 1})
    split = grouped_split(table, np.arange(len(table)))
    missing, few = split_warnings(table, split)
    assert "validation part has no photograph of mildew" in missing
    assert "the test part has 0 of mildew: with fewer than 10 photographs" in few

    # Where both parts are used as one, the validation part has nothing to miss.
    assert split_warnings(table, split, cross_validated=True) == [few]
