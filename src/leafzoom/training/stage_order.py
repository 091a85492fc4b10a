"""The stages of a training in their order, by the recipe's framework."""

from __future__ import annotations

from collections.abc import Sequence

from leafzoom.training.counterfactual_stage import CounterfactualStage
from leafzoom.training.part_stages import GroupingStage, PartAlternationStage
from leafzoom.training.sampling_stage import SamplingStage
from leafzoom.training.stages import (
    AlternationStage,
    FineTuningStage,
    Stage,
    TrainingContext,
    WarmUpStage,
)

__all__ = ["training_stages"]


def training_stages(context: TrainingContext) -> Sequence[Stage]:
    """The stages in their order: all frameworks start from the fine-tuned backbone."""
    if context.recipe.model.framework == "ma-cnn":
        return (FineTuningStage(context), GroupingStage(context), PartAlternationStage(context))
    if context.recipe.model.framework == "attention-sampling":
        return (FineTuningStage(context), SamplingStage(context))
    if context.recipe.model.framework == "cal":
        return (FineTuningStage(context), CounterfactualStage(context))
    return (FineTuningStage(context), WarmUpStage(context), AlternationStage(context))
