"""No group is on both sides of a split, however few or uneven the groups are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import run_command, save_photo
from leafzoom.dataset.cache import build_cache
from leafzoom.dataset.columns import TableReading
from leafzoom.dataset.group_split import group_parts, joined_groups
from leafzoom.dataset.split import Split, grouped_split, training_split
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.dataset.table import Row, Table, read_table
from leafzoom.errors import DataError


def orchards(sizes: list[int], labels: tuple[str, ...] = ("rust", "scab", "healthy")) -> Table:
    """Photographs of orchards of these sizes, labels in turn."""
    rows = []
    for orchard, size in enumerate(sizes):
        for index in range(size):
            number = len(rows)
            name = f"{(number * 7919) % 100_003:06d}.jpg"
            chosen = (labels[index % len(labels)],)
            rows.append(Row(number + 2, name, chosen, Path("x"), group=f"orchard {orchard}"))
    return Table(Path("t.csv"), tuple(rows), (), group_column="orchard")


def split_of(table: Table, seed: int = 0) -> Split:
    return grouped_split(table, np.arange(len(table)), seed=seed)


def check_groups_are_apart(table: Table, split: Split) -> None:
    group_of = {row.image_name: row.group for row in table.rows}
    parts = [{group_of[name] for name in part} for part in (split.train, split.validation)]
    parts.append({group_of[name] for name in split.test})
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert len(split.train + split.validation + split.test) == len(table)


@pytest.mark.parametrize(
    "sizes",
    [
        [20, 20, 20],
        [200, 3, 5],
        [5, 3, 200],
        [30] * 7,
        [1] * 40,
        [15] * 40,
        [100, 50, 25, 12, 6, 3, 3, 3, 3, 3, 3, 3, 3],
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_groups_stay_on_one_side(sizes: list[int], seed: int) -> None:
    table = orchards(sizes)
    split = split_of(table, seed)
    check_groups_are_apart(table, split)
    assert len(split.train) >= len(table) / 3


def test_many_groups_give_nearly_tenths() -> None:
    table = orchards([15] * 40)
    split = split_of(table)
    assert len(split.validation) == len(split.test) == 60

    # Each label is in every part, in proportion.
    labels = {row.image_name: row.labels for row in table.rows}
    for part in (split.validation, split.test):
        assert len({labels[name] for name in part}) == 3


def test_the_order_of_the_rows_plays_no_part() -> None:
    for sizes in ([20, 10, 5, 5], [7, 3] * 15):
        table = orchards(sizes)
        order = np.random.RandomState(3).permutation(len(table))
        shuffled = replace(table, rows=tuple(table.rows[index] for index in order))
        assert split_of(shuffled) == split_of(table)


def test_a_label_of_one_group_is_trained_on() -> None:
    rows = list(orchards([10] * 5).rows)
    rows[0] = replace(rows[0], labels=("rare",))
    table = Table(Path("t.csv"), tuple(rows), (), group_column="orchard")
    assert rows[0].image_name in split_of(table).train


def test_near_duplicates_join_groups() -> None:
    table = orchards([4, 4, 4, 4])
    duplicates = np.arange(16)
    duplicates[4] = 0
    assert joined_groups(table, duplicates).tolist() == [0] * 8 + [8] * 4 + [12] * 4

    with pytest.raises(DataError, match=r"has 2 groups in 'orchard'.*needs 3"):
        group_parts(orchards([10, 10]), np.repeat([0, 10], 10), seed=0)


def test_a_training_splits_by_the_column(tmp_path: Path) -> None:
    write_leaves(tmp_path, 40, size=64, seed=0)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    named = [f"{line},{'orchard' if not i else i % 4}" for i, line in enumerate(lines)]
    (tmp_path / "train.csv").write_text("\n".join(named) + "\n")

    table = read_table(tmp_path, reading=TableReading(group_column="orchard"))
    cache = build_cache(table, tmp_path / "cache", 64, workers=1)
    split = training_split(cache, "inner-train")
    check_groups_are_apart(cache.table, split)
    assert training_split(cache, "all").validation == split.validation

    result = run_command("prepare", "--data", tmp_path, "--group-column", "orchard")
    assert result.exit_code == 0, result.output
    assert "groups in 'orchard'" in result.stderr


def test_the_parts_of_folders(tmp_path: Path) -> None:
    names = [
        f"{part}/{label}/{number}.png"
        for part, label, number in [
            ("train", "scab", 1),
            ("train", "rust", 1),
            ("val", "scab", 2),
            ("val", "rust", 2),
        ]
    ]
    for index, name in enumerate(names):
        save_photo(tmp_path / name, (40 * index, 90, 10))
    cache = build_cache(read_table(tmp_path), tmp_path / "cache", 32, workers=1)
    split = training_split(cache, "folders")
    assert split.train == ("train/rust/1.png", "train/scab/1.png")
    assert split.validation == ("val/rust/2.png", "val/scab/2.png")
    assert split.test == ()


def test_parts_of_folders_that_are_not_there(tmp_path: Path) -> None:
    save_photo(tmp_path / "scab/1.png")
    save_photo(tmp_path / "rust/1.png")
    cache = build_cache(read_table(tmp_path), tmp_path / "cache", 32, workers=1)
    with pytest.raises(DataError, match="--split folders needs every photograph in train/"):
        training_split(cache, "folders")
