"""The last stage of a training: heads and decisions, fitted on photographs that were held out.

Few photographs are not held out but cross-validated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.split import Split
from leafzoom.dataset.sufficiency import split_warnings, table_warnings
from leafzoom.dataset.table import Table
from leafzoom.fitting.decision import combination_priors
from leafzoom.fitting.heads import FittedHeads, fit_frozen_heads
from leafzoom.fitting.heads import fit_heads as fit_trained_heads
from leafzoom.training.outliers import Negative, leaf_outliers
from leafzoom.training.stages import TrainingContext

__all__ = ["fit_heads", "fitted_part", "part_lines"]


def part_lines(context: TrainingContext, table: Table, split: Split) -> Iterator[str]:
    """Lines for people: how many photographs do what, and which labels have too few.

    Args:
        context: of the training.
        table: all photographs of the split.
        split: of the training.
    """
    train = len(context.train_part)
    validation = len(context.validation_part)
    kept = f"{len(split.test)} are kept for the test"
    if not context.holds_out:
        yield (
            f"{train} photographs are trained on, and none is held out: the last epoch is kept; "
            f"fusions and the out-of-distribution detector are fitted on these; every threshold is "
            f"0.5; {kept}"
        )
        yield from _unused_patience(context)
    elif context.frozen:
        yield (
            f"{train + validation} photographs are few: their linear layers are fitted and "
            f"cross-validated on all of them, and the scales stay as they start; {kept}"
        )
    else:
        yield f"{train} photographs are trained on, {validation} validate, {kept}"

    if context.frozen and context.recipe.data.class_weights != "none":
        yield "data.class_weights has no effect: few photographs' linear layers have none"
    if context.frozen and context.recipe.alternation.soft_labels:
        yield "alternation.soft_labels has no effect: few photographs learn from no teacher"
    for warning in table_warnings(table, context.labels.names):
        yield f"too few: {warning}"
    for warning in split_warnings(table, split, cross_validated=context.frozen):
        yield f"too few: {warning}"


def _unused_patience(context: TrainingContext) -> Iterator[str]:
    """A line for each stage that would end early if there were a validation part."""
    recipe = context.recipe
    for name, patience in (
        ("fine_tuning", recipe.fine_tuning.patience),
        ("alternation", recipe.alternation.patience),
    ):
        if patience:
            yield (
                f"{name}.patience {patience} has no effect without a validation part: all epochs "
                "are trained"
            )


def fit_heads(context: TrainingContext, negatives: Sequence[Negative] = ()) -> FittedHeads:
    """Fit the heads on the validation part, or cross-validated on all of few photographs.

    Where nothing is held out, on the training part.

    The outlier detector comes first, from these negatives or from the start's checkpoint.
    """
    recipe = context.recipe
    known = np.concatenate([context.train_part.part_targets, context.validation_part.part_targets])
    priors = combination_priors(context.labels, known)

    outliers = leaf_outliers(context, fitted_part(context), negatives)

    if context.frozen:
        return fit_frozen_heads(
            context.fabric,
            context.racnn,
            context.backbone,
            recipe.fusion,
            context.labels,
            tta=recipe.prediction.tta,
            part=fitted_part(context),
            seed=recipe.seed,
            priors=priors,
            outliers=outliers,
        )
    return fit_trained_heads(
        context.fabric,
        context.network,
        context.backbone,
        recipe.fusion,
        context.labels,
        tta=recipe.prediction.tta,
        train_part=context.train_part,
        validation_part=context.validation_part,
        seed=recipe.seed,
        priors=priors,
        outliers=outliers,
    )


def fitted_part(context: TrainingContext) -> DatasetPart:
    """The photographs that the heads and decisions are fitted on."""
    validation_part = context.validation_part
    if not context.holds_out:
        return context.train_part
    if not context.frozen:
        return validation_part
    rows = np.concatenate([context.train_part.rows, validation_part.rows])
    return replace(validation_part, rows=np.sort(rows))
