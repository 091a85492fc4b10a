"""The section of a recipe that is of counterfactual attention learning alone."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from leafzoom.recipe.fields import STRICT, Fraction, Weight

__all__ = ["CounterfactualRecipe"]


@dataclass(frozen=True, config=STRICT)
class CounterfactualRecipe:
    """Attention maps, losses and crops of CAL (Rao et al. 2021)."""

    maps: Annotated[int, Field(ge=2, le=64, description="Attention maps (Rao et al.: 32).")] = 32
    effect_weight: Annotated[
        Weight,
        Field(
            description="Weight of the label loss on the effect, the logits minus those of random "
            "attention (Rao et al.: 1; 0 leaves WS-DAN)."
        ),
    ] = 1.0
    centre_weight: Annotated[
        Weight, Field(description="Weight of the centre loss (their code: 1).")
    ] = 1.0
    centre_rate: Annotated[
        Fraction, Field(description="Step of the labels' centres in each batch (their code: 0.05).")
    ] = 0.05
    crop_threshold: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="The second look's box is where the mean attention is at least this share "
            "of its maximum (their code, in validation: 0.1).",
        ),
    ] = 0.1
    crop_padding: Annotated[
        float,
        Field(
            ge=0,
            lt=0.5,
            description="What each side of that box is moved outwards by, as a fraction of the "
            "photograph's side (their code: 0.05).",
        ),
    ] = 0.05
    train_crop_threshold: Annotated[
        tuple[float, float],
        Field(
            description="Range of that share in training, of a random map for each photograph "
            "(their code: 0.4 to 0.6)."
        ),
    ] = (0.4, 0.6)
    train_crop_padding: Annotated[
        float, Field(ge=0, lt=0.5, description="The padding in training (their code: 0.1).")
    ] = 0.1
    drop_threshold: Annotated[
        tuple[float, float],
        Field(
            description="Range of the share of a random map's maximum from which on places are "
            "masked in the dropped view (their code: 0.2 to 0.5)."
        ),
    ] = (0.2, 0.5)

    @model_validator(mode="after")
    def _check_ranges(self) -> CounterfactualRecipe:
        for name in ("train_crop_threshold", "drop_threshold"):
            low, high = getattr(self, name)
            if not 0 < low <= high < 1:
                raise ValueError(
                    f"{name} has to be two shares of the maximum, 0 < least <= greatest < 1, not "
                    f"{low:g}, {high:g}"
                )
        return self
