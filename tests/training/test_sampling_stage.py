"""A whole training of attention sampling, and what follows it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import failure_line, run_command
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.errors import ModelError
from leafzoom.inference.export import parity
from leafzoom.inference.loading import open_network, zooming_network
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.serve.server import run_server
from leafzoom.training import run as run_module
from leafzoom.training import stage_loop
from leafzoom.training.run import train
from leafzoom.training.state import State, save_state
from network_helpers import SAMPLING_TINY, model_digest, silent, training_losses

HEADS = ("backbone", "scale1", "part1", "part2", "part3", "part4", "fusion12345")


class Stop(Exception):  # noqa: N818
    """Stands for a kill between two batches."""


@pytest.fixture(scope="module")
def run(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of the recipe, made through the command line."""
    out = tmp_path_factory.mktemp("sampling") / "run"
    changes = [word for change in SAMPLING_TINY for word in ("--set", change)]
    result = run_command(
        "train", "--data", leaves, "--recipe", "attention-sampling", "--out", out, *changes
    )
    assert result.exit_code == 0, result.output
    return out


def test_it_trains_both_stages(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["seconds"].keys() == {"fine_tuning", "alternation", "fusion"}

    checkpoint = load_checkpoint(run / "model.safetensors")
    assert checkpoint.parts == {"backbone", "scale1", "scale2", "attention", "fusion12345"}
    assert tuple(checkpoint.manifest.decisions) == HEADS
    assert checkpoint.manifest.framework == "attention-sampling"
    assert checkpoint.manifest.early_exit is None
    assert checkpoint.tensors["attention.weight"].any()
    assert len(list((run / "zooms").glob("*.png"))) == 2
    assert "the whole and 4 patches (attention sampling)" in run_command("info", run).stdout


def test_its_log_has_every_loss(run: Path) -> None:
    with (run / "log.csv").open() as file:
        keys = {row["key"] for row in csv.DictReader(file)}
    for name in ("loss_scale1", "loss_patches", "entropy", "exact_match_patches"):
        assert f"alternation/classifier/train_{name}" in keys
    for head in ("scale1", "part4", "patches"):
        assert f"alternation/classifier/select_exact_match_{head}" in keys
    assert "alternation/classifier/select_box_part4_x_spread" in keys


@pytest.mark.parametrize("states_before_stop", [pytest.param(2, marks=pytest.mark.slow), 13])
def test_it_resumes_as_if_it_had_not_stopped(
    run: Path,
    cache: Cache,
    split: Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    states_before_stop: int,
) -> None:
    """A state after every batch: in fine-tuning, and in the phase, whose places are drawn."""
    monkeypatch.setattr(stage_loop, "_SAVE_INTERVAL_S", -1.0)
    recipe = load_recipe("attention-sampling", SAMPLING_TINY)
    out = tmp_path / "run"
    states = 0

    def save_and_stop(folder: Path, state: State) -> None:
        nonlocal states
        save_state(folder, state)
        states += 1
        if states == states_before_stop:
            raise Stop

    with monkeypatch.context() as context:
        context.setattr(run_module, "save_state", save_and_stop)
        with pytest.raises(Stop):
            train(cache, split, recipe, out, echo=silent)

    train(cache, split, recipe, out, resume=True, echo=silent)
    assert training_losses(out) == training_losses(run)
    assert model_digest(out) == model_digest(run)


@pytest.mark.slow
def test_evaluation_scores_every_head(run: Path, leaves: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    arguments = ["--data", leaves, "--split", "inner-test", "--out", report]
    result = run_command("evaluate", run, *arguments)
    assert result.exit_code == 0, result.output
    metrics = json.loads((report / "metrics.json").read_text())
    assert tuple(metrics["heads"]) == HEADS
    assert tuple(metrics["heads_fitted"]) == HEADS


def test_prediction_has_a_box_a_patch(run: Path, leaves: Path) -> None:
    photo = next((leaves / "train_images").iterdir())
    result = run_command("predict", photo, "--model", run / "model.safetensors", "--format", "json")
    (content,) = json.loads(result.stdout)
    assert [scale.get("part") for scale in content["scales"]] == [None, 1, 2, 3, 4]
    boxes = {tuple(scale["box"]) for scale in content["scales"]}
    assert len(boxes) == 5


def test_the_export_computes_what_the_checkpoint_computes(run: Path, tmp_path: Path) -> None:
    """Its heads, its boxes, its descriptors and larger sources; a training can start from it."""
    path = tmp_path / "model.onnx"
    exported = run_command("export", run, "--out", path)
    assert exported.exit_code == 0, exported.output

    checkpoint = load_checkpoint(run / "model.safetensors")
    network = OnnxNetwork(path)
    reference = TorchNetwork(checkpoint)
    for side in (96, 130):
        sources = np.stack([leaf.pixels for leaf in render_leaves(5, size=side, seed=2)])
        result = parity(reference, network, sources)
        assert result.probability < 1e-4
        assert result.jumps == 0
        expected = reference.descriptors(sources)
        np.testing.assert_allclose(network.descriptors(sources), expected, atol=1e-3)
    assert network.manifest == checkpoint.manifest

    stored = load_checkpoint(path)
    for name, tensor in checkpoint.tensors.items():
        if not name.startswith("backbone."):
            torch.testing.assert_close(stored.tensors[name], tensor, rtol=0, atol=0)


def test_what_needs_zooms_or_evidence_is_refused(run: Path, leaves: Path) -> None:
    photo = next((leaves / "train_images").iterdir())
    model = str(run / "model.safetensors")
    line = failure_line(run_command("predict", photo, "--model", model, "--maps"), 1)
    assert "it is an attention sampling network, whose attention is no sum over places" in line
    with pytest.raises(
        ModelError, match="is an attention sampling network, and the page that leafzoom serve"
    ):
        run_server(model, address=("127.0.0.1", 0))
    assert zooming_network(model, open_network(model)) is None
