"""Scores by group, compared with a slow count by hand, and what evaluate says about them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import run_command
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.table import Table
from leafzoom.evaluation.evaluate import Evaluation, evaluate
from leafzoom.evaluation.group_scores import group_scores
from leafzoom.inference.loading import open_network


@pytest.fixture(scope="module")
def evaluation(trained: Path, cache: Cache) -> Evaluation:
    return evaluate(open_network(str(trained)), cache, cache.table.image_names[:30])


def in_groups(table: Table) -> Table:
    """The table with three groups, in no order."""
    rows = [replace(row, group="bca"[i % 3]) for i, row in enumerate(table.rows)]
    return replace(table, rows=tuple(rows), group_column="orchard")


def test_scores_are_those_of_each_groups_photographs(evaluation: Evaluation, cache: Cache) -> None:
    scores = group_scores(evaluation, in_groups(cache.table))
    assert scores is not None
    assert list(scores.groups) == ["a", "b", "c"]

    answers = evaluation.answers_fitted[evaluation.head]
    for group, first in (("b", 0), ("c", 1), ("a", 2)):
        right = [(answers[row] == evaluation.targets[row]).all() for row in range(first, 30, 3)]
        assert scores.groups[group].photographs == 10
        assert scores.groups[group].exact_match == pytest.approx(np.mean(right))

    worst = min(group.exact_match for group in scores.groups.values())
    assert scores.groups[scores.worst].exact_match == worst
    overall = evaluation.heads_fitted[evaluation.head].exact_match
    assert scores.mean_exact_match == pytest.approx(overall)
    assert scores.interval is not None
    assert worst - 1e-9 <= scores.interval.low <= overall <= scores.interval.high


def test_without_groups_there_are_no_scores(evaluation: Evaluation, cache: Cache) -> None:
    assert group_scores(evaluation, cache.table) is None


def test_one_group_has_no_interval(evaluation: Evaluation, cache: Cache) -> None:
    rows = tuple(replace(row, group="a") for row in cache.table.rows)
    scores = group_scores(evaluation, replace(cache.table, rows=rows, group_column="orchard"))
    assert scores is not None
    assert scores.interval is None
    assert scores.to_dict()["interval"] is None


def test_evaluate_reports_by_group(trained: Path, leaves: Path, tmp_path: Path) -> None:
    shutil.copytree(leaves, tmp_path / "leaves")
    path = tmp_path / "leaves" / "train.csv"
    lines = path.read_text().splitlines()
    named = [f"{line},{'orchard' if not i else 'NS'[i % 2]}" for i, line in enumerate(lines)]
    path.write_text("\n".join(named) + "\n")

    out = tmp_path / "report"
    options = ("--group-column", "orchard", "--zooms", 0, "--out", out)
    result = run_command("evaluate", trained, "--data", tmp_path / "leaves", *options)
    assert result.exit_code == 0, result.output
    assert "by orchard (fusion123, fitted):" in result.output
    assert "mean of 2 groups" in result.output
    assert "2 of these groups were trained on too" in result.stderr

    groups = json.loads((out / "metrics.json").read_text())["groups"]
    assert groups["column"] == "orchard"
    assert {name: group["photographs"] for name, group in groups["groups"].items()} == {
        "N": 30,
        "S": 30,
    }
    assert "<h2>By orchard</h2>" in (out / "index.html").read_text(encoding="utf-8")
