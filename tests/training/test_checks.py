"""Trainings that cannot end well are refused before they begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.pretrained import initial_checkpoint
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.training.checks import check_recipe
from leafzoom.training.run import train
from network_helpers import silent

OWN_LEAVES = TINY[:4]
NO_TRAINING_OF_APNS = ("fine_tuning.epochs=0", "warm_up.epochs=0", "alternation.rounds=0")


@pytest.mark.parametrize("name", ["vgg11", "convnext_atto"])
def test_a_backbone_without_class_activation_maps_is_refused_at_once(
    cache: Cache, split: Split, tmp_path: Path, name: str
) -> None:
    changes = [
        "warm_up.target=activation",
        f"model.backbone={name}",
        "alternation.frozen_stages=0",
        "model.batch_norm=keep",
    ]
    recipe = load_recipe("default", [*TINY, *changes])
    with pytest.raises(RecipeError, match=f"{name} has no class activation maps"):
        train(cache, split, recipe, tmp_path / "run", echo=silent)


def test_class_activation_maps_are_needed_only_where_a_stage_uses_them(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    """`default` uses them for its warm-up alone."""
    changes = [
        "model.backbone=convnext_atto",
        "alternation.frozen_stages=0",
        "model.batch_norm=keep",
        *NO_TRAINING_OF_APNS,
        "alternation.classifier_epochs=0",
        "data.train_limit=12",
        "data.validation_limit=8",
    ]
    recipe = load_recipe("default", [*TINY, *changes])
    path = train(cache, split, recipe, tmp_path / "run", echo=silent)
    assert path.is_file()


def test_apns_with_another_normalisation_that_nothing_trains_are_refused(
    trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    init = str(trained / "model.safetensors")
    changes = [*NO_TRAINING_OF_APNS, "model.apn_normalise=none"]
    message = (
        r"read maps with model\.apn_normalise places, this recipe's with none, and nothing trains"
    )
    recipe = load_recipe("default", [*TINY, *changes])
    with pytest.raises(RecipeError, match=message):
        train(cache, split, recipe, tmp_path / "run", init=init, echo=silent)

    without_apns = load_recipe("default", [*TINY, *changes, "model.proposals=centre"])
    train(cache, split, without_apns, tmp_path / "centre", init=init, echo=silent)


def test_scales_are_not_trained_on_boxes_of_random_apns(trained: Path) -> None:
    """As `own-leaves` without --init, or with fine-tuning, would do."""
    stored = initial_checkpoint(str(trained / "model.safetensors"))
    plain = initial_checkpoint(str(trained / "backbone.safetensors"))
    labels = stored.manifest.labels
    own = load_recipe("own-leaves", OWN_LEAVES)
    check_recipe(own, labels, stored)

    refused = (
        ([], None, r"there is no --init .*--init bundled"),
        (["fine_tuning.epochs=1"], stored, r"only its backbone where fine_tuning"),
        ([], plain, r"backbone\.safetensors has no apn1"),
        (["model.scales=4"], stored, r"has no apn3.*warm_up\.epochs to 1"),
    )
    for changes, init, message in refused:
        recipe = load_recipe("own-leaves", [*OWN_LEAVES, *changes])
        with pytest.raises(RecipeError, match=message):
            check_recipe(recipe, labels, init)


@pytest.mark.parametrize(
    "change",
    [
        "warm_up.epochs=1",
        "model.proposals=centre",
        "alternation.box_jitter=1",
        "alternation.rounds=1",
        "alternation.classifier_epochs=0",
    ],
)
def test_boxes_that_are_random_on_purpose_are_allowed(trained: Path, change: str) -> None:
    labels = initial_checkpoint(str(trained / "model.safetensors")).manifest.labels
    check_recipe(load_recipe("own-leaves", [*OWN_LEAVES, change]), labels, None)


def test_a_pin_of_the_pretrained_weights_does_not_go_with_init(
    trained: Path, cache: Cache, split: Split, tiny: Recipe, tmp_path: Path
) -> None:
    pinned = replace(tiny, model=replace(tiny.model, pretrained_sha256="0" * 64))
    message = r"pretrained_sha256 is of what model\.pretrained names, not of --init"
    with pytest.raises(RecipeError, match=message):
        train(cache, split, pinned, tmp_path, init=str(trained / "model.safetensors"))


def test_a_teacher_has_to_know_the_labels_and_the_source_size(
    trained: Path, cache: Cache, split: Split, tmp_path: Path
) -> None:
    changes = [*TINY, "fine_tuning.epochs=0", "alternation.soft_labels=0.4"]
    soft = load_recipe("default", changes)
    with pytest.raises(ModelError, match="name it with --init or --teacher"):
        train(cache, split, soft, tmp_path / "none", echo=silent)

    backbone = str(trained / "backbone.safetensors")
    with pytest.raises(ModelError, match="holds backbone and no scale1"):
        train(cache, split, soft, tmp_path / "backbone", init=backbone, echo=silent)

    smaller = load_recipe("default", [*changes, "data.source_size=80"])
    teacher = str(trained / "model.safetensors")
    with pytest.raises(ModelError, match=r"cannot teach.*96 px.*80 px"):
        train(cache, split, smaller, tmp_path / "size", init=teacher, echo=silent)

    with pytest.raises(RecipeError, match="soft_labels"):
        load_recipe("default", ["alternation.soft_labels=0.5"])


# Batches of one photograph.

SMALL_VIEWS = ("model.input_size=32", "model.batch_norm=keep", "model.apn_normalise=none")


def test_single_photographs_are_refused_where_a_batch_norm_sees_one_value(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    recipe = load_recipe("default", [*TINY, *SMALL_VIEWS, "fine_tuning.batch_size=1"])

    message = "fine_tuning.batch_size is 1.*batch norms of test_efficientnet then see one value"
    with pytest.raises(RecipeError, match=message):
        train(cache, split, recipe, tmp_path / "run", echo=silent)


def test_single_photographs_are_trained_on_where_maps_are_larger(trained: Path) -> None:
    init = initial_checkpoint(str(trained))
    recipe = load_recipe("default", [*TINY, "fine_tuning.batch_size=1"])

    check_recipe(recipe, init.manifest.labels, None)


def test_an_odd_number_of_photographs_trains_in_pairs(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    """The last batch would have one photograph, and a batch norm one value a channel."""
    odd = replace(split, train=split.train[:11])
    changes = ["fine_tuning.batch_size=2", "alternation.batch_size=2"]
    recipe = load_recipe("default", [*TINY, *SMALL_VIEWS, *changes])

    assert train(cache, odd, recipe, tmp_path / "run", echo=silent).is_file()
