"""Constrained types that the sections of a recipe share."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

__all__ = ["STRICT", "BatchSize", "Count", "Fraction", "Positive", "Rate", "Weight"]

STRICT = ConfigDict(extra="forbid")
"""Of every section: an unknown key is an error."""

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
BatchSize = Annotated[Positive, Field(description="Photographs in a batch.")]
