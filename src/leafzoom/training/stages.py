"""The three stages of a training (§3.3): fine-tuning, APN warm-up, alternation.

Each stage knows what comes before its first batch, on which data it trains, and its phases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from lightning.fabric import Fabric
from torch import nn

from leafzoom.dataset.batches import DatasetPart, batch_count
from leafzoom.fitting.optimization import Optimization
from leafzoom.fitting.scale_outputs import backbone_logits, joined_outputs, scale_outputs
from leafzoom.labels import LabelSet
from leafzoom.model.backbone import Backbone
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.losses import label_weights
from leafzoom.model.pretrained import load_backbone
from leafzoom.model.racnn import RACNN
from leafzoom.model_file.checkpoint import Checkpoint, load_part
from leafzoom.recipe import Recipe
from leafzoom.training.alternation import plan_alternation
from leafzoom.training.checks import conflicting_apn_normalisation
from leafzoom.training.classifier_loss import (
    ClassifierLoss,
    label_combinations,
    label_frequencies,
)
from leafzoom.training.mixing import Mixing
from leafzoom.training.phases import FineTuningPhase, Phase
from leafzoom.training.processes import by_the_first, first_before_others, shared_outputs
from leafzoom.training.soft_labels import with_soft_labels
from leafzoom.training.stage_loop import PartMetrics, StagePlan
from leafzoom.training.teachers import Teacher
from leafzoom.training.validation_metrics import validation_metrics
from leafzoom.training.warm_up import WarmUpPhase
from leafzoom.training.weight_average import WeightAverage

__all__ = [
    "AlternationStage",
    "FineTuningStage",
    "Stage",
    "TrainingContext",
    "WarmUpStage",
    "alternation_data",
    "alternation_plan",
    "copy_plain_backbone",
]


_TRAINING_SAMPLE = 500  # photographs at most whose metrics are logged after every epoch

Measure = Callable[[DatasetPart], dict[str, float]]
"""Computes the metrics of a part of the data, in eval()."""


@dataclass(frozen=True)
class TrainingContext:
    """What all stages of a training share.

    `network`: of the recipe's framework. `backbone`: the plain one, of which every scale starts as
    a copy. `init`: the checkpoint of `--init`. `out`: the run's folder. `echo`: prints a line for
    people. `frozen`: the photographs are so few that the scales stay as they start (see
    `Recipe.freezes_scales`). `teachers`: whose probabilities are the soft labels.
    `validation_part`: empty where nothing is held out.
    """

    fabric: Fabric
    recipe: Recipe
    labels: LabelSet
    network: AttentionNetwork
    backbone: Backbone
    train_part: DatasetPart
    validation_part: DatasetPart
    init: Checkpoint | None
    out: Path
    echo: Callable[[str], None]
    frozen: bool = False
    teachers: tuple[Teacher, ...] = ()

    @property
    def racnn(self) -> RACNN:
        """The network, in the stages that are of an RA-CNN alone."""
        assert isinstance(self.network, RACNN)
        return self.network

    @property
    def holds_out(self) -> bool:
        """Whether there is a validation part, which chooses epochs and fits decisions."""
        return len(self.validation_part) > 0

    @property
    def training_sample(self) -> DatasetPart:
        """A fixed sample of the training part, spread over it, that every epoch is measured on.

        No larger than the validation part, so that it costs no more than a validation.
        """
        rows = self.train_part.rows
        validating = len(self.validation_part) or _TRAINING_SAMPLE
        count = min(_TRAINING_SAMPLE, len(rows), validating)
        spread = np.linspace(0, len(rows) - 1, count).astype(int)
        return replace(self.train_part, rows=rows[spread])

    def metrics_of_parts(self, measure: Measure) -> PartMetrics:
        """The validation and training metrics of a stage, from its metrics of any part."""
        validation_part = self.validation_part
        sample = self.training_sample

        # The same numbers everywhere, so that all processes choose the same epoch.
        def measured(part: DatasetPart) -> dict[str, float]:
            metrics = measure(part)
            return by_the_first(self.fabric, lambda: metrics)

        return PartMetrics(
            validate=(lambda: measured(validation_part)) if self.holds_out else None,
            measure_training=lambda: measured(sample),
        )

    def steps_per_epoch(self, batch_size: int) -> int:
        """How many batches an epoch over the training part has."""
        return batch_count(len(self.train_part), batch_size)

    def fine_tuning_loss(self) -> ClassifierLoss:
        """The loss of the plain backbone."""
        single_label = self.labels.single_label
        weights = label_weights(
            self.train_part.part_targets,
            self.recipe.data.class_weights,
            single_label=single_label,
        )
        return ClassifierLoss(
            weights.to(self.fabric.device) if weights else None, single_label=single_label
        )

    def classifier_loss(self) -> ClassifierLoss:
        """The loss of the scales' classifiers."""
        recipe = self.recipe.alternation
        device = self.fabric.device
        targets = self.train_part.part_targets

        # Combinations are possible or not as for a decision.
        known = np.concatenate([targets, self.validation_part.part_targets])
        combinations = label_combinations(self.labels, known, device)
        return replace(
            self.fine_tuning_loss(),
            smoothing=recipe.label_smoothing,
            frequencies=label_frequencies(targets, device),
            combination_weight=recipe.combination_loss,
            combinations=combinations,
        )

    def mixing(self) -> Mixing | None:
        """How batches are mixed that classifiers learn from; None where they are not."""
        recipe = self.recipe.augmentation
        return Mixing(recipe.mix, recipe.mix_method, recipe.mix_alpha) if recipe.mix else None


class Stage(Protocol):
    """One stage of a training."""

    def prepare(self) -> None:
        """Set up the networks before the first batch; not called when a run is resumed here."""

    def training_data(self) -> DatasetPart:
        """The photographs, with the targets that the stage learns."""

    def plan(self) -> StagePlan:
        """The phases, with new optimizers."""


class FineTuningStage:
    """The plain backbone: the baseline of table 1, and the start of every scale."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context

    def prepare(self) -> None:
        """Nothing: the backbone has its start weights."""

    def training_data(self) -> DatasetPart:
        """The training part."""
        return self.context.train_part

    def plan(self) -> StagePlan:
        """One kind of phase."""
        context = self.context
        recipe = context.recipe.fine_tuning
        steps = recipe.epochs * context.steps_per_epoch(recipe.batch_size)
        optimization = Optimization([context.backbone], recipe.optimizer, steps)

        # One phase for each size of the view, over equal parts of the epochs.
        loss = context.fine_tuning_loss()
        phases = [
            FineTuningPhase(
                context.network,
                context.backbone,
                optimization,
                context.fabric.backward,
                input_size=input_size,
                loss=loss,
                mixing=context.mixing(),
            )
            for input_size in recipe.input_sizes or (context.recipe.model.input_size,)
        ]
        epochs = range(recipe.epochs)
        return StagePlan(
            name="fine_tuning",
            phases=[phases[epoch * len(phases) // recipe.epochs] for epoch in epochs],
            module=context.backbone,
            optimizations={"backbone": optimization},
            metrics=context.metrics_of_parts(self._measure),
            batch_size=recipe.batch_size,
            patience=recipe.patience,
            average=_average_of(context.backbone, recipe.weight_average),
        )

    def _measure(self, part: DatasetPart) -> dict[str, float]:
        context = self.context
        fabric = context.fabric
        shares = shared_outputs(
            fabric,
            part,
            lambda share: backbone_logits(fabric, context.network, context.backbone, share),
        )
        logits = np.concatenate(shares)
        single_label = context.labels.single_label
        return validation_metrics((logits,), (), part.part_targets, single_label=single_label)


class WarmUpStage:
    """The APNs learn places: response maxima, class activation maps, or the centre."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context

    def prepare(self) -> None:
        """Give every scale its start: a copy of the plain backbone, or the scales of `--init`."""
        context = self.context

        # Without fine-tuning, the scales and APNs of `--init` are trained on.
        takes_over = context.init is not None and not context.recipe.fine_tuning.epochs
        for number, scale in enumerate(context.racnn.backbones, start=1):
            assert isinstance(scale, Backbone)
            part = f"scale{number}"
            if takes_over and context.init is not None and part in context.init.parts:
                load_backbone(scale, context.labels.names, context.init, part)
                if context.recipe.model.batch_norm == "fold":
                    scale.fold_batch_norm()
            else:
                copy_plain_backbone(context, scale)

        if takes_over and context.init is not None:
            self._take_over_apns(context.init)

    def training_data(self) -> DatasetPart:
        """The training part."""
        return self.context.train_part

    def plan(self) -> StagePlan:
        """One kind of phase."""
        context = self.context
        recipe = context.recipe.warm_up
        steps = recipe.epochs * context.steps_per_epoch(recipe.batch_size)
        optimization = Optimization(list(context.racnn.apns), recipe.optimizer, steps)
        phase = WarmUpPhase(
            context.racnn,
            optimization,
            context.fabric.backward,
            target=recipe.target,
            size_target=recipe.size_target,
        )
        return StagePlan(
            name="warm_up",
            phases=[phase] * recipe.epochs,
            module=context.racnn,
            optimizations={"apn": optimization},
            metrics=context.metrics_of_parts(partial(_scale_metrics, context)),
            batch_size=recipe.batch_size,
        )

    def _take_over_apns(self, init: Checkpoint) -> None:
        """Load the APNs of `--init`, unless they read their maps in another way."""
        context = self.context
        stored = conflicting_apn_normalisation(init, context.recipe)
        if stored is not None:
            context.echo(
                f"{init.path}: its APNs read maps with model.apn_normalise {stored}: they start "
                "from random weights"
            )
            return

        for number, apn in enumerate(context.racnn.apns, start=1):
            part = f"apn{number}"
            if part in init.parts:
                load_part(apn, init.part(part), f"{init.path}: {part}")


class AlternationStage:
    """The scales and the APNs take turns (see `plan_alternation`)."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context

    def prepare(self) -> None:
        """Nothing: the warm-up has left every part where this stage starts."""

    def training_data(self) -> DatasetPart:
        """The training part, with soft labels where the recipe has them."""
        return alternation_data(self.context)

    def plan(self) -> StagePlan:
        """Classifier and APN phases in turn."""
        context = self.context
        recipe = context.recipe.alternation
        if context.frozen:
            return _nothing_to_train(context)

        steps = context.steps_per_epoch(recipe.batch_size)
        alternation = plan_alternation(
            context.recipe,
            context.racnn,
            steps,
            context.fabric.backward,
            context.classifier_loss(),
            context.mixing(),
        )
        return alternation_plan(
            context,
            context.racnn,
            alternation.phases,
            {"classifier": alternation.classifier, "apn": alternation.apn},
            partial(_scale_metrics, context),
        )


def alternation_plan(
    context: TrainingContext,
    module: nn.Module,
    phases: Sequence[Phase],
    optimizations: dict[str, Optimization],
    measure: Measure,
) -> StagePlan:
    """The plan of [alternation]: phases of a module, with its batch size, patience and average.

    `measure`: the metrics of a part, by their names.
    """
    recipe = context.recipe.alternation
    return StagePlan(
        name="alternation",
        phases=phases,
        module=module,
        optimizations=optimizations,
        metrics=context.metrics_of_parts(measure),
        batch_size=recipe.batch_size,
        patience=recipe.patience,
        average=_average_of(module, recipe.weight_average),
    )


def alternation_data(context: TrainingContext) -> DatasetPart:
    """The training part of the alternation, with soft labels where the recipe has them."""
    weight = context.recipe.alternation.soft_labels
    if not weight or not context.teachers or context.frozen:
        return context.train_part
    stored = context.out / "soft-labels.npy"
    with first_before_others(context.fabric):
        return with_soft_labels(
            context.fabric, context.teachers, context.train_part, weight, stored, context.echo
        )


def copy_plain_backbone(context: TrainingContext, backbone: Backbone) -> None:
    """Give a backbone the plain one's weights, with batch norms folded if the recipe says so."""
    plain = context.backbone.state_dict()
    backbone.match_batch_norm(plain)
    backbone.load_state_dict(plain)

    # After its weights are loaded, because those may come with batch norms.
    if context.recipe.model.batch_norm == "fold":
        backbone.fold_batch_norm()


def _average_of(module: nn.Module, decay: float) -> WeightAverage | None:
    """A moving average of a module's weights; None where the recipe has none."""
    return WeightAverage(module, decay) if decay else None


def _nothing_to_train(context: TrainingContext) -> StagePlan:
    """An alternation of no epochs."""
    return StagePlan(
        name="alternation",
        phases=[],
        module=context.racnn,
        optimizations={},
        metrics=context.metrics_of_parts(partial(_scale_metrics, context)),
        batch_size=context.recipe.alternation.batch_size,
    )


def _scale_metrics(context: TrainingContext, part: DatasetPart) -> dict[str, float]:
    """The metrics of all scales on a part."""
    fabric = context.fabric
    shares = shared_outputs(fabric, part, lambda share: scale_outputs(fabric, context.racnn, share))
    outputs = joined_outputs(shares)
    recipe = context.recipe.alternation
    return validation_metrics(
        outputs.logits,
        outputs.boxes,
        part.part_targets,
        margin=recipe.margin,
        ranking_labels=recipe.ranking_labels,
        single_label=context.labels.single_label,
    )
