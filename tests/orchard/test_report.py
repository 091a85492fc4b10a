"""A report counts what it says that it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from leafzoom.orchard.groups import read_groupings
from leafzoom.orchard.prevalence import GroupAnswers, estimate_shares
from leafzoom.orchard.report import OrchardReport, make_report
from orchard.conftest import CONFUSION, LABELS, MANIFEST, entries


def test_groups_are_in_the_order_of_their_numbers(report: OrchardReport) -> None:
    assert [group.name for group in report.groups] == ["row 9", "row 10"]
    assert [day.name for day in report.days] == ["2026-06-01", "2026-06-02"]


def test_each_photo_counts_once(report: OrchardReport) -> None:
    row_9, row_10 = report.groups
    assert (len(row_9.photos), len(row_10.photos)) == (21, 19)
    assert (row_9.leaves, row_10.leaves) == (19, 19)
    assert [len(row_9.having(verdict)) for verdict in ("unsure", "not_a_leaf", "failed")] == [
        0,
        1,
        1,
    ]
    assert len(row_10.having("unsure")) == 1
    assert len(row_9.labelled("rust")) == row_9.shares[1].labelled == 7


def test_shares_are_those_of_the_counted_answers(report: OrchardReport) -> None:
    row_10 = report.groups[1]
    counts = np.zeros(6, np.int64)  # scab, rust, both, healthy, unsure, not_a_leaf
    for photo in row_10.photos:
        keys = {("scab",): 0, ("rust",): 1, ("rust", "scab"): 2, ("healthy",): 3}
        counts[keys.get(photo.labels, 4)] += 1

    assert counts.sum() == 19
    assert row_10.shares == estimate_shares(GroupAnswers(counts), LABELS, CONFUSION)


def test_without_a_confusion_the_report_says_why(
    make: Callable[[str, str], OrchardReport],
) -> None:
    names = [entry.result.photo for entry in entries()]
    older = replace(MANIFEST, confusion=None)
    report = make_report(entries(), read_groupings("folder", names), older)
    assert report.uncorrected == "the model tiny <model> does not hold its confusion"
    assert report.groups[0].shares[2].value == 12 / 19
    assert make("folder", "of the first look").uncorrected == "of the first look"
