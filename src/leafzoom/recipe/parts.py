"""The section of a recipe that is of the multi-attention CNN alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from leafzoom.recipe.fields import STRICT, Fraction, Positive, Weight
from leafzoom.recipe.stages import OptimizerRecipe

__all__ = ["PartsRecipe"]


@dataclass(frozen=True, config=STRICT)
class PartsRecipe:
    """The parts of an MA-CNN, and how its channel grouping learns (Zheng et al. 2017)."""

    number: Annotated[
        int,
        Field(ge=2, le=8, description="Parts that channels are grouped into (Zheng et al.: 4)."),
    ] = 4
    side: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="Side of a part's box as a fraction of the source's (Zheng et al.: 96 of "
            "448 px). The answer does not depend on it.",
        ),
    ] = 96 / 448
    hidden: Annotated[
        int,
        Field(ge=1, le=16384, description="Units between the two layers of each part's grouping."),
    ] = 64
    normalise: Annotated[
        Literal["none", "places"],
        Field(
            description="places: a part's attention depends on where the sum of its channels "
            "differs from its mean over the map; none: on the sum as it is (Zheng et al.), which "
            "leaves every place at least half the peak's attention at the start."
        ),
    ] = "none"
    diversity_weight: Annotated[
        Weight,
        Field(
            description="Weight of the diversity loss beside the distance loss (Zheng et al.: 2)."
        ),
    ] = 2.0
    diversity_margin: Annotated[
        Fraction,
        Field(
            description="Attention of another part, as a share of its sum, that is no overlap yet "
            "(Zheng et al.: 0.02)."
        ),
    ] = 0.02
    grouping_epochs: Annotated[
        Positive, Field(description="Epochs of each phase in which the channel grouping learns.")
    ] = 1
    optimizer: OptimizerRecipe = OptimizerRecipe(learning_rate=1e-3, weight_decay=0.0)
