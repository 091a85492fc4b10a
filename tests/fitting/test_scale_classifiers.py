"""Where the fusions start: at the scales' own classifiers."""

from __future__ import annotations

import pytest
import torch

from conftest import TINY
from leafzoom.fitting.scale_classifiers import mean_classifier
from leafzoom.model.build import build_fusions
from leafzoom.recipe import load_recipe
from network_helpers import RESIDUAL, random_batch, small_racnn


@pytest.mark.parametrize("inputs", ["logits", "descriptors"])
@pytest.mark.parametrize("changes", [(), RESIDUAL])
def test_a_fusion_starts_from_the_scales_classifiers(inputs: str, changes: tuple[str, ...]) -> None:
    """From their mean; with `residual` from the finest scale, which the others are part of."""
    recipe = load_recipe("default", [*TINY, *changes, f"fusion.inputs={inputs}"])
    racnn = small_racnn(*changes).eval()
    fusion = build_fusions(recipe.fusion, racnn)[1]
    images, _ = random_batch()
    prior = mean_classifier(racnn, fusion)
    weight = torch.from_numpy(prior.weight).float()
    bias = torch.from_numpy(prior.bias).float()

    with torch.no_grad():
        states = racnn(racnn.normalise(images))
        fused = fusion.concatenate(states) @ weight.T + bias

    logits = torch.stack([state.logits for state in states])
    expected = logits[-1] if changes else logits.mean(dim=0)
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-4)
