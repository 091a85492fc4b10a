"""A whole training of an MA-CNN, and what follows it: evaluation, prediction, export, resuming."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import failure_line, run_command
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.synthetic import render_leaves
from leafzoom.errors import ModelError
from leafzoom.inference import export as export_module
from leafzoom.inference.export import Parity, export_onnx
from leafzoom.inference.loading import open_network, zooming_network
from leafzoom.inference.network import OnnxNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.serve.server import run_server
from leafzoom.training import run as run_module
from leafzoom.training import stage_loop
from leafzoom.training.part_phases import GroupingPhase, PartClassifierPhase
from leafzoom.training.run import train
from network_helpers import MA_TINY, silent
from whole_trainings import (
    assert_evaluation_scores,
    assert_export_agrees,
    assert_resumes_alike,
    train_by_command,
)

HEADS = ("backbone", "scale1", "part1", "part2", "part3", "part4", "fusion12345")
LOOKS = HEADS[1:-1]


@pytest.fixture(scope="module")
def run(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of the recipe, made through the command line."""
    out = tmp_path_factory.mktemp("parts") / "run"
    return train_by_command(leaves, "ma-cnn", MA_TINY, out)


def test_it_trains_every_stage(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["seconds"].keys() == {"fine_tuning", "grouping", "alternation", "fusion"}

    checkpoint = load_checkpoint(run / "model.safetensors")
    assert checkpoint.parts == {*HEADS, "grouping"}
    assert tuple(checkpoint.manifest.decisions) == HEADS
    assert checkpoint.manifest.framework == "ma-cnn"
    assert checkpoint.manifest.look_heads == LOOKS
    assert checkpoint.manifest.early_exit is None

    # A picture a grouping epoch and a classifier epoch: one, then one and two.
    assert len(list((run / "zooms").glob("*.png"))) == 4


def test_its_log_has_both_phases_and_every_head(run: Path) -> None:
    with (run / "log.csv").open() as file:
        keys = {row["key"] for row in csv.DictReader(file)}
    heads = [*LOOKS, "all"]
    assert keys >= {f"alternation/classifier/train_loss_{head}" for head in heads}
    assert keys >= {f"alternation/classifier/select_exact_match_{head}" for head in heads}
    losses = ["grouping_loss", "distance_loss", "diversity_loss"]
    assert keys >= {f"alternation/grouping/train_{loss}" for loss in losses}
    assert "grouping/grouping/train_cluster_loss" in keys
    assert "alternation/grouping/select_box_part4_x_spread" in keys


def test_rounds_are_grouping_then_classifiers(cache: Cache, split: Split, tmp_path: Path) -> None:
    changes = [*MA_TINY, "alternation.rounds=2", "parts.grouping_epochs=2"]
    recipe = load_recipe("ma-cnn", [*changes, "alternation.classifier_epochs=1"])
    plans = []

    def record(fabric: object, plan: stage_loop.StagePlan, *_: object, **__: object) -> None:
        plans.append(plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "run_stage", record)
        train(cache, split, recipe, tmp_path / "run", echo=silent)

    alternation = plans[-1]
    kinds = [GroupingPhase, GroupingPhase, PartClassifierPhase] * 2
    assert [type(phase) for phase in alternation.phases] == kinds
    steps = {name: o.total_steps for name, o in alternation.optimizations.items()}
    assert steps == {"grouping": 4 * 4, "classifier": 2 * 4}

    # Both optimizers together hold every parameter once.
    optimized: list[int] = []
    for optimization in alternation.optimizations.values():
        for group in optimization.optimizer.param_groups:
            optimized += [id(parameter) for parameter in group["params"]]
    everything = [id(parameter) for parameter in alternation.module.parameters()]
    assert sorted(optimized) == sorted(everything)


def test_classifiers_start_as_the_fine_tuned_layer(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    """Without any later epoch, every part's classifier is the plain backbone's linear layer."""
    changes = ["alternation.rounds=0", "alternation.classifier_epochs=0"]
    recipe = load_recipe("ma-cnn", [*MA_TINY, "fine_tuning.epochs=1", *changes])
    path = train(cache, split, recipe, tmp_path / "run", echo=silent)

    checkpoint = load_checkpoint(path)
    whole = checkpoint.tensors["scale1.network.classifier.weight"]
    assert torch.equal(whole, checkpoint.tensors["backbone.network.classifier.weight"])
    for part in LOOKS[1:]:
        assert torch.equal(checkpoint.tensors[f"{part}.weight"], whole)


@pytest.mark.parametrize(
    "states_before_stop",
    [
        pytest.param(2, marks=pytest.mark.slow),
        pytest.param(10, marks=pytest.mark.slow),
        15,
        pytest.param(21, marks=pytest.mark.slow),
    ],
)
def test_an_ma_cnn_resumes_as_if_it_had_not_stopped(
    run: Path, cache: Cache, split: Split, tmp_path: Path, states_before_stop: int
) -> None:
    """A state after every batch: in fine-tuning, the grouping's start, and both phases."""
    recipe = load_recipe("ma-cnn", MA_TINY)
    out = tmp_path / "run"
    assert_resumes_alike(run, cache, split, recipe, out, states_before_stop=states_before_stop)


def test_evaluation_scores_every_head(run: Path, leaves: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    metrics = assert_evaluation_scores(HEADS, run, leaves, report)
    with (report / "predictions.csv").open() as file:
        header = next(csv.reader(file))
    assert f"part4_{metrics['heads']['part4']['per_label'].popitem()[0]}" in header
    assert "fusion12345" in (report / "index.html").read_text()

    one = ["--data", leaves, "--split", "inner-test", "--out", tmp_path / "one"]
    assert run_command("evaluate", run, *one, "--head", "part2").exit_code == 0


def test_prediction_has_a_box_a_part(run: Path, leaves: Path) -> None:
    photo = next((leaves / "train_images").iterdir())
    result = run_command("predict", photo, "--model", run / "model.safetensors", "--format", "json")
    (content,) = json.loads(result.stdout)

    assert [scale["scale"] for scale in content["scales"]] == [1, 2, 3, 4, 5]
    assert [scale.get("part") for scale in content["scales"]] == [None, 1, 2, 3, 4]
    assert content["scales"][0]["box"] == [0, 0, 96, 96]
    for scale in content["scales"][1:]:
        x0, y0, x1, y1 = scale["box"]
        assert 0 <= x0 < x1 <= 96
        assert 0 <= y0 < y1 <= 96
        assert x1 - x0 == pytest.approx(96 * 96 / 448, abs=0.01)

    table = run_command("predict", photo, "--model", run / "model.safetensors").stdout
    assert "part 4 is at x " in table


def test_the_export_computes_what_the_checkpoint_computes(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    assert_export_agrees(run, path, most_jumps=1)

    # The descriptors of the whole and of every part lie side by side.
    network = OnnxNetwork(path)
    sources = np.stack([leaf.pixels for leaf in render_leaves(2, size=96, seed=2)])
    assert network.descriptors(sources).shape[1] % network.manifest.scales == 0


def test_an_export_may_differ_in_few_peaks_and_in_nothing_else(
    run: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One photograph of four, the least that is allowed."""
    checkpoint = load_checkpoint(run / "model.safetensors")
    tied = Parity(1e-6, 30.0, 0.0, photographs=4, worst=(0,), jumps=1)
    monkeypatch.setattr(export_module, "parity", lambda *_: tied)
    path = tmp_path / "tied.onnx"
    assert export_onnx(checkpoint, path, np.asarray(cache.sources[:4])) == tied
    assert path.exists()

    # More of them, or other probabilities.
    for wrong in (replace(tied, jumps=2), replace(tied, probability=0.5)):
        with pytest.raises(ModelError, match="differs from the checkpoint"):
            export_module._check_parity(wrong, 1e-4, 1, path)


def test_info_names_its_looks(run: Path) -> None:
    assert "the whole and 4 parts (MA-CNN)" in run_command("info", run).stdout


def test_what_needs_zooms_or_evidence_is_refused(run: Path, leaves: Path) -> None:
    photo = next((leaves / "train_images").iterdir())
    model = str(run / "model.safetensors")
    line = failure_line(run_command("predict", photo, "--model", model, "--maps"), 1)
    assert "it is an MA-CNN, whose attention is no sum over places" in line
    line = failure_line(run_command("predict", photo, "--model", model, "--early-exit"), 2)
    assert "no confidence threshold for an early exit" in line

    with pytest.raises(ModelError, match="is an MA-CNN, and the page that leafzoom serve"):
        run_server(model, address=("127.0.0.1", 0))
    assert zooming_network(model, open_network(model)) is None
