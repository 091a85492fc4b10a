"""Recipes are checked: impossible values are refused, with the key and what is allowed."""

from __future__ import annotations

import pytest

from leafzoom.errors import RecipeError
from leafzoom.recipe import load_recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.zoom=1", "unknown key model.zoom; the keys there are backbone"),
        ("zoom=1", "unknown key zoom; the keys there are name, seed"),
        ("model.zoom_bounds=[0.9, 0.2]", "0 < least <= greatest <= 1, not 0.9, 0.2"),
        ("model.zoom_bounds=[1, 1]", "no box that zooms"),
        ("model.scales=1", "model.scales: .*greater than or equal to 2, not 1"),
        ("model.input_size=512", "source_size 256 is smaller than model.input_size 512"),
        (
            "fine_tuning.optimizer.learning_rate=0",
            "fine_tuning.optimizer.learning_rate: .*greater than 0",
        ),
        (
            "model.zoom_from=here",
            "model.zoom_from: Input should be 'source' or 'view', not 'here'",
        ),
        ("model.border=0.495", "model.border: .*less than or equal to 0.45"),
        ("data.labels=['a', 'a']", "labels are different words"),
        ("data.labels=['a b']", "labels are different words"),
        ("nothing", "--set takes section.key=value, not 'nothing'"),
        ("seed.x=1", "seed"),
    ],
)
def test_impossible_values_are_refused(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("default", [change])
