"""The authors' first training (§3.3.3): which parameters its two losses reach and change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leafzoom.model.losses import classification_loss, ranking_loss
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState
from leafzoom.recipe import load_recipe
from leafzoom.training.alternation import plan_alternation
from leafzoom.training.shared_phases import SharedApnPhase, SharedClassifierPhase
from network_helpers import (
    changed_parts,
    random_batch,
    sgd,
    small_racnn,
    snapshot,
)

BACKBONES = {"backbones.0", "backbones.1", "backbones.2"}
APNS = {"apns.0", "apns.1"}


def attached_states(racnn: RACNN, images: Tensor) -> list[ScaleState]:
    """All scales in one graph."""
    states = [racnn.start(racnn.normalise(images))]
    for _ in racnn.apns:
        states.append(racnn.advance(states[-1], racnn.propose(states[-1])))
    return states


def test_each_loss_changes_its_own_kind_of_part() -> None:
    images, targets = random_batch()
    racnn = small_racnn("model.surrogate=paper")
    phase = SharedClassifierPhase(racnn, sgd([racnn.backbones]), torch.Tensor.backward)
    phase.begin()
    before = snapshot(racnn)
    phase.step(images, targets)
    assert changed_parts(before, racnn) == BACKBONES

    apn_phase = SharedApnPhase(
        racnn,
        sgd([racnn.apns]),
        torch.Tensor.backward,
        margin=0.9,
        labels="present",
        reduction="sum",
    )
    apn_phase.begin()
    before = snapshot(racnn)
    apn_phase.step(images, targets)
    assert changed_parts(before, racnn) == APNS


def test_the_classifiers_learn_from_the_sum_of_all_scales_losses() -> None:
    """Figure 6: scale 3's loss reaches scale 1's convolutions, through crop and frozen APN."""
    images, targets = random_batch()
    racnn = small_racnn("model.surrogate=paper", "model.drop_rate=0")
    phase = SharedClassifierPhase(racnn, sgd([racnn.backbones]), torch.Tensor.backward)
    phase.begin()
    logits = [state.logits for state in attached_states(racnn, images)]
    losses = [classification_loss(scale_logits, targets) for scale_logits in logits]

    first = list(racnn.backbones[0].parameters())
    own = torch.autograd.grad(losses[0], first, retain_graph=True, allow_unused=True)
    all_together = torch.autograd.grad(sum(losses), first, allow_unused=True)
    before = [parameter.detach().clone() for parameter in first]

    racnn = small_racnn("model.surrogate=paper", "model.drop_rate=0")
    phase = SharedClassifierPhase(racnn, sgd([racnn.backbones]), torch.Tensor.backward)
    phase.begin()
    logged = phase.step(images, targets)
    assert logged["loss_scale3"].item() == pytest.approx(losses[2].item(), rel=1e-5)

    # One step of plain SGD at rate 0.1.
    reached_by_finer_scales = False
    after = list(racnn.backbones[0].parameters())
    for old, new, single, total in zip(before, after, own, all_together, strict=True):
        assert total is not None
        assert torch.allclose(new, old - 0.1 * total, atol=1e-5)
        difference = total if single is None else total - single
        reached_by_finer_scales |= bool(difference.abs().max() > 1e-6)
    assert reached_by_finer_scales


def test_the_second_pairs_ranking_loss_reaches_the_first_apn() -> None:
    images, targets = random_batch()
    racnn = small_racnn("model.surrogate=paper")
    phase = SharedApnPhase(
        racnn, sgd([racnn.apns]), torch.Tensor.backward, margin=0.9, labels="all", reduction="sum"
    )
    phase.begin()
    _, second, third = attached_states(racnn, images)
    loss = ranking_loss(
        second.logits,
        third.logits,
        targets > 0.5,
        margin=0.9,
        labels="all",
        reduction="sum",
        detach_coarse=False,
    )
    gradients = torch.autograd.grad(loss, list(racnn.apns[0].parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) > 0


def test_rounds_take_turns_as_in_the_papers_training() -> None:
    recipe = load_recipe("joint-loss", ["model.pretrained=none", "alternation.rounds=2"])
    assert recipe.alternation.objective == "shared"
    small = load_recipe(
        "default",
        [
            "alternation.objective=shared",
            "alternation.rounds=2",
            "alternation.frozen_stages=0",
            "alternation.classifier_epochs=1",
            "model.backbone=test_efficientnet",
            "model.pretrained=none",
            "model.input_size=64",
            "data.source_size=96",
        ],
    )
    plan = plan_alternation(small, small_racnn(), 3, torch.Tensor.backward)
    names = [phase.name for phase in plan.phases]
    assert names == ["classifier", "apn", "classifier", "apn", "classifier"]
    assert plan.classifier.total_steps == 9
    assert plan.apn.total_steps == 6
