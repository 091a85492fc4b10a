"""The paper's split of Kaggle's table, and of its training photographs alone."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import needs_shared, numbered_table
from leafzoom.dataset.paper_split import paper_split
from leafzoom.dataset.table import Row, Table
from leafzoom.errors import DataError


def test_papers_split_is_the_authors_permutation_of_the_full_table() -> None:
    """Its validation indices start 6530, 1000, 18123 and end 2120."""
    table = numbered_table(18_632, [("scab",)])
    train, validation = paper_split(table)
    assert len(validation) == 1864
    ends = (*validation[:3], validation[-1])
    assert [int(name[:5]) for name in ends] == [6530, 1000, 18123, 2120]
    assert sorted(train + validation) == sorted(table.image_names)

    with pytest.raises(DataError, match=r"full table of 18632 rows, and t.csv has 18631"):
        paper_split(numbered_table(18_631, [("scab",)]))


def test_the_shared_table_is_the_papers_training_part() -> None:
    path = needs_shared("plant-pathology-2021", "train.csv")
    with path.open(encoding="utf-8", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    rows = tuple(Row(line, name, ("scab",), Path(name)) for line, name in enumerate(names, start=2))
    table = Table(path, rows, ())
    assert paper_split(table) == (table.image_names, ())

    # In any order; with another photograph it is no longer that part.
    assert paper_split(Table(table.csv, table.rows[::-1], ()))[1] == ()
    other = Table(table.csv, (replace(table.rows[0], image_name="other.jpg"), *table.rows[1:]), ())
    with pytest.raises(DataError, match="has 16768 that can be used"):
        paper_split(other)
