"""The section of a recipe that is of attention sampling alone."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from leafzoom.recipe.fields import STRICT, Weight

__all__ = ["PatchesRecipe"]


@dataclass(frozen=True, config=STRICT)
class PatchesRecipe:
    """Patches and losses of attention sampling (Katharopoulos and Fleuret 2019)."""

    number: Annotated[
        int,
        Field(ge=1, le=8, description="Patches that are looked at (Katharopoulos et al.: 5, 10)."),
    ] = 4
    side: Annotated[
        float, Field(gt=0, lt=1, description="Side of a patch as a fraction of the source's.")
    ] = 0.25
    entropy_weight: Annotated[
        Weight,
        Field(
            description="Weight of the entropy of the attention, which training keeps up "
            "(their code: 0.01)."
        ),
    ] = 0.01
    whole_weight: Annotated[
        Weight,
        Field(
            description="Weight of the label loss of the small view's own head, which the "
            "published model has not; 0: only patches teach."
        ),
    ] = 1.0
