"""Recipes whose values contradict each other are refused, with what to change."""

from __future__ import annotations

import re

import pytest

from leafzoom.errors import RecipeError
from leafzoom.recipe import load_recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["warm_up.size_target=[1.0]"], "one for each of the 2 zooms"),
        (["warm_up.size_target=[1.0, 1.5]"], "from -1 (least) to 1 (greatest), not 1.5"),
        (["warm_up.size_target=-3"], "from -1 (least) to 1 (greatest), not -3"),
        (["warm_up.size_target=[]"], "one for each of the 2 zooms"),
        (
            ["alternation.attention_dropping=0.5", "alternation.frozen_scales=2"],
            "lower frozen_scales",
        ),
        (
            ["alternation.attention_dropping=0.5", "alternation.objective=joint"],
            "joint trains everything as it is",
        ),
        (["model.proposals=centre"], "uses no APN"),
        (["alternation.objective=end_to_end", "alternation.rounds=2"], "set rounds to 0"),
        (
            ["alternation.objective=end_to_end", "alternation.apn_objective=expected"],
            "leave apn_objective at ranking",
        ),
        (
            ["alternation.objective=joint", "alternation.frozen_scales=1"],
            "leave frozen_scales",
        ),
        (
            ["alternation.objective=shared", "alternation.frozen_stages=1"],
            "shared trains everything as it is",
        ),
        (["alternation.frozen_scales=3"], "leaves no scale to train"),
        (["model.residual=1.5"], "model.residual"),
        (["model.loss=softmax", "alternation.combination_loss=0.1"], "set it to 0"),
        (["model.loss=softmax", "alternation.ranking_labels=all"], "set it to present"),
        (["model.loss=softmax", "decision.combinations=any"], "set it to seen"),
        (["model.loss=hinge"], "'sigmoid' or 'softmax'"),
    ],
)
def test_default_with_these_changes_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe("default", changes)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ma-cnn", "model.scales=4", "model.scales is a setting of model.framework ra-cnn alone"),
        ("ma-cnn", "model.residual=0.5", "model.residual is a setting of"),
        ("ma-cnn", "warm_up.target=activation", "warm_up.target is a setting of"),
        ("ma-cnn", "alternation.margin=0.1", "alternation.margin is a setting of"),
        ("ma-cnn", "alternation.apn.learning_rate=1e-5", "alternation.apn is a setting of"),
        ("ma-cnn", "few_photographs.below=100", "few_photographs.below is a setting of"),
        ("ma-cnn", "warm_up.epochs=0", "without the clusters that it starts from"),
        ("ma-cnn", "parts.number=1", "parts.number: Input should be greater than or equal to 2"),
        ("ma-cnn", "parts.side=1.5", "parts.side: Input should be less than 1"),
        ("ma-cnn", "parts.diversity_weight=-1", "parts.diversity_weight: Input should be"),
        ("default", "parts.number=3", "parts.number is a setting of model.framework ma-cnn alone"),
        ("paper", "parts.optimizer.learning_rate=1e-5", "this recipe's is ra-cnn: leave it out"),
        ("default", "model.framework=ma-cnn", "model.apn_normalise is a setting of"),
        (
            "default",
            "model.framework=cnn",
            "Input should be 'ra-cnn', 'ma-cnn', 'cal' or 'attention-sampling', not 'cnn'",
        ),
        ("default", "counterfactual.maps=8", "is a setting of model.framework cal alone"),
        ("cal", "parts.number=3", "parts.number is a setting of model.framework ma-cnn alone"),
        ("cal", "model.scales=4", "model.scales is a setting of model.framework ra-cnn alone"),
        ("cal", "alternation.rounds=2", "model.framework ra-cnn and ma-cnn alone"),
        ("cal", "warm_up.epochs=0", "warm_up.epochs is a setting of"),
        ("cal", "fusion.inputs=descriptors", "set it to logits"),
        ("cal", "model.apn_stage=stride16", "ra-cnn and attention-sampling alone"),
        ("default", "patches.number=3", "is a setting of model.framework attention-sampling alone"),
        ("attention-sampling", "counterfactual.maps=8", "model.framework cal alone"),
        ("attention-sampling", "patches.number=9", "patches.number: Input should be less than"),
        ("cal", "counterfactual.maps=1", "counterfactual.maps: Input should be greater"),
        ("cal", "counterfactual.drop_threshold=[0.5,0.2]", "0 < least <= greatest < 1"),
    ],
)
def test_settings_of_the_other_framework_are_refused(name: str, change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe(name, [change])


def test_joint_has_no_apn_phases_to_choose_for() -> None:
    changes = ["alternation.objective=joint", "alternation.apn_objective=activation"]
    with pytest.raises(RecipeError, match="objective joint has no APN phases"):
        load_recipe("paper", changes)


def test_the_papers_shared_losses_are_ranking_losses() -> None:
    with pytest.raises(RecipeError, match="objective shared is the paper's"):
        load_recipe("joint-loss", ["alternation.apn_objective=activation"])
