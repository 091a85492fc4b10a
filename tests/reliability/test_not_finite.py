"""Losses and weights that are not finite: the training stops and keeps the last finite weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import TrainingError
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.training import stage_loop
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.phases import FineTuningPhase
from leafzoom.training.run import train
from leafzoom.training.state import Cursor, State, load_state
from leafzoom.training.warm_up import WarmUpPhase
from reliability.damage import no_echo
from reliability.small import SMALL


def saved_state(run: Path) -> State:
    """The last state of a run."""
    state = load_state(run / "states")
    assert state is not None
    return state


def floating_tensors(state: State) -> Iterator[Tensor]:
    """The backbone's weights in a state, the current ones and the best ones."""
    assert state.best is not None
    for tensors in (state.tensors["backbone"], state.best.tensors):
        for tensor in tensors.values():
            if tensor.is_floating_point():
                yield tensor


def spoil_weight(monkeypatch: pytest.MonkeyPatch, phase: type, at_step: int, value: float) -> None:
    """Let a step of the phase write this value into a weight; the step's own loss is finite."""
    steps = 0
    step = phase.step  # type: ignore[attr-defined]

    def spoiling_step(self: object, *arguments: Tensor) -> object:
        nonlocal steps
        logged = step(self, *arguments)
        steps += 1
        if steps == at_step:
            module = getattr(self, "backbone", None) or self.racnn.apns
            weight = next(iter(module.parameters()))
            with torch.no_grad():
                weight[(0,) * weight.ndim] = value
        return logged

    monkeypatch.setattr(phase, "step", spoiling_step)


@pytest.mark.parametrize(
    "value", [float("nan"), pytest.param(float("inf"), marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("at_step", [6, 8])
def test_weights_that_are_not_finite_are_never_saved(
    sources: Cache,
    parts: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_step: int,
    value: float,
) -> None:
    """In the middle of the second epoch of four batches, where a state is due; and at its end."""
    recipe = load_recipe("default", [*SMALL, "fine_tuning.epochs=2"])
    monkeypatch.setattr(stage_loop, "_SAVE_INTERVAL_S", 0.0)
    spoil_weight(monkeypatch, FineTuningPhase, at_step, value)

    message = rf"fine_tuning 2/2 .* batch {at_step - 4} of 4 \(leaf-\d+\.jpg, .*\)"
    with pytest.raises(TrainingError, match=message) as error:
        train(sources, parts, recipe, tmp_path, echo=no_echo)
    named = set(re.findall(r"leaf-\d+\.jpg", str(error.value)))
    assert named < set(parts.train)
    assert 8 < len(named) <= 10

    state = saved_state(tmp_path)
    cursor = state.cursor
    assert (cursor.stage, cursor.epoch, cursor.batch) == (0, 1, at_step - 5)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in floating_tensors(state))
    assert state.best is not None
    assert state.best.epoch == 0
    assert state.best.loss < float("inf")
    assert not list(tmp_path.glob("*.safetensors"))


def test_an_apn_that_is_not_finite_stops_the_training(
    sources: Cache, parts: Split, small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weight(monkeypatch, WarmUpPhase, 4, float("nan"))
    with pytest.raises(TrainingError, match=r"warm_up 1/1 apn.* batch 4 of 4 \(leaf-"):
        train(sources, parts, small, tmp_path, echo=no_echo)
    assert saved_state(tmp_path).cursor == Cursor(1)


def test_a_loss_that_is_not_finite_names_its_photographs_and_keeps_the_last_good_weights(
    sources: Cache, parts: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the seventh batch of the last classifier phase's stage is infinite."""
    step = ClassifierPhase.step
    steps = 0

    def infinite_step(self: ClassifierPhase, *arguments: Tensor) -> dict[str, Tensor]:
        nonlocal steps
        logged = step(self, *arguments)
        steps += 1
        if steps == 7:
            logged["loss_scale2"] = torch.tensor(float("inf"))
        return logged

    monkeypatch.setattr(ClassifierPhase, "step", infinite_step)
    recipe = load_recipe("default", SMALL)
    message = r"alternation 3/3 classifier: loss_scale2 is inf at batch 3 of 4 \(leaf-\d+\.jpg, "
    with pytest.raises(TrainingError, match=message):
        train(sources, parts, recipe, tmp_path, echo=no_echo)

    state = saved_state(tmp_path)
    assert (state.cursor.stage, state.cursor.epoch) == (2, 2)
    assert state.best is not None
    assert state.best.epoch == 0
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "training"
    assert not (tmp_path / "model.safetensors").exists()
