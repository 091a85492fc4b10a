"""The stage of attention sampling after fine-tuning."""

from __future__ import annotations

import numpy as np

from leafzoom.dataset.batches import DatasetPart
from leafzoom.fitting.optimization import Optimization
from leafzoom.model.attention_sampling import AttentionSampling
from leafzoom.model.backbone import Backbone
from leafzoom.training.look_metrics import look_metrics
from leafzoom.training.sampling_phase import SamplingPhase
from leafzoom.training.stage_loop import StagePlan
from leafzoom.training.stages import (
    TrainingContext,
    alternation_data,
    alternation_plan,
    copy_plain_backbone,
)

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
        return alternation_plan(
            context,
            network,
            [phase] * recipe.classifier_epochs,
            {"classifier": optimization},
            self._measure,
        )

    def _measure(self, part: DatasetPart) -> dict[str, float]:
        """The metrics of the whole, of every patch and of the patches' mean, which answers."""
        return look_metrics(
            self.context,
            self.network,
            part,
            "patches",
            lambda outputs: np.mean(outputs.logits[1:], axis=0, dtype=np.float32),
        )
