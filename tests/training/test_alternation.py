"""From a recipe to phases and optimizers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.model.build import build_racnn
from leafzoom.model.losses import classification_loss, label_weights
from leafzoom.recipe import load_recipe
from leafzoom.training.alternation import plan_alternation
from leafzoom.training.apn_phase import ApnPhase, FinerLoss, RankingLoss
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.expected_loss import ExpectedLossPhase
from leafzoom.training.run import train
from network_helpers import LABELS, random_batch, silent, small_racnn, training_losses

STEPS = 4


@pytest.mark.parametrize(
    ("changes", "first_kinds"),
    [
        (["alternation.apn_objective=classification"], [ClassifierPhase, FinerLoss]),
        (["alternation.apn_objective=expected"], [ClassifierPhase, ExpectedLossPhase]),
        ([], [ClassifierPhase, RankingLoss]),
        (["alternation.rounds=0", "alternation.objective=end_to_end"], [ClassifierPhase]),
    ],
)
def test_recipes_give_these_phases(changes: list[str], first_kinds: list[type]) -> None:
    shared = ["alternation.classifier_epochs=1", "alternation.rounds=1"]
    recipe = load_recipe("default", [*TINY, *shared, *changes])
    rounds = recipe.alternation.rounds
    racnn = build_racnn(recipe, LABELS)

    alternation = plan_alternation(recipe, racnn, STEPS, torch.Tensor.backward)

    kinds = [
        type(phase.loss) if isinstance(phase, ApnPhase) else type(phase)
        for phase in alternation.phases
    ]
    assert kinds == [*first_kinds, ClassifierPhase][: 1 + 2 * rounds]
    assert alternation.classifier.total_steps == STEPS * (rounds + 1)
    assert alternation.apn.total_steps == STEPS

    last = alternation.phases[-1]
    assert isinstance(last, ClassifierPhase)
    assert (last.apn is not None) == (recipe.alternation.objective == "end_to_end")


@pytest.mark.parametrize("objective", ["alternate", "joint"])
def test_class_weights_are_in_every_classifiers_loss(objective: str) -> None:
    plain = ["alternation.frozen_stages=0", "alternation.attention_dropping=0"]
    changes = [*TINY, *plain, f"alternation.objective={objective}"]
    recipe = load_recipe("default", changes)
    images, targets = random_batch()
    weights = label_weights(np.array([[1, 0, 0]] + [[0, 1, 0]] * 9, np.uint8), "inverse")

    logged = []
    for chosen in (None, weights):
        racnn = small_racnn()
        loss = ClassifierLoss(chosen)
        plan = plan_alternation(recipe, racnn, STEPS, torch.Tensor.backward, loss)
        plan.phases[0].begin()
        logged.append(plan.phases[0].step(images, targets))

        # The first scale's loss, from the same network and batch.
        reference = small_racnn().train()
        with torch.no_grad():
            logits = reference.start(reference.normalise(images)).logits
        expected = classification_loss(logits, targets, chosen)
        assert logged[-1]["loss_scale1"].item() == pytest.approx(expected.item(), rel=1e-5)

    for scale in (1, 2, 3):
        unweighted = logged[0][f"loss_scale{scale}"].item()
        assert logged[1][f"loss_scale{scale}"].item() != pytest.approx(unweighted, rel=1e-3)


def test_the_recipes_class_weights_reach_the_fine_tuning_too(
    cache: Cache, split: Split, tmp_path: Path
) -> None:
    """The pinned losses of a training without weights are those of `none`."""
    losses = {}
    for kind in ("none", "sqrt"):
        changes = [f"data.class_weights={kind}", "alternation.classifier_epochs=1"]
        recipe = load_recipe("default", [*TINY, "fine_tuning.epochs=1", *changes])
        train(cache, split, recipe, tmp_path / kind, echo=silent)
        losses[kind] = training_losses(tmp_path / kind)

    differing = {line.rpartition(" ")[0] for line in set(losses["none"]) ^ set(losses["sqrt"])}
    assert "fine_tuning/classifier/train_loss" in differing
    assert "alternation/classifier/train_loss_scale2" in differing
