"""From a recipe to phases and optimizers."""

from __future__ import annotations

import pytest
import torch

from conftest import TINY
from leafzoom.model.build import build_racnn
from leafzoom.recipe import load_recipe
from leafzoom.training.alternation import plan_alternation
from leafzoom.training.apn_phase import ApnPhase, FinerLoss, RankingLoss
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.expected_loss import ExpectedLossPhase
from network_helpers import LABELS

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
