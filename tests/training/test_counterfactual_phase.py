"""CAL's phase: who learns what, the loss of its three views, and how they are made."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.attention_crop import whole_box
from leafzoom.model.cal import CAL
from leafzoom.model.view import View
from leafzoom.recipe import OptimizerRecipe
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.counterfactual_phase import (
    CounterfactualPhase,
    drop_attended,
    random_maps,
)
from leafzoom.training.mixing import Mixing
from network_helpers import changed_tensors, random_batch, small_cal, snapshot

UNUSED = {"backbones.0.network.classifier.weight", "backbones.0.network.classifier.bias"}


def phase_of(
    cal: CAL, *, centre_weight: float = 1.0, frozen_stages: int = 0, mixing: Mixing | None = None
) -> CounterfactualPhase:
    """The phase with the published settings."""
    recipe = OptimizerRecipe(name="sgd", learning_rate=1e-3, weight_decay=0.0, schedule="constant")
    learning = [cal.backbone, cal.attention, cal.classifier]
    return CounterfactualPhase(
        cal,
        Optimization(learning, recipe, 10),
        Tensor.backward,
        effect_weight=1.0,
        centre_weight=centre_weight,
        centre_rate=0.05,
        crop_threshold=(0.4, 0.6),
        crop_padding=0.1,
        drop_threshold=(0.2, 0.5),
        frozen_stages=frozen_stages,
        mixing=mixing,
    )


def test_it_changes_everything_but_the_unused_layer() -> None:
    cal = small_cal()
    phase = phase_of(cal)
    phase.begin()
    before = snapshot(cal)
    phase.step(*random_batch())
    changed = changed_tensors(before, cal)
    assert set(before) - changed == UNUSED
    assert not cal.backbone.classifier_layer().weight.any()


def test_the_optimizer_has_every_parameter_once() -> None:
    cal = small_cal()
    optimized = []
    for group in phase_of(cal).optimization.optimizer.param_groups:
        optimized += [id(parameter) for parameter in group["params"]]
    assert sorted(optimized) == sorted(id(parameter) for parameter in cal.parameters())


def test_frozen_stages_stay() -> None:
    cal = small_cal()
    phase = phase_of(cal, frozen_stages=2)
    phase.begin()
    before = snapshot(cal.backbone.network.blocks[:2])
    phase.step(*random_batch())
    assert not changed_tensors(before, cal.backbone.network.blocks[:2])


def test_the_gradients_are_those_of_one_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole's loss, a third of its labels' and its effect's, and its centre loss."""
    cal = small_cal()
    images, targets = random_batch()
    phase = phase_of(cal, centre_weight=0.5)
    phase.begin()
    losses: list[Tensor] = []
    monkeypatch.setattr(phase, "backward", losses.append)

    torch.manual_seed(3)
    logged = phase.step(images, targets)

    reference = small_cal().train()
    view = reference.whole_view(reference.normalise(images))
    torch.manual_seed(3)
    last_map = reference.backbone(view.image).last_map
    attended = reference.attend(last_map)
    effect = reference.effect(last_map, attended)
    label_loss = ClassifierLoss()(attended.logits, targets)
    effect_loss = ClassifierLoss()(effect, targets)
    centring = attended.pooled.square().sum(dim=1).mean()  # centres start at 0
    expected = (label_loss + effect_loss) / 3 + 0.5 * centring
    torch.testing.assert_close(losses[0], expected)

    assert len(losses) == 3
    for head, loss in zip(("scale2", "dropped"), losses[1:], strict=True):
        parts = logged[f"loss_{head}"] + logged[f"effect_loss_{head}"]
        torch.testing.assert_close(loss.detach(), parts / 3)
    assert logged["centre_loss"].item() == pytest.approx(1.0)


def test_the_centres_move_to_the_photographs() -> None:
    cal = small_cal()
    phase = phase_of(cal)
    phase.begin()
    phase.step(*random_batch())
    assert cal.centres.any(dim=1).all()


def test_mixed_batches_teach() -> None:
    cal = small_cal()
    phase = phase_of(cal, mixing=Mixing(1.0, "cutmix", 1.0))
    phase.begin()
    logged = phase.step(*random_batch())
    assert all(bool(torch.isfinite(value)) for value in logged.values())


def test_maps_are_drawn_by_the_roots_of_their_sums() -> None:
    attention = torch.zeros(2000, 3, 2, 2)
    attention[:, 1] = 1.0
    attention[:, 2] = 9.0
    torch.manual_seed(0)
    drawn = random_maps(attention)
    assert drawn.shape == (2000, 2, 2, 2)
    assert (drawn == 9).float().mean().item() == pytest.approx(0.75, abs=0.02)
    assert (drawn == 1).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_attended_places_are_masked() -> None:
    images = torch.ones(2, 3, 8, 8)
    view = View(images, whole_box(2, 8, like=images), 1.0)
    maps = torch.zeros(2, 4, 4)
    maps[0, :, 2:] = 1.0

    dropped = drop_attended(view, maps, torch.tensor([0.5, 0.5])).image

    assert (dropped[0, :, :, 4:] == 0).all()
    assert (dropped[0, :, :, :4] == 1).all()
    assert (dropped[1] == 1).all()  # a map of zeros masks nothing
