"""`leafzoom tune`: tiny trials that are ordinary runs, and a study that goes on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from conftest import SET_TINY, failure_line, run_command
from leafzoom.recipe import load_recipe
from leafzoom.tuning.trial import validation_losses

pytest.importorskip("optuna", reason="the extra tune is not installed")

SMALL = ("fine_tuning.epochs=1", "alternation.rounds=0", "alternation.classifier_epochs=1")


@pytest.fixture
def command(leaves: Path, tmp_path: Path) -> tuple[object, ...]:
    """A study of the zoom bounds in STUDY."""
    ranges = tmp_path / "mine.toml"
    ranges.write_text("[ranges]\n'model.zoom_bounds' = { low = [0.2, 0.5], high = [0.4, 0.7] }\n")
    out = tmp_path / "study"
    changes = [word for change in SMALL for word in ("--set", change)]
    command = ("tune", "--data", leaves, "--recipe", "default", "--ranges", ranges, "--out", out)
    return (*command, *SET_TINY, *changes)


@pytest.mark.slow
def test_two_trials_and_a_third_after_a_resume(command: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "study"
    result = run_command(*command, "--trials", 2)
    assert result.exit_code == 0, result.output
    assert "holds a study already" in failure_line(run_command(*command, "--trials", 3), 1)
    result = run_command(*command, "--trials", 3, "--resume")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("trial ") == 1

    rows = checked_rows(out)
    assert min(row["exact_match"] for row in rows) >= "0.0000"
    best = out / rows[0]["folder"]
    expected = json.loads((best / "recipe.json").read_text())["model"]["zoom_bounds"]
    assert list(load_recipe(str(out / "best.toml")).model.zoom_bounds) == expected
    assert result.stdout == (out / "best.toml").read_text()


def checked_rows(out: Path) -> list[dict[str, str]]:
    """The rows of a study of three, whose trials are finished runs, each with its own bounds."""
    runs = sorted((out / "trials").iterdir())
    records = [json.loads((run / "run.json").read_text()) for run in runs]
    assert [record["status"] for record in records] == ["finished"] * 3
    assert len({tuple(record["recipe"]["model"]["zoom_bounds"]) for record in records}) == 3

    with (out / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = {row["folder"]: float(row["loss"]) for row in rows}
    lowest = {f"trials/{run.name}": min(validation_losses(run)) for run in runs}
    assert losses == pytest.approx(lowest, abs=1e-4)
    return rows
