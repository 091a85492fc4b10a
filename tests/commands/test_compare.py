"""`leafzoom compare`: curves, scores and paired differences of runs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import HEADS, failure_line, run_command
from leafzoom.evaluation import compare as compare_module
from leafzoom.evaluation.run_record import read_run


def compare(out: Path, *runs: Path) -> list[dict[str, Any]]:
    """The scores in `compare.json`."""
    assert run_command("compare", *runs, "--out", out).exit_code == 0
    scores: list[dict[str, Any]] = json.loads((out / "compare.json").read_text())["scores"]
    return scores


def copy_run(run: Path, copy: Path) -> Path:
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("states"))
    return copy


@pytest.fixture
def other(trained: Path, tmp_path: Path) -> Path:
    """The trained run with three answers of one head negated and its labels in another order."""
    run = copy_run(trained, tmp_path / "other")

    with (run / "selection.csv").open() as file:
        rows = list(csv.reader(file))
    column = rows[0].index("fusion123_healthy")
    for row in rows[1:4]:
        row[column] = str(-float(row[column]))
    with (run / "selection.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)

    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "labels": record["labels"][::-1]}))
    return run


def test_the_first_runs_scores_are_those_of_its_record(
    trained: Path, other: Path, tmp_path: Path
) -> None:
    scores = compare(tmp_path / "out", trained, other)

    by_head = {score["head"]: score for score in scores if score["run"] == "run"}
    record = json.loads((trained / "run.json").read_text())["metrics"]["inner-select"]
    for head in HEADS:
        assert by_head[head]["exact_match"] == pytest.approx(record[head]["exact_match"])
        assert by_head[head]["micro_f1"] == pytest.approx(record[head]["micro_f1"])
        assert "difference" not in by_head[head]


def test_differences_are_paired_with_the_first_run(
    trained: Path, other: Path, tmp_path: Path
) -> None:
    scores = compare(tmp_path / "out", trained, other)

    by_run = {(score["run"], score["head"]): score for score in scores}
    assert by_run["other", "scale1"]["difference"] == 0
    assert by_run["other", "scale1"]["difference_interval"] == [0, 0]

    first = by_run["run", "fusion123"]
    changed = by_run["other", "fusion123"]
    assert changed["difference"] == pytest.approx(changed["exact_match"] - first["exact_match"])
    assert changed["micro_f1"] != first["micro_f1"]


def test_the_page_has_the_papers_figures(trained: Path, other: Path, tmp_path: Path) -> None:
    compare(tmp_path / "out", trained, other)

    page = (tmp_path / "out" / "index.html").read_text()
    for part in (
        "scale 2 (figure 7)",
        "scale 3 (figure 8)",
        "figures 9 and 10",
        "figure 11",
        "figure 12",
        "other",
    ):
        assert part in page
    assert not re.search(r'<script|<link|src="(?!data:)', page), "the page loads something"


def test_training_and_validation_are_measured_alike(trained: Path) -> None:
    """In eval(), the ranking loss as a mean over photographs: in one range, in one unit."""
    figures = compare_module._figure_lines(3, "exact match")
    run = read_run(trained)
    for title in figures:
        if "figure 7" in title or "figure 8" in title:
            continue
        logged = [line.in_log_of(run) for line in figures[title]]
        metrics = [line.metric.split("_", 1) for line in logged if line]
        assert [part for part, _ in metrics] == ["select", "sample"], title
        assert metrics[0][1] == metrics[1][1]


def test_older_runs_have_the_running_mean_of_their_training(other: Path) -> None:
    rows = (other / "log.csv").read_text().splitlines()
    older = [line for line in rows if "/sample_" not in line]
    assert len(older) < len(rows)
    (other / "log.csv").write_text("\n".join(older) + "\n")

    run = read_run(other)
    figures = compare_module._figure_lines(3, "exact match")
    accuracy = figures["Training and validation exact match of scale 2 (figures 9 and 10)"][-1]
    logged = accuracy.in_log_of(run)
    assert logged is not None
    assert logged.name == "training, in train()"

    # Their ranking loss may be a sum over the batch.
    ranking = figures["Ranking loss of scales 1 and 2 a photograph (figure 12)"][-1]
    assert ranking.in_log_of(run) is None


def test_runs_with_other_labels_have_no_difference(
    trained: Path, other: Path, tmp_path: Path
) -> None:
    record = json.loads((trained / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**record, "labels": record["labels"][:2]}))

    scores = compare(tmp_path / "out", trained, other)

    assert not any("difference" in score for score in scores)


def test_an_unfinished_run_has_curves_alone(other: Path, tmp_path: Path) -> None:
    (other / "selection.csv").unlink()

    compare(tmp_path / "out", other)

    assert "No run has finished yet" in (tmp_path / "out" / "index.html").read_text()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    result = run_command("compare", tmp_path, "--out", tmp_path / "out")

    assert "run.json is missing" in failure_line(result, 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "selection.csv",
            "image,labels,scale1_healthy\na.jpg,healthy,many\n",
            "selection.csv cannot be read",
        ),
        (
            "selection.csv",
            "image,labels,scale1_other\na.jpg,healthy,1\n",
            "selection.csv cannot be read",
        ),
        ("log.csv", "epoch,key,value\n1,nothing,1\n", "the run is damaged"),
    ],
)
def test_damaged_runs_are_refused(
    other: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    (other / name).write_text(content)

    result = run_command("compare", other, "--out", tmp_path / "out")

    assert message in failure_line(result, 1)
