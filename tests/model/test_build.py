"""Networks that a recipe cannot have are refused when they are built."""

from __future__ import annotations

import pytest

from leafzoom.errors import RecipeError
from leafzoom.model.build import build_racnn
from leafzoom.recipe import load_recipe
from network_helpers import LABELS, small_racnn


@pytest.mark.parametrize(
    ("name", "size"), [("test_vit", 160), ("swin_tiny_patch4_window7_224", 224)]
)
def test_backbones_without_a_map_are_refused(name: str, size: int) -> None:
    changes = [f"model.backbone={name}", "model.pretrained=none", f"model.input_size={size}"]
    with pytest.raises(RecipeError, match="not a square map"):
        build_racnn(load_recipe("default", changes), LABELS)


def test_a_map_of_one_cell_cannot_be_normalised_over_cells() -> None:
    with pytest.raises(RecipeError, match="input_size 32 has one place"):
        small_racnn(
            "model.apn_normalise=places",
            "model.backbone=tf_efficientnet_lite0",
            "model.input_size=32",
        )
