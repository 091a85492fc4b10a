"""A whole training of attention sampling, and what follows it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from conftest import failure_line, run_command
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import ModelError
from leafzoom.inference.loading import open_network, zooming_network
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.serve.server import run_server
from network_helpers import SAMPLING_TINY
from whole_trainings import (
    assert_evaluation_scores,
    assert_export_agrees,
    assert_resumes_alike,
    train_by_command,
)

HEADS = ("backbone", "scale1", "part1", "part2", "part3", "part4", "fusion12345")


@pytest.fixture(scope="module")
def run(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of the recipe, made through the command line."""
    out = tmp_path_factory.mktemp("sampling") / "run"
    return train_by_command(leaves, "attention-sampling", SAMPLING_TINY, out)


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
    run: Path, cache: Cache, split: Split, tmp_path: Path, states_before_stop: int
) -> None:
    """A state after every batch: in fine-tuning, and in the phase, whose places are drawn."""
    recipe = load_recipe("attention-sampling", SAMPLING_TINY)
    out = tmp_path / "run"
    assert_resumes_alike(run, cache, split, recipe, out, states_before_stop=states_before_stop)


@pytest.mark.slow
def test_evaluation_scores_every_head(run: Path, leaves: Path, tmp_path: Path) -> None:
    assert_evaluation_scores(HEADS, run, leaves, tmp_path / "report")


def test_prediction_has_a_box_a_patch(run: Path, leaves: Path) -> None:
    photo = next((leaves / "train_images").iterdir())
    result = run_command("predict", photo, "--model", run / "model.safetensors", "--format", "json")
    (content,) = json.loads(result.stdout)
    assert [scale.get("part") for scale in content["scales"]] == [None, 1, 2, 3, 4]
    boxes = {tuple(scale["box"]) for scale in content["scales"]}
    assert len(boxes) == 5


def test_the_export_computes_what_the_checkpoint_computes(run: Path, tmp_path: Path) -> None:
    assert_export_agrees(run, tmp_path / "model.onnx")


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
