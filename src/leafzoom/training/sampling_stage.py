"""The stage of attention sampling after fine-tuning."""

from __future__ import annotations

import numpy as np

from leafzoom.dataset.batches import DatasetPart
from leafzoom.fitting.optimization import Optimization
from leafzoom.fitting.scale_outputs import scale_outputs
from leafzoom.model.attention_sampling import AttentionSampling
from leafzoom.model.backbone import Backbone
from leafzoom.model_file.outputs import look_heads
from leafzoom.training.sampling_phase import SamplingPhase
from leafzoom.training.stage_loop import StagePlan
from leafzoom.training.stages import (
    TrainingContext,
    alternation_data,
    average_of,
    copy_plain_backbone,
)
from leafzoom.training.validation_metrics import part_metrics

__all__ = ["SamplingStage"]


class SamplingStage:
    """Both backbones and the attention learn together, in the epochs of [alternation]."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context
        assert isinstance(context.network, AttentionSampling)
        self.network = context.network

    def prepare(self) -> None:
        """Start both backbones as copies of the plain one."""
        for backbone in self.network.backbones:
            assert isinstance(backbone, Backbone)
            copy_plain_backbone(self.context, backbone)

    def training_data(self) -> DatasetPart:
        """The training part, with soft labels where the recipe has them."""
        return alternation_data(self.context)

    def plan(self) -> StagePlan:
        """One kind of phase."""
        context = self.context
        network = self.network
        recipe = context.recipe.alternation
        steps = recipe.classifier_epochs * context.steps_per_epoch(recipe.batch_size)
        optimization = Optimization(
            [network.backbones, network.attention], recipe.classifier, steps
        )
        phase = SamplingPhase(
            network,
            optimization,
            context.fabric.backward,
            entropy_weight=context.recipe.patches.entropy_weight,
            whole_weight=context.recipe.patches.whole_weight,
            frozen_stages=recipe.frozen_stages,
            loss=context.classifier_loss(),
            mixing=context.mixing(),
        )
        return StagePlan(
            name="alternation",
            phases=[phase] * recipe.classifier_epochs,
            module=network,
            optimizations={"classifier": optimization},
            metrics=context.metrics_of_parts(self._measure),
            batch_size=recipe.batch_size,
            patience=recipe.patience,
            average=average_of(network, recipe.weight_average),
        )

    def _measure(self, part: DatasetPart) -> dict[str, float]:
        """The metrics of the whole, of every patch and of the patches' mean, which answers."""
        outputs = scale_outputs(self.context.fabric, self.network, part)
        heads = look_heads(self.network.scales, self.network.framework)
        logits = dict(zip(heads, outputs.logits, strict=True))
        logits["patches"] = np.mean(outputs.logits[1:], axis=0, dtype=np.float32)
        return part_metrics(
            logits,
            dict(zip(heads, outputs.boxes, strict=True)),
            part.part_targets,
            single_label=self.context.labels.single_label,
        )
