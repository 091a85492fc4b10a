"""Whole trainings of tiny networks, and what every network's run has to pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import run_command
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.inference.export import parity
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import Recipe
from leafzoom.training import run as run_module
from leafzoom.training import stage_loop
from leafzoom.training.run import train
from leafzoom.training.state import State, save_state
from network_helpers import model_digest, silent, training_losses

__all__ = [
    "assert_evaluation_scores",
    "assert_export_agrees",
    "assert_resumes_alike",
    "train_by_command",
]


class _Stop(Exception):  # noqa: N818
    """Stands for a kill between two batches."""


def train_by_command(leaves: Path, recipe: str, changes: Sequence[str], out: Path) -> Path:
    """A run that `leafzoom train` made."""
    words = [word for change in changes for word in ("--set", change)]
    result = run_command("train", "--data", leaves, "--recipe", recipe, "--out", out, *words)
    assert result.exit_code == 0, result.output
    return out


def assert_resumes_alike(
    whole: Path, cache: Cache, split: Split, recipe: Recipe, out: Path, *, states_before_stop: int
) -> None:
    """Train with a state after every batch, stop after so many states, go on; compare.

    `whole`: the run of the same recipe that was not stopped. `out`: has the same name.
    """
    states = 0

    def save_and_stop(folder: Path, state: State) -> None:
        nonlocal states
        save_state(folder, state)
        states += 1
        if states == states_before_stop:
            raise _Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage_loop, "_SAVE_INTERVAL_S", -1.0)
        with pytest.MonkeyPatch.context() as stopping:
            stopping.setattr(run_module, "save_state", save_and_stop)
            with pytest.raises(_Stop):
                train(cache, split, recipe, out, echo=silent)
        train(cache, split, recipe, out, resume=True, echo=silent)
    assert training_losses(out) == training_losses(whole)
    assert model_digest(out) == model_digest(whole)


def assert_evaluation_scores(
    heads: Sequence[str], run: Path, leaves: Path, report: Path
) -> dict[str, Any]:
    """`leafzoom evaluate` scores these heads, plain and fitted. Returns the metrics."""
    arguments = ["--data", leaves, "--split", "inner-test", "--out", report]
    result = run_command("evaluate", run, *arguments)
    assert result.exit_code == 0, result.output
    metrics: dict[str, Any] = json.loads((report / "metrics.json").read_text())
    assert tuple(metrics["heads"]) == tuple(heads)
    assert tuple(metrics["heads_fitted"]) == tuple(heads)
    return metrics


def assert_export_agrees(run: Path, path: Path, *, most_jumps: int = 0) -> None:
    """An export has the run's heads, boxes and descriptors, larger sources and all weights.

    `most_jumps`: so many boxes may lie elsewhere, at another peak of the same height.
    """
    exported = run_command("export", run, "--out", path)
    assert exported.exit_code == 0, exported.output

    checkpoint = load_checkpoint(run / "model.safetensors")
    network = OnnxNetwork(path)
    reference = TorchNetwork(checkpoint)
    for side in (96, 130):
        sources = np.stack([leaf.pixels for leaf in render_leaves(5, size=side, seed=2)])
        result = parity(reference, network, sources)
        assert result.probability < 1e-4
        assert result.jumps <= most_jumps
        expected = reference.descriptors(sources)
        np.testing.assert_allclose(network.descriptors(sources), expected, atol=1e-3)
    assert network.manifest == checkpoint.manifest

    # A training can start from it.
    stored = load_checkpoint(path)
    for name, tensor in checkpoint.tensors.items():
        if not name.startswith("backbone."):
            torch.testing.assert_close(stored.tensors[name], tensor, rtol=0, atol=0)
