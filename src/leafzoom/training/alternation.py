"""Who trains when in the main stage (§3.3.3): from a recipe to phases, one an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from leafzoom.fitting.optimization import Optimization
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import Recipe
from leafzoom.training.apn_phase import ApnPhase, FinerLoss, RankingLoss
from leafzoom.training.classifier_loss import ClassifierLoss
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.expected_loss import ExpectedLossPhase
from leafzoom.training.joint_phase import JointPhase
from leafzoom.training.mixing import Mixing
from leafzoom.training.phases import Backward, Phase
from leafzoom.training.shared_phases import SharedApnPhase, SharedClassifierPhase
from leafzoom.training.warm_up import WarmUpPhase

__all__ = ["Alternation", "plan_alternation"]


@dataclass(frozen=True)
class Alternation:
    """The phases, one an epoch, and the optimizers that they share."""

    phases: list[Phase]
    classifier: Optimization
    apn: Optimization


def plan_alternation(
    recipe: Recipe,
    racnn: RACNN,
    steps_per_epoch: int,
    backward: Backward,
    loss: ClassifierLoss | None = None,
    mixing: Mixing | None = None,
) -> Alternation:
    """Classifier and APN phases in turn, ending on a classifier phase.

    The objectives `shared`, `joint` and `end_to_end` have phases of their own instead (see
    `AlternationRecipe`).

    Args:
        recipe: whose `alternation` is planned.
        racnn: what is trained.
        steps_per_epoch: for the schedules.
        backward: runs a loss's backward pass.
        loss: of the classifiers.
        mixing: of the batches that classifiers learn from; none by default.
    """
    values = recipe.alternation
    classifier_epochs = values.classifier_epochs * (values.rounds + 1)
    all_epochs = classifier_epochs + values.rounds

    # The schedules run over the epochs in which an optimizer is used.
    classifier_scheduled = all_epochs if values.objective == "joint" else classifier_epochs
    has_apn_phases = values.objective in ("alternate", "shared")
    apn_scheduled = values.rounds if has_apn_phases else all_epochs
    classifier = Optimization(
        list(racnn.backbones), values.classifier, steps_per_epoch * classifier_scheduled
    )
    apn = Optimization(list(racnn.apns), values.apn, steps_per_epoch * apn_scheduled)

    # Every epoch trains everything.
    if values.objective == "joint":
        joint = JointPhase(
            racnn,
            [classifier, apn],
            backward,
            margin=values.margin,
            labels=values.ranking_labels,
            reduction=values.ranking_reduction,
            loss=loss,
        )
        return Alternation([joint] * all_epochs, classifier, apn)

    # Rounds of APN and classifier epochs, after a first turn of classifier epochs.
    classifier_phase: Phase
    if values.objective == "shared":
        classifier_phase = SharedClassifierPhase(racnn, classifier, backward, loss=loss)
    else:
        classifier_phase = ClassifierPhase(
            racnn,
            classifier,
            backward,
            frozen_scales=values.frozen_scales,
            frozen_stages=values.frozen_stages,
            box_jitter=values.box_jitter,
            attention_dropping=values.attention_dropping,
            apn=apn if values.objective == "end_to_end" else None,
            loss=loss,
            mixing=mixing,
        )
    classifier_turn = [classifier_phase] * values.classifier_epochs
    apn_phase = _apn_phase(recipe, racnn, apn, backward)
    phases = classifier_turn + [apn_phase, *classifier_turn] * values.rounds
    return Alternation(phases, classifier, apn)


def _apn_phase(recipe: Recipe, racnn: RACNN, apn: Optimization, backward: Backward) -> Phase:
    """The APN phase with the recipe's objective."""
    values = recipe.alternation
    if values.objective == "shared":
        return SharedApnPhase(
            racnn,
            apn,
            backward,
            margin=values.margin,
            labels=values.ranking_labels,
            reduction=values.ranking_reduction,
            single_label=recipe.single_label,
        )

    objective = values.apn_objective
    if objective == "classification":
        return ApnPhase(racnn, apn, backward, FinerLoss(single_label=recipe.single_label))
    if objective == "expected":
        return ExpectedLossPhase(racnn, apn, backward, single_label=recipe.single_label)
    if objective == "activation":
        size_target = recipe.warm_up.size_target
        return WarmUpPhase(racnn, apn, backward, target="activation", size_target=size_target)
    return ApnPhase(racnn, apn, backward, _ranking_loss(recipe))


def _ranking_loss(recipe: Recipe) -> RankingLoss:
    """The ranking loss with the recipe's values."""
    values = recipe.alternation
    return RankingLoss(
        margin=values.margin,
        labels=values.ranking_labels,
        reduction=values.ranking_reduction,
        single_label=recipe.single_label,
    )
