"""The stages of an MA-CNN after fine-tuning: the start of its channel grouping, alternation."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

from leafzoom.dataset.batches import DatasetPart
from leafzoom.fitting.optimization import Optimization
from leafzoom.fitting.scale_outputs import ScaleOutputs
from leafzoom.model.grouping_loss import GroupingLoss
from leafzoom.model.macnn import MACNN
from leafzoom.training.channel_clusters import channel_peaks, cluster_channels
from leafzoom.training.look_metrics import look_metrics
from leafzoom.training.part_phases import GroupingPhase, GroupingStartPhase, PartClassifierPhase
from leafzoom.training.phases import Phase
from leafzoom.training.stage_loop import StagePlan
from leafzoom.training.stages import (
    TrainingContext,
    alternation_data,
    alternation_plan,
    copy_plain_backbone,
)
from leafzoom.training.validation_metrics import Logits

__all__ = ["GroupingStage", "PartAlternationStage"]


class GroupingStage:
    """The channel grouping learns the clusters of channels that respond at the same places."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context
        self.macnn = _macnn(context)

    def prepare(self) -> None:
        """Copy the plain backbone, start every classifier from its linear layer, and cluster."""
        context = self.context
        macnn = self.macnn
        copy_plain_backbone(context, macnn.backbone)
        _start_classifiers(macnn)

        context.echo(f"clustering channels by their peaks in {len(context.train_part)} photographs")
        peaks = channel_peaks(context.fabric, macnn, context.train_part)
        clusters = cluster_channels(peaks, macnn.parts, context.recipe.seed)
        macnn.clusters.copy_(clusters)

        sizes = ", ".join(f"{size:.0f}" for size in clusters.sum(dim=1).tolist())
        context.echo(f"the parts start with {sizes} channels")

    def training_data(self) -> DatasetPart:
        """The training part."""
        return self.context.train_part

    def plan(self) -> StagePlan:
        """One kind of phase."""
        context = self.context
        recipe = context.recipe.warm_up
        steps = recipe.epochs * context.steps_per_epoch(recipe.batch_size)
        optimization = Optimization([self.macnn.grouping], recipe.optimizer, steps)
        phase = GroupingStartPhase(self.macnn, optimization, context.fabric.backward)
        return StagePlan(
            name="grouping",
            phases=[phase] * recipe.epochs,
            module=self.macnn,
            optimizations={"grouping": optimization},
            metrics=context.metrics_of_parts(partial(_part_metrics, context)),
            batch_size=recipe.batch_size,
        )


class PartAlternationStage:
    """The channel grouping and the classifiers take turns, at last the classifiers."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context
        self.macnn = _macnn(context)

    def prepare(self) -> None:
        """Nothing: the stage before has left every part where this stage starts."""

    def training_data(self) -> DatasetPart:
        """The training part, with soft labels where the recipe has them."""
        return alternation_data(self.context)

    def plan(self) -> StagePlan:
        """Rounds of grouping and classifier phases; without rounds, classifier phases alone."""
        context = self.context
        macnn = self.macnn
        recipe = context.recipe.alternation
        parts = context.recipe.parts

        # The schedules run over the epochs in which an optimizer is used.
        steps = context.steps_per_epoch(recipe.batch_size)
        classifier = Optimization(
            [macnn.backbone, macnn.part_classifiers, macnn.classifier],
            recipe.classifier,
            steps * recipe.classifier_epochs * max(recipe.rounds, 1),
        )
        grouping = Optimization(
            [macnn.grouping], parts.optimizer, steps * parts.grouping_epochs * recipe.rounds
        )

        grouping_phase = GroupingPhase(
            macnn,
            grouping,
            context.fabric.backward,
            GroupingLoss(parts.diversity_weight, parts.diversity_margin),
        )
        classifier_phase = PartClassifierPhase(
            macnn,
            classifier,
            context.fabric.backward,
            frozen_stages=recipe.frozen_stages,
            loss=context.classifier_loss(),
            mixing=context.mixing(),
        )
        grouping_turn: list[Phase] = [grouping_phase] * parts.grouping_epochs
        classifier_turn: list[Phase] = [classifier_phase] * recipe.classifier_epochs
        phases = (grouping_turn + classifier_turn) * recipe.rounds or classifier_turn
        return alternation_plan(
            context,
            macnn,
            phases,
            {"classifier": classifier, "grouping": grouping},
            partial(_part_metrics, context),
        )


def _macnn(context: TrainingContext) -> MACNN:
    """The network of the training."""
    assert isinstance(context.network, MACNN)
    return context.network


@torch.no_grad()
def _start_classifiers(macnn: MACNN) -> None:
    """Start each part's classifier as the whole's, and that of all descriptors as their mean.

    A part's descriptor is a mean of the same map as the whole's.
    """
    whole = macnn.backbone.classifier_layer()
    for classifier in macnn.part_classifiers:
        assert isinstance(classifier, nn.Linear)
        classifier.load_state_dict(whole.state_dict())
    macnn.classifier.weight.copy_(whole.weight.repeat(1, macnn.scales) / macnn.scales)
    macnn.classifier.bias.copy_(whole.bias)


def _part_metrics(context: TrainingContext, part: DatasetPart) -> dict[str, float]:
    """The metrics of the whole, of every part and of all together on photographs."""
    macnn = _macnn(context)
    return look_metrics(context, macnn, part, "all", partial(_all_logits, macnn))


@torch.no_grad()
def _all_logits(macnn: MACNN, outputs: ScaleOutputs) -> Logits:
    """The logits [n, L] of the classifier of all descriptors."""
    descriptors = torch.from_numpy(outputs.descriptors).to(macnn.mean.device)
    logits: Logits = macnn.classifier(descriptors).float().cpu().numpy().astype(np.float32)
    return logits
