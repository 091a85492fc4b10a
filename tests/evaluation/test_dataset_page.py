"""The page of a data set: its counts, its mixed batch, its near-duplicates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from leafzoom.dataset.audit import NearDuplicate
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.dataset_page import _mixed_batch, write_dataset_page


@pytest.fixture
def page(cache: Cache, tmp_path: Path) -> str:
    pairs = [NearDuplicate(0, 4, 0.99), NearDuplicate(0, 1, 0.95)]
    path = tmp_path / "index.html"
    write_dataset_page(cache, pairs, path)
    return path.read_text(encoding="utf-8")


def test_the_page_loads_no_other_file(page: str) -> None:
    assert not re.search(r"<script|<link|@import|src=\"(?!data:)|url\((?!#)", page)


def test_counts_and_figures_are_of_all_photographs(page: str) -> None:
    assert "<b>60</b>photographs</div>" in page
    assert "By combination of labels" in page
    assert "<td>ring spot + solid spot</td>" in page


def test_pairs_with_different_labels_come_first(page: str, cache: Cache) -> None:
    first, second, same = (cache.table.rows[index] for index in (0, 1, 4))
    assert set(first.labels) == set(same.labels) != set(second.labels)
    assert page.index("correlation 0.950") < page.index("correlation 0.990")


def test_combinations_take_turns_in_the_batch(cache: Cache) -> None:
    rows = _mixed_batch(cache)
    assert len(rows) == len(set(rows)) == 24
    for start in range(0, 24, 4):
        turn = [cache.table.rows[row].labels for row in rows[start : start + 4]]
        assert len({tuple(sorted(labels)) for labels in turn}) == 4
