"""A whole training: what it leaves, its pinned losses, its starts and its failures."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from conftest import HEADS, TINY
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.split import Split, training_split
from leafzoom.dataset.synthetic import write_class_folders
from leafzoom.dataset.table import read_table
from leafzoom.errors import ModelError, RecipeError, TrainingError
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import Recipe, load_recipe, recipe_names
from leafzoom.training.run import Settings, train
from network_helpers import silent, training_losses

# Written by: python -m tests.golden.write_tiny_losses, on a 2-core x86-64, torch 2.15.
PINNED = Path(__file__).parents[1] / "golden" / "tiny-losses.json"

STAGES = {"fine_tuning", "warm_up", "alternation", "fusion"}
ONE_STEP = (
    "model.pretrained=none",
    "model.backbone=test_efficientnet",
    "data.source_size=64",
    "model.input_size=64",
    "model.apn_hidden=4",
    "data.train_limit=4",
    "data.validation_limit=8",
    "alternation.rounds=1",
    "warm_up.epochs=1",
    "fine_tuning.batch_size=4",
    "warm_up.batch_size=4",
    "alternation.batch_size=4",
    "fusion.epochs=1",
)
RECIPES = [
    name if name == "paper" else pytest.param(name, marks=pytest.mark.slow)
    for name in recipe_names()
    if name not in ("vgg19", "ma-cnn", "cal", "attention-sampling")  # these have their own
]
SPOILING = ("fine_tuning.optimizer.learning_rate=1e30", "fine_tuning.optimizer.name=sgd")


def test_it_leaves_its_files(trained: Path, split: Split) -> None:
    files = {path.name for path in trained.iterdir()}
    assert files >= {
        "run.json",
        "recipe.json",
        "split.json",
        "log.csv",
        "attention.gif",
        "zooms",
        "states",
        "selection.csv",
        "backbone.safetensors",
        "model.safetensors",
    }
    stored = json.loads((trained / "split.json").read_text())
    assert Split.from_dict(stored, trained) == split

    # Warm-up, two classifier epochs, an APN epoch, two classifier epochs.
    assert len(list((trained / "zooms").glob("*.png"))) == 6
    with Image.open(trained / "attention.gif") as film:
        assert film.n_frames >= 2

    checkpoint = load_checkpoint(trained / "model.safetensors")
    fusions = {"fusion12", "fusion123"}
    assert checkpoint.parts == {"backbone", "scale1", "scale2", "scale3", "apn1", "apn2", *fusions}
    assert tuple(checkpoint.manifest.decisions) == HEADS


def test_its_record_has_time_and_memory_of_every_stage(trained: Path) -> None:
    run = json.loads((trained / "run.json").read_text())
    assert run["status"] == "finished"
    assert set(run["seconds"]) == set(run["memory"]) == STAGES
    if sys.platform == "linux":
        peaks = [memory["process_mb"] for memory in run["memory"].values()]
        assert all(100 < peak < 20_000 for peak in peaks)


def test_it_logs_every_stage(trained: Path) -> None:
    with (trained / "log.csv").open() as file:
        keys = {row["key"] for row in csv.DictReader(file)}
    assert keys >= {
        "fine_tuning/classifier/train_loss",
        "fine_tuning/classifier/select_exact_match",
        "warm_up/apn/train_loss_apn2",
        "alternation/classifier/train_loss_scale3",
        "alternation/classifier/train_exact_match_scale2",
        "alternation/apn/train_ranking_loss12",
        "alternation/apn/select_ranking_loss23",
        "alternation/classifier/select_exact_match_scale1",
        "alternation/apn/select_box2_x_spread",
        "alternation/apn/select_box3_half_side_mean",
    }


def test_pinned_losses(trained: Path) -> None:
    """A short training's losses; another machine or torch may differ in the third digit."""
    pairs = [line.split(" ") for line in training_losses(trained)]
    losses = {key: [] for key, _ in pairs if "loss" in key}
    for key, value in pairs:
        if "loss" in key:
            losses[key].append(float(value))

    pinned: dict[str, list[float]] = {}
    for key, value in json.loads(PINNED.read_text()):
        pinned.setdefault(key, []).append(value)
    assert list(losses) == list(pinned)
    for key, values in losses.items():
        assert values == pytest.approx(pinned[key], rel=2e-2), key


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_one_step_of_every_stage(name: str, leaves: Path, tmp_path: Path) -> None:
    changes = list(ONE_STEP)
    if load_recipe(name).fine_tuning.epochs:
        changes.append("fine_tuning.epochs=1")
    if load_recipe(name).single_label:
        leaves = write_class_folders(tmp_path / "leaves", 24, size=96, seed=0)
    small = build_cache(read_table(leaves), tmp_path / "cache", 64, workers=1)
    split = training_split(small, "inner-train")

    path = train(small, split, load_recipe(name, changes), tmp_path / "run", echo=silent)

    assert "fusion123" in load_checkpoint(path).parts


def test_apn_phases_can_follow_class_activation_maps(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    changes = [
        "warm_up.target=activation",
        "alternation.apn_objective=activation",
        "model.apn_normalise=places",
    ]
    run = tmp_path / "run"
    train(cache, split, load_recipe("default", [*TINY, *changes]), run, echo=silent)

    keys = [line.split(" ")[0] for line in training_losses(run) if "/apn/train" in line]
    expected = []
    for stage in ("warm_up", "alternation"):
        expected += [f"{stage}/apn/train_loss_apn{number}" for number in (1, 2)]
    assert keys == expected
    manifest = load_checkpoint(run / "model.safetensors").manifest
    assert manifest.recipe["model"]["apn_normalise"] == "places"


def test_a_start_that_fails_leaves_a_folder_that_serves(
    cache: Cache, split: Split, tiny: Recipe, tmp_path: Path
) -> None:
    unknown = load_recipe("default", [*TINY, "model.backbone=nope"])
    with pytest.raises(RecipeError, match="timm has no network 'nope'"):
        train(cache, split, unknown, tmp_path, echo=silent)
    with pytest.raises(TrainingError, match="--accelerator gpu is not available"):
        train(cache, split, tiny, tmp_path, settings=Settings(accelerator="gpu"), echo=silent)
    assert not (tmp_path / "run.json").exists()

    one_epoch = load_recipe("default", [*TINY, "fine_tuning.epochs=1"])
    train(cache, split, one_epoch, tmp_path, echo=silent)


def test_a_batch_that_spoils_the_weights_stops_before_they_are_saved(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    """One batch an epoch: its loss is finite, the weights after it are not."""
    recipe = load_recipe("default", [*TINY, "fine_tuning.batch_size=100", *SPOILING])
    message = "the validation loss is nan, so the weights are spoilt"
    with pytest.raises(TrainingError, match=message):
        train(cache, split, recipe, tmp_path, echo=silent)
    assert not list(tmp_path.glob("states/*"))


def test_a_loss_that_is_not_finite_stops_and_names_the_photographs(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    recipe = load_recipe("default", [*TINY, *SPOILING])
    message = r"fine_tuning \d/2 .*: loss is (nan|inf) at batch .*leaf-000\d\d\.jpg"
    with pytest.raises(TrainingError, match=message):
        train(cache, split, recipe, run, echo=silent)
    assert json.loads((run / "run.json").read_text())["status"] == "training"
    assert not (run / "model.safetensors").exists()


def test_scales_and_apns_go_on_from_a_checkpoint(
    trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    init = str(trained / "model.safetensors")
    changes = [
        "fine_tuning.epochs=0",
        "warm_up.epochs=0",
        "alternation.rounds=0",
        "alternation.classifier.learning_rate=1e-9",
    ]
    path = train(
        cache,
        split,
        load_recipe("default", [*TINY, *changes]),
        tmp_path / "run",
        init=init,
        echo=silent,
    )

    before = load_checkpoint(trained / "model.safetensors")
    after = load_checkpoint(path)
    for part in ("scale3", "apn2"):
        for name, tensor in after.part(part).items():
            if "running" not in name and "num_batches" not in name:
                torch.testing.assert_close(tensor, before.part(part)[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("normalise", ["places", "none"])
def test_apns_with_another_normalisation_start_from_random_weights(
    normalise: str, trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    """The trained run's APNs read differences between cells: their weights fit no other reading."""
    lines: list[str] = []
    changes = [
        "fine_tuning.epochs=0",
        "warm_up.optimizer.learning_rate=1e-9",
        "alternation.rounds=0",
        f"model.apn_normalise={normalise}",
    ]
    recipe = load_recipe("default", [*TINY, *changes])
    init = str(trained / "model.safetensors")
    path = train(cache, split, recipe, tmp_path, init=init, echo=lines.append)

    before = load_checkpoint(trained / "model.safetensors").part("apn1")
    after = load_checkpoint(path).part("apn1")
    are_loaded = all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert are_loaded == (normalise == "places")

    notices = [line for line in lines if "start from random weights" in line]
    assert len(notices) == (normalise == "none")
    assert all("apn_normalise" in line and init in line for line in notices)


def test_a_checkpoint_of_another_network_names_the_tensor(
    trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    recipe = load_recipe("default", [*TINY, "model.backbone=efficientnet_b0"])
    init = str(trained / "model.safetensors")
    message = r"trained with test_efficientnet\).*made for another network|has shape"
    with pytest.raises(ModelError, match=message):
        train(cache, split, recipe, tmp_path / "run", init=init, echo=silent)
