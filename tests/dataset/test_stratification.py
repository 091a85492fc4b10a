"""Subsets and parts keep the proportions of label combinations."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest

from conftest import numbered_table
from leafzoom.dataset.stratification import stratified_parts, subset

# The choices of the release before: a run that is resumed has to make the same ones.
SUBSET_SHA256 = {
    0: "797d614a3164eccf5f7997cb53c810eb4f2d1fffa9e3b9890d5ea04d54eb08a1",
    5: "1478cabb2d827293db463d218f8fed9daf1c4b1f61bfd418219bfc655be3c8bb",
}


def test_subset_keeps_proportions() -> None:
    table = numbered_table(1000, [("scab",)] * 7 + [("rust",)] * 3)
    chosen = table.take(subset(table, 100))
    assert len(chosen) == 100
    assert Counter(row.labels for row in chosen.rows) == {("scab",): 70, ("rust",): 30}
    assert subset(table, 0) == subset(table, 5000) == table.image_names


@pytest.mark.parametrize("seed", SUBSET_SHA256)
def test_subset_stays_the_same(seed: int) -> None:
    table = numbered_table(1000, [("scab",)] * 6 + [("rust",)] * 3 + [("rust", "scab")])
    chosen = subset(table, 100, seed=seed)
    assert hashlib.sha256("\n".join(chosen).encode()).hexdigest() == SUBSET_SHA256[seed]


def test_parts_hold_each_photograph_once_and_groups_whole() -> None:
    table = numbered_table(200, [("scab",), ("rust",)])
    groups = np.arange(200) // 2 * 2
    parts = stratified_parts(table, groups, (0.5, 0.5), seed=0)

    indices = [index for part in parts for index in part]
    assert sorted(indices) == list(range(200))
    assert [len(part) for part in parts] == [100, 100]
    for first in range(0, 200, 2):
        assert sum({first, first + 1} <= set(part) for part in parts) == 1
