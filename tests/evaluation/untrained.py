"""A small network with random weights, and the labels of the rendered leaves."""

from __future__ import annotations

import torch

from conftest import TINY
from leafzoom.labels import LabelSet
from leafzoom.model.build import build_fusions, build_racnn
from leafzoom.model.fusion import FusedNetwork
from leafzoom.recipe import load_recipe

LABELS = LabelSet(
    names=("healthy", "ring_spot", "solid_spot"),
    combinations=((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)),
)


def untrained_network(*changes: str) -> FusedNetwork:
    """The tiny network in eval(), with noise on its weights: no two boxes or answers are alike."""
    torch.manual_seed(0)
    recipe = load_recipe("default", [*TINY, *changes])
    racnn = build_racnn(recipe, len(LABELS.names))
    network = FusedNetwork(racnn, build_fusions(recipe.fusion, racnn))

    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network.eval()
