"""A study: what is pruned, how it goes on, what fails; its trials are fakes, and quick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from leafzoom.errors import DivergedError, TrainingError
from leafzoom.recipe import load_recipe
from leafzoom.tuning.ranges import Interval, Ranges
from network_helpers import silent

optuna = pytest.importorskip("optuna", reason="the extra tune is not installed")

from optuna.trial import TrialState  # noqa: E402

from leafzoom.tuning.report import best_recipe_text, importances, write_report  # noqa: E402
from leafzoom.tuning.study import Study, open_study  # noqa: E402

RATE = "alternation.apn.learning_rate"
SIZE = "warm_up.size_target"
RANGES = Ranges(
    "two",
    (
        Interval(RATE, (1e-6,), (1e-3,), is_list=False, log=True, step=None),
        Interval(SIZE, (-1.0,), (1.0,), is_list=False, log=False, step=None),
    ),
)
SHARED = {"recipe": "default"}


def new_study(out: Path, *, resume: bool = False, shared: dict[str, Any] = SHARED) -> Study:
    """A study of two values."""
    return open_study(out, RANGES, shared, seed=5, resume=resume)


class Fake:
    """A training whose losses are given: a list for each trial, or an error in its place."""

    def __init__(self, *outcomes: list[float] | BaseException) -> None:
        self.outcomes = list(outcomes)
        self.folders: list[str] = []
        self.changes: list[Sequence[str]] = []

    def __call__(
        self, changes: Sequence[str], folder: Path, report: Callable[[float, int], None]
    ) -> float:
        self.folders.append(folder.name)
        self.changes.append(changes)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        for step, loss in enumerate(outcome):
            report(loss, step)
        return min(outcome)


def target(changes: Sequence[str], folder: Path, report: Callable[[float, int], None]) -> float:
    """A loss that depends on the second value alone."""
    recipe = load_recipe("default", changes)
    size = recipe.warm_up.size_target
    assert isinstance(size, float)
    return (size - 0.3) ** 2


def test_a_trial_that_is_worse_than_half_is_pruned(tmp_path: Path) -> None:
    """Once four trials have finished, by the epoch at which they are compared."""
    good: list[list[float]] = [[0.5, 0.4], [0.6, 0.3], [0.7, 0.2], [0.8, 0.1]]
    study = new_study(tmp_path / "study")
    study.run(Fake(*good, [0.9, 0.05], [0.62, 0.9], [0.4, 0.01]), 7, silent)

    states = [trial.state for trial in study.trials]
    assert states[:4] == [TrialState.COMPLETE] * 4
    assert states[4:] == [TrialState.PRUNED, TrialState.PRUNED, TrialState.COMPLETE]

    # The fifth at its first epoch, the sixth at its second.
    assert [len(trial.intermediate_values) for trial in study.trials[4:]] == [1, 2, 2]
    assert study.optuna.best_value == 0.01


def test_a_study_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """The values are the same, and the trial that was at work is run again in its folder."""
    whole = new_study(tmp_path / "whole")
    fake = Fake(*[[number / 10] for number in range(5)])
    whole.run(fake, 5, silent)

    stopped = new_study(tmp_path / "stopped")
    first = Fake([0.0], [0.1], KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        stopped.run(first, 5, silent)

    with pytest.raises(TrainingError, match="holds a study already: go on with --resume"):
        new_study(tmp_path / "stopped")

    resumed = new_study(tmp_path / "stopped", resume=True)
    second = Fake([0.2], [0.3], [0.4])
    resumed.run(second, 5, silent)
    assert len(resumed.trials) == 5
    assert second.folders[0] == first.folders[2] == "0002"
    assert second.changes[0] == first.changes[2] == fake.changes[2]
    assert len({*first.folders, *second.folders}) == 5

    resumed.run(Fake(), 5, silent)  # nothing is left to do


def test_another_study_is_not_mixed_in(tmp_path: Path) -> None:
    new_study(tmp_path / "study")
    with pytest.raises(TrainingError, match="a study with another recipe: --resume needs the same"):
        new_study(tmp_path / "study", resume=True, shared={"recipe": "paper"})
    (tmp_path / "study" / "study.json").write_text("[")
    with pytest.raises(TrainingError, match=r"study\.json cannot be read"):
        new_study(tmp_path / "study", resume=True)


def test_a_trial_that_diverges_is_left_out(tmp_path: Path) -> None:
    study = new_study(tmp_path / "study")
    study.run(Fake([0.3], DivergedError("loss is nan"), [0.2]), 3, silent)
    assert [trial.state for trial in study.trials] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert study.trials[1].user_attrs["error"] == "loss is nan"


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study with fourteen trials and its report."""
    study = new_study(tmp_path_factory.mktemp("reported") / "study")
    assert importances(study.optuna) == {}
    study.run(target, 14, silent)
    assert write_report(study, "default", ["seed=9"]) == study.out / "best.toml"
    return study


def test_the_report_has_the_best_recipe(reported: Study) -> None:
    recipe = load_recipe(str(reported.out / "best.toml"))
    assert recipe.name == "default-tuned"
    assert recipe.seed == 9
    assert isinstance(recipe.warm_up.size_target, float)
    assert (recipe.warm_up.size_target - 0.3) ** 2 == pytest.approx(reported.optuna.best_value)
    assert recipe.alternation.classifier_epochs == 8  # of the recipe that it extends


def test_the_report_has_all_trials_and_what_mattered(reported: Study) -> None:
    shares = importances(reported.optuna)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[SIZE] > 0.6

    page = (reported.out / "index.html").read_text()
    assert "<svg" in page
    assert 'aria-label="Importance of each value, percent"' in page
    head, *rows = (reported.out / "trials.csv").read_text().splitlines()
    assert head == "number,state,loss,exact_match,changes,folder"
    assert len(rows) == 14
    losses = [float(row.split(",")[2]) for row in rows]
    assert losses == sorted(losses)


def test_a_recipe_file_is_extended_where_it_lies(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "demo"\n[warm_up]\nepochs = 3\n')
    (tmp_path / "elsewhere").mkdir()
    best = tmp_path / "elsewhere" / "best.toml"
    best.write_text(best_recipe_text(str(own), [], ["model.zoom_bounds=[0.25, 0.5]"]))

    recipe = load_recipe(str(best))
    assert recipe.name == "own-tuned"
    assert recipe.warm_up.epochs == 3
    assert recipe.model.zoom_bounds == (0.25, 0.5)


def test_a_report_without_a_finished_trial(tmp_path: Path) -> None:
    study = new_study(tmp_path / "study")
    study.run(Fake(DivergedError("loss is nan")), 1, silent)
    assert write_report(study, "default", []) is None
    assert "No trial has finished" in (tmp_path / "study" / "index.html").read_text()
