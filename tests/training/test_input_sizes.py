"""Fine-tuning on views that grow from epoch to epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import RecipeError
from leafzoom.model.backbone import Backbone
from leafzoom.recipe import load_recipe
from leafzoom.training import stages
from leafzoom.training.phases import FineTuningPhase
from leafzoom.training.run import train
from network_helpers import random_batch, sgd, silent, small_racnn


def test_the_backbone_sees_views_of_the_phases_size() -> None:
    racnn = small_racnn()
    backbone = racnn.backbones[0]
    assert isinstance(backbone, Backbone)
    seen: list[tuple[int, ...]] = []
    backbone.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))

    for size in (32, None):
        phase = FineTuningPhase(
            racnn, backbone, sgd([backbone]), torch.Tensor.backward, input_size=size
        )
        phase.begin()
        phase.step(*random_batch())
    assert seen == [(6, 3, 32, 32), (6, 3, 64, 64)]


def test_each_size_has_an_equal_part_of_the_epochs(
    cache: Cache, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five epochs of three sizes; all steps are of one optimizer and schedule."""
    sizes: list[int] = []
    step = FineTuningPhase.step

    def logged_step(phase: FineTuningPhase, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes.append(phase.input_size)
        return step(phase, *batch)

    monkeypatch.setattr(stages.FineTuningPhase, "step", logged_step)
    changes = [
        *TINY,
        "fine_tuning.epochs=5",
        "fine_tuning.input_sizes=[32, 48, 64]",
        "alternation.classifier_epochs=0",
        "alternation.rounds=0",
    ]
    train(cache, split, load_recipe("default", changes), tmp_path / "run", echo=silent)

    steps_per_epoch = len(sizes) // 5
    epochs = [set(sizes[i * steps_per_epoch : (i + 1) * steps_per_epoch]) for i in range(5)]
    assert epochs == [{32}, {32}, {48}, {48}, {64}]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("[32, 48]", r"input_sizes \[32, 48\] has to end with model\.input_size 64"),
        ("[128, 64]", r"a view larger than data\.source_size 96"),
        ("[32, 40, 48, 64]", "4 sizes for 2 epochs"),
        ("[16, 64]", "greater than or equal to 32"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("default", [*TINY, f"fine_tuning.input_sizes={sizes}"])
