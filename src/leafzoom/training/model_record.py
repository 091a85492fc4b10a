"""The metadata of a training's model files: what they were made from, and how well they do."""

from __future__ import annotations

from leafzoom import __version__
from leafzoom.dataset.split import Split
from leafzoom.fitting.heads import FittedHeads
from leafzoom.model_file.manifest import Manifest
from leafzoom.storage import folder_name
from leafzoom.training.record import RunFacts
from leafzoom.training.stages import TrainingContext

__all__ = ["model_manifest"]


def model_manifest(
    context: TrainingContext, facts: RunFacts, split: Split, heads: FittedHeads | None
) -> Manifest:
    """The metadata of a model file.

    Args:
        context: of the training.
        facts: of the run.
        split: of the training.
        heads: with their decisions; None for the plain backbone alone.
    """
    recipe = context.recipe
    data = {
        **facts.data,
        "split": split.name,
        "split_digest": split.digest(),
        "trained_on": len(context.train_part),
        "selected_on": len(context.validation_part),
        "select_on": split.select_on,
        "cross_validated": context.frozen,
    }
    return Manifest(
        labels=context.labels,
        source_size=recipe.data.source_size,
        input_size=recipe.model.input_size,
        scales=recipe.looks,
        framework=recipe.model.framework,
        decisions=heads.decisions if heads else {},
        recipe=facts.recipe,
        data=data,
        metrics=heads.metrics() if heads else {},
        early_exit=heads.early_exit if heads else None,
        max_source_size=max(recipe.prediction.max_source_size, recipe.data.source_size),
        conformal=heads.conformal if heads else None,
        reference=heads.reference if heads else None,
        confusion=heads.confusion if heads else None,
        name=folder_name(context.out),
        leafzoom_version=__version__,
    )
