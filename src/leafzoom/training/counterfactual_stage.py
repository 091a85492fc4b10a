"""The stage of CAL after fine-tuning: the start of its attention, then its phases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from leafzoom.dataset.batches import DatasetPart, plain_batches
from leafzoom.fitting.optimization import Optimization
from leafzoom.model.cal import CAL
from leafzoom.training.counterfactual_phase import CounterfactualPhase
from leafzoom.training.look_metrics import look_metrics
from leafzoom.training.stage_loop import StagePlan
from leafzoom.training.stages import (
    TrainingContext,
    alternation_data,
    alternation_plan,
    copy_plain_backbone,
)

__all__ = ["CounterfactualStage"]

_START_PHOTOGRAPHS = 128  # whose last maps the attention's start is fitted to
_START_BATCH_SIZE = 32


class CounterfactualStage:
    """Backbone, attention and classifier learn together, in the epochs of [alternation]."""

    def __init__(self, context: TrainingContext) -> None:
        self.context = context
        assert isinstance(context.network, CAL)
        self.cal = context.network

    def prepare(self) -> None:
        """Copy the plain backbone, and fit the scale of the attention to its maps."""
        copy_plain_backbone(self.context, self.cal.backbone)
        self.cal.clear_unused_layer()
        self.cal.standardise_attention(self._last_maps())

    def training_data(self) -> DatasetPart:
        """The training part, with soft labels where the recipe has them."""
        return alternation_data(self.context)

    def plan(self) -> StagePlan:
        """One kind of phase."""
        context = self.context
        cal = self.cal
        recipe = context.recipe.alternation
        settings = context.recipe.counterfactual
        steps = recipe.classifier_epochs * context.steps_per_epoch(recipe.batch_size)
        optimization = Optimization(
            [cal.backbone, cal.attention, cal.classifier], recipe.classifier, steps
        )
        phase = CounterfactualPhase(
            cal,
            optimization,
            context.fabric.backward,
            effect_weight=settings.effect_weight,
            centre_weight=settings.centre_weight,
            centre_rate=settings.centre_rate,
            crop_threshold=settings.train_crop_threshold,
            crop_padding=settings.train_crop_padding,
            drop_threshold=settings.drop_threshold,
            frozen_stages=recipe.frozen_stages,
            loss=context.classifier_loss(),
            mixing=context.mixing(),
        )
        return alternation_plan(
            context,
            cal,
            [phase] * recipe.classifier_epochs,
            {"classifier": optimization},
            self._measure,
        )

    @torch.no_grad()
    def _last_maps(self) -> torch.Tensor:
        """The backbone's last maps [n, C, H, W] of photographs spread over the training part."""
        context = self.context
        cal = self.cal.eval()
        rows = context.train_part.rows
        count = min(_START_PHOTOGRAPHS, len(rows))
        chosen = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
        part = replace(context.train_part, rows=chosen)

        maps = []
        for batch in plain_batches(
            part, batch_size=_START_BATCH_SIZE, device=context.fabric.device
        ):
            view = cal.whole_view(cal.normalise(batch.images))
            maps.append(cal.backbone(view.image).last_map)
        return torch.cat(maps)

    def _measure(self, part: DatasetPart) -> dict[str, float]:
        """The metrics of both looks and of their mean, which is the published answer."""
        return look_metrics(
            self.context,
            self.cal,
            part,
            "all",
            lambda outputs: np.mean(outputs.logits, axis=0, dtype=np.float32),
        )
