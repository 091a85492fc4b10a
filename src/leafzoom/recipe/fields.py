"""Constrained types that the sections of a recipe share."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

__all__ = [
    "STRICT",
    "BatchSize",
    "Count",
    "Decay",
    "Fraction",
    "InputSize",
    "Positive",
    "Rate",
    "Weight",
]

STRICT = ConfigDict(extra="forbid")
"""Of every section: an unknown key is an error."""

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BatchSize = Annotated[Positive, Field(description="Photographs in a batch.")]
InputSize = Annotated[int, Field(ge=32, le=1024)]
Decay = Annotated[
    float,
    Field(
        ge=0,
        lt=1,
        description="Decay a step of a moving average of the weights, which is validated, selected "
        "and kept in place of the weights themselves; after n steps it is (1 + n) / (10 + n) at "
        "most. 0: no average.",
    ),
]
