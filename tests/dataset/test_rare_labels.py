"""Rare labels are trained on and validated first; other tables stay as they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conftest import numbered_table
from leafzoom.dataset.rare_labels import place_rare_labels
from leafzoom.dataset.split import Split, grouped_split
from leafzoom.dataset.table import Row, Table


def table_of(counts: dict[str, int], seed: int = 0) -> Table:
    """A table of {labels: photographs} in an order drawn from a seed."""
    labels = [tuple(key.split()) for key, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(labels))
    rows = [
        Row(number + 2, f"{number:05d}.jpg", labels[index], Path("x"))
        for number, index in enumerate(order)
    ]
    return Table(Path("t.csv"), tuple(rows), ())


def single_groups(table: Table) -> np.ndarray:
    """Each photograph its own group."""
    return np.arange(len(table))


def label_counts(table: Table, image_names: tuple[str, ...]) -> Counter[str]:
    """How many photographs of a part have each label."""
    rows = table.take(image_names).rows
    return Counter(label for row in rows for label in row.labels)


@pytest.mark.parametrize("rare", [2, 3, 4, 5, 6])
def test_a_rare_label_is_trained_on_and_validated_in_every_table(rare: int) -> None:
    for seed in range(40):
        table = table_of({"healthy": 22, "scab": 22, "mildew": rare, "scab rust": 2}, seed)
        split = grouped_split(table, single_groups(table), seed=seed)

        for part in (split.train, split.validation):
            counts = label_counts(table, part)
            assert all(counts[label] for label in ("healthy", "scab", "mildew", "rust")), seed
        everything = split.train + split.validation + split.test
        assert sorted(everything) == sorted(table.image_names)


def test_two_photographs_a_label_are_halved() -> None:
    table = table_of(dict.fromkeys("abcdef", 2))
    split = grouped_split(table, single_groups(table))

    assert label_counts(table, split.train) == dict.fromkeys("abcdef", 1)
    assert label_counts(table, split.validation) == dict.fromkeys("abcdef", 1)
    assert split.test == ()


def test_the_only_photograph_of_a_label_is_trained_on() -> None:
    for seed in range(20):
        table = table_of({"healthy": 20, "scab": 20, "mildew": 1}, seed)
        split = grouped_split(table, single_groups(table), seed=seed)
        assert label_counts(table, split.train)["mildew"] == 1


def test_near_duplicates_stay_on_one_side() -> None:
    """Mildew has four photographs in two groups."""
    table = table_of({"healthy": 20, "scab": 20, "mildew": 4})
    mildew = [row for row, content in enumerate(table.rows) if content.labels == ("mildew",)]
    groups = single_groups(table)
    groups[mildew[1]] = groups[mildew[0]]
    groups[mildew[3]] = groups[mildew[2]]

    for seed in range(20):
        split = grouped_split(table, groups, seed=seed)
        assert label_counts(table, split.train)["mildew"] == 2
        assert label_counts(table, split.validation)["mildew"] == 2


def test_near_duplicates_alone_cannot_be_divided() -> None:
    table = table_of({"healthy": 20, "scab": 20, "mildew": 3})
    mildew = [row for row, content in enumerate(table.rows) if content.labels == ("mildew",)]
    groups = single_groups(table)
    groups[mildew] = groups[mildew[0]]

    split = grouped_split(table, groups)
    assert label_counts(table, split.train)["mildew"] == 3


def test_the_order_of_the_rows_plays_no_part() -> None:
    table = table_of({"healthy": 22, "scab": 22, "mildew": 3})
    reversed_table = Table(table.csv, table.rows[::-1], ())
    splits = {grouped_split(each, single_groups(each)).digest() for each in (table, reversed_table)}
    assert len(splits) == 1


def test_a_table_without_rare_labels_keeps_its_parts() -> None:
    table = numbered_table(300, [("scab",), ("rust",), ("scab", "rust")])
    parts = [list(range(240)), list(range(240, 270)), list(range(270, 300))]
    placed = place_rare_labels(table, single_groups(table), parts)
    assert [sorted(part) for part in placed] == parts


def test_labels_that_share_photographs_are_all_provided_for() -> None:
    """Each photograph of a has another label, which has one more photograph."""
    table = table_of({"a b": 1, "a c": 1, "b": 1, "c": 1, "d": 12})
    for seed in range(20):
        split: Split = grouped_split(table, single_groups(table), seed=seed)
        for part in (split.train, split.validation):
            assert all(label_counts(table, part)[label] for label in "abcd"), seed
