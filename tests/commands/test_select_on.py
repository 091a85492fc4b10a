"""`leafzoom train --select-on none`: all photographs are trained on, and nothing is chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from conftest import HEADS, SET_TINY, failure_line, run_command
from leafzoom.labels import Decision
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.training import run as training_run
from leafzoom.training.state import State, save_state
from network_helpers import model_digest, training_losses

# The paper's recipe on a network for seconds; an average shows that the last epoch's is kept.
PAPER = (
    *("--recipe", "paper", *SET_TINY),
    *("--set", "fine_tuning.weight_average=0.9", "--set", "alternation.weight_average=0.9"),
    *("--select-on", "none"),
)


class Stop(Exception):  # noqa: N818
    """Stands for a kill."""


@pytest.fixture(scope="module")
def whole(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that selects on nothing, and what it printed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    result = run_command("train", "--data", leaves, "--out", out, *PAPER)
    assert result.exit_code == 0, result.output
    return out, result.stderr


def test_all_but_the_test_part_are_trained_on(whole: tuple[Path, str], trained: Path) -> None:
    out, printed = whole
    split = json.loads((out / "split.json").read_text())
    usual = json.loads((trained / "split.json").read_text())
    assert split["train"] == usual["train"] + usual["select"]
    assert split["select"] == []
    assert split["report"] == usual["report"]

    count = len(split["train"])
    assert f"{count} photographs are trained on, and none is held out" in printed
    assert "fine_tuning.patience 2 has no effect without a validation part" in printed
    manifest = load_checkpoint(out / "model.safetensors").manifest
    assert manifest.data["trained_on"] == count
    assert manifest.data["selected_on"] == 0
    assert manifest.holds_nothing_out


def test_nothing_is_logged_as_a_validation(whole: tuple[Path, str]) -> None:
    out, printed = whole
    assert not (out / "selection.csv").exists()
    assert "validation exact_match" not in printed

    log = (out / "log.csv").read_text()
    assert "/select_" not in log
    assert "alternation/classifier/sample_exact_match_scale3" in log


def test_its_own_scores_are_of_photographs_that_it_has_seen(whole: tuple[Path, str]) -> None:
    out, printed = whole
    record = json.loads((out / "run.json").read_text())
    assert record["select_on"] == "none"
    assert set(record["metrics"]) == {"inner-train", "fusion_fit"}
    assert set(record["metrics"]["inner-train"]) == set(HEADS)

    assert "fusion123: on the photographs it was trained on: exact_match" in printed
    info = run_command("info", out).output
    assert "nothing was held out: these scores are of the photographs that it was" in info


def test_decisions_are_the_papers_threshold(whole: tuple[Path, str]) -> None:
    manifest = load_checkpoint(whole[0] / "model.safetensors").manifest
    labels = len(manifest.labels.names)
    assert manifest.decisions == {head: Decision((0.5,) * labels) for head in HEADS}
    assert manifest.early_exit is None
    assert manifest.conformal is None
    assert manifest.reference is None
    assert manifest.confusion is None


def test_the_last_epochs_average_is_kept(whole: tuple[Path, str]) -> None:
    """Of the last two states one is of the last epoch's end, one of the stage's."""
    before, after = (
        torch.load(path, weights_only=True) for path in sorted((whole[0] / "states").glob("*.pt"))
    )
    assert before["best"] == {}

    averaged = {
        name.removeprefix("module."): tensor
        for name, tensor in before["tensors"]["average"].items()
        if name.startswith("module.")
    }
    kept = after["tensors"]["racnn"]
    assert kept.keys() == averaged.keys()
    for name, tensor in kept.items():
        assert torch.equal(tensor, averaged[name]), name

    last = before["tensors"]["racnn"]
    assert any(not torch.equal(tensor, last[name]) for name, tensor in kept.items())


@pytest.mark.parametrize("states_before_stop", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_it_resumes_bit_for_bit(
    whole: tuple[Path, str],
    leaves: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    states_before_stop: int,
) -> None:
    states = 0

    def save_and_stop(folder: Path, state: State) -> None:
        nonlocal states
        save_state(folder, state)
        states += 1
        if states == states_before_stop:
            raise Stop

    out = tmp_path / "run"
    arguments = ("--data", leaves, "--out", out, *PAPER)
    with monkeypatch.context() as context:
        context.setattr(training_run, "save_state", save_and_stop)
        with pytest.raises(Stop):
            run_command("train", *arguments)

    # Another choice of what is held out is another run.
    result = run_command("train", *arguments, "--select-on", "validation", "--resume")
    assert "trained with another --select-on" in failure_line(result, 1)

    assert run_command("train", *arguments, "--resume").exit_code == 0
    assert training_losses(out) == training_losses(whole[0])
    assert model_digest(out) == model_digest(whole[0])


def test_an_evaluation_says_that_nothing_was_held_out(
    whole: tuple[Path, str], leaves: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    arguments = ("evaluate", whole[0], "--data", leaves, "--out", out, "--zooms", 0)
    result = run_command(*arguments, "--split", "inner-test")
    assert result.exit_code == 0, result.output
    assert "the training held no photograph out: it kept its last epoch" in result.stderr

    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["model"]["select_on"] == "none"
    assert metrics["dataset"]["trained_on"] == 0
    assert "The training held no photograph out" in (out / "index.html").read_text()

    # The exported model alone knows its split by the digest.
    model = whole[0] / "model.onnx"
    result = run_command("evaluate", model, *arguments[2:], "--split", "all")
    trained_on = len(json.loads((whole[0] / "split.json").read_text())["train"])
    assert f"{trained_on} of these photographs were trained on" in result.stderr

    result = run_command(*arguments, "--split", "inner-validation")
    assert "has no photographs in inner-validation" in failure_line(result, 1)


def test_runs_without_a_validation_have_training_curves_alone(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    result = run_command("compare", whole[0], "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "index.html").read_text()
    assert "figures 9 and 10" in page
    assert "figure 12" in page


def test_fusions_of_the_convex_problem_are_fitted_on_the_training_part(
    leaves: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    quick = ("--set", "fine_tuning.epochs=1", "--set", "alternation.rounds=0")
    arguments = ("--recipe", "default", *SET_TINY, *quick, "--select-on", "none")
    result = run_command("train", "--data", leaves, "--out", out, "--split", "all", *arguments)
    assert result.exit_code == 0, result.output

    record = json.loads((out / "run.json").read_text())
    assert record["split"]["train"] == 60
    assert set(record["metrics"]["fusion_fit"]) == {"fusion12", "fusion123"}


def test_few_photographs_hold_nothing_out_already(leaves: Path, tmp_path: Path) -> None:
    few = ("fine_tuning.epochs=0", "warm_up.epochs=0", "alternation.rounds=0")
    changes = [word for change in few for word in ("--set", change)]
    changes += ["--set", "model.proposals=centre"]
    arguments = ("--recipe", "own-leaves", *SET_TINY, *changes, "--select-on", "none")
    result = run_command("train", "--data", leaves, "--out", tmp_path / "run", *arguments)
    assert "leave --select-on none out" in failure_line(result, 2)
