"""Who trains when in the main stage (§3.3.3): from a recipe to phases, one an epoch."""

from __future__ import annotations

from leafzoom.model.racnn import RACNN
from leafzoom.recipe import Recipe
from leafzoom.training.expected_loss import ExpectedLossPhase
from leafzoom.training.optimization import Optimization
from leafzoom.training.phases import (
    ApnPhase,
    Backward,
    ClassifierPhase,
    FinerLoss,
    JointPhase,
    Phase,
    RankingLoss,
    WarmUpPhase,
)

__all__ = ["alternation_phases"]


def alternation_phases(
    recipe: Recipe, racnn: RACNN, steps: int, backward: Backward
) -> tuple[list[Phase], dict[str, Optimization]]:
    """Classifier and APN phases in turn, ending on a classifier phase; or what the recipe's objective has instead.

    Args:
        recipe: whose `alternation` it is.
        racnn: what is trained.
        steps: of an epoch.
        backward: runs a loss's backward pass.

    Returns:
        The phases, one an epoch, and their optimizers, `classifier` and `apn`.
    """
    values = recipe.alternation
    classifier_epochs = values.classifier_epochs * (values.rounds + 1)
    epochs = classifier_epochs + values.rounds
    alternating = values.objective == "alternate"
    classifying = epochs if values.objective == "joint" else classifier_epochs
    classifier = Optimization(list(racnn.backbones), values.classifier, steps * classifying)
    apn = Optimization(list(racnn.apns), values.apn, steps * (values.rounds if alternating else epochs))
    optimizations = {"classifier": classifier, "apn": apn}
    if values.objective == "joint":
        joint = JointPhase(
            racnn,
            [classifier, apn],
            backward,
            margin=values.margin,
            labels=values.ranking_labels,
            reduction=values.ranking_reduction,
        )
        return [joint] * epochs, optimizations
    learning = ClassifierPhase(
        racnn,
        classifier,
        backward,
        held_scales=values.held_scales,
        held_stages=values.held_stages,
        box_jitter=values.box_jitter,
        dropping=values.attention_dropping,
        apn=apn if values.objective == "end_to_end" else None,
    )
    turn: list[Phase] = [learning] * values.classifier_epochs
    return turn + [_apn_phase(recipe, racnn, apn, backward), *turn] * values.rounds, optimizations


def _apn_phase(recipe: Recipe, racnn: RACNN, apn: Optimization, backward: Backward) -> Phase:
    """What an APN phase of the recipe is."""
    values = recipe.alternation
    if values.apn_objective == "classification":
        return ApnPhase(racnn, apn, backward, FinerLoss())
    if values.apn_objective == "expected":
        return ExpectedLossPhase(racnn, apn, backward)
    if values.apn_objective == "activation":
        return WarmUpPhase(racnn, apn, backward, target="activation", size_target=recipe.warm_up.size_target)
    ranking = RankingLoss(values.margin, values.ranking_labels, values.ranking_reduction)
    return ApnPhase(racnn, apn, backward, ranking)
