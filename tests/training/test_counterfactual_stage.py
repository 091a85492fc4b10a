"""A whole training of CAL, and what follows it: evaluation, prediction, export, resuming."""

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
from network_helpers import CAL_TINY
from whole_trainings import (
    assert_evaluation_scores,
    assert_export_agrees,
    assert_resumes_alike,
    train_by_command,
)

HEADS = ("backbone", "scale1", "scale2", "fusion12")


@pytest.fixture(scope="module")
def run(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of the recipe, made through the command line."""
    out = tmp_path_factory.mktemp("cal") / "run"
    return train_by_command(leaves, "cal", CAL_TINY, out)


def test_it_trains_both_stages(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["seconds"].keys() == {"fine_tuning", "alternation", "fusion"}

    checkpoint = load_checkpoint(run / "model.safetensors")
    assert checkpoint.parts == {"backbone", "scale1", "attention", "classifier", "fusion12"}
    assert tuple(checkpoint.manifest.decisions) == HEADS
    assert checkpoint.manifest.framework == "cal"
    assert checkpoint.manifest.early_exit is None
    assert not checkpoint.tensors["scale1.network.classifier.weight"].any()
    assert len(list((run / "zooms").glob("*.png"))) == 2
    assert "the whole and a crop (CAL)" in run_command("info", run).stdout


def test_its_log_has_every_view(run: Path) -> None:
    with (run / "log.csv").open() as file:
        keys = {row["key"] for row in csv.DictReader(file)}
    for view in ("scale1", "scale2", "dropped"):
        assert f"alternation/classifier/train_loss_{view}" in keys
        assert f"alternation/classifier/train_effect_loss_{view}" in keys
    assert "alternation/classifier/train_centre_loss" in keys
    for head in ("scale1", "scale2", "all"):
        assert f"alternation/classifier/select_exact_match_{head}" in keys
    assert "alternation/classifier/select_box_scale2_half_side_spread" in keys


@pytest.mark.parametrize("states_before_stop", [pytest.param(2, marks=pytest.mark.slow), 13])
def test_it_resumes_as_if_it_had_not_stopped(
    run: Path, cache: Cache, split: Split, tmp_path: Path, states_before_stop: int
) -> None:
    """A state after every batch: in fine-tuning, and in the phase, with its labels' centres."""
    recipe = load_recipe("cal", CAL_TINY)
    out = tmp_path / "run"
    assert_resumes_alike(run, cache, split, recipe, out, states_before_stop=states_before_stop)


def test_evaluation_scores_every_head(run: Path, leaves: Path, tmp_path: Path) -> None:
    assert_evaluation_scores(HEADS, run, leaves, tmp_path / "report")


def test_prediction_has_a_box_a_look(run: Path, leaves: Path) -> None:
    photo = next((leaves / "train_images").iterdir())
    result = run_command("predict", photo, "--model", run / "model.safetensors", "--format", "json")
    (content,) = json.loads(result.stdout)
    assert [scale["scale"] for scale in content["scales"]] == [1, 2]
    assert all("part" not in scale for scale in content["scales"])
    x0, y0, x1, y1 = content["scales"][1]["box"]
    assert 0 <= x0 < x1
    assert 0 <= y0 < y1


def test_the_export_computes_what_the_checkpoint_computes(run: Path, tmp_path: Path) -> None:
    assert_export_agrees(run, tmp_path / "model.onnx")


def test_what_needs_zooms_or_evidence_is_refused(run: Path, leaves: Path) -> None:
    photo = next((leaves / "train_images").iterdir())
    model = str(run / "model.safetensors")
    line = failure_line(run_command("predict", photo, "--model", model, "--maps"), 1)
    assert "it is a CAL network, whose attention is no sum over places" in line
    with pytest.raises(ModelError, match="is a CAL network, and the page that leafzoom serve"):
        run_server(model, address=("127.0.0.1", 0))
    assert zooming_network(model, open_network(model)) is None
