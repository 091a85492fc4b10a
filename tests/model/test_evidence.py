"""Evidence maps sum to the logits, whatever the fusion reads."""

from __future__ import annotations

import pytest
import torch

from conftest import TINY
from leafzoom.model.build import build_fusions
from leafzoom.model.evidence import first_evidence, has_evidence, network_evidence
from leafzoom.model.fusion import FusedNetwork, Fusion
from leafzoom.recipe import load_recipe
from network_helpers import LABELS, RESIDUAL, small_racnn


@pytest.mark.parametrize("inputs", ["descriptors", "logits"])
@pytest.mark.parametrize("normalise", ["none", "l2", "rescale"])
@pytest.mark.parametrize(("tta", "changes"), [(1, ()), (2, RESIDUAL), (4, ())])
def test_evidence_and_bias_sum_to_the_logits(
    inputs: str, normalise: str, tta: int, changes: tuple[str, ...]
) -> None:
    settings = [f"fusion.inputs={inputs}", f"fusion.normalise={normalise}"]
    network = small_network(tta, *settings, *changes)
    sources = torch.randint(0, 256, (3, 96, 96, 3), dtype=torch.uint8)

    with torch.no_grad():
        output = network(sources)
        evidence = network_evidence(network, output.states)
        first = first_evidence(network, output.states[0])

    assert [label_map.shape[:2] for label_map in evidence.maps] == [(3, LABELS)] * 3
    torch.testing.assert_close(evidence.logits(), output.logits["fusion123"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first.logits(), output.logits["scale1"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("axis", [2, 3])
def test_a_mirrored_picture_has_the_mirrored_map(axis: int) -> None:
    network = small_network(4)
    sources = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        evidence = first_evidence(network, network(sources).states[0])
        mirrored = first_evidence(network, network(sources.flip(axis - 1)).states[0])
    torch.testing.assert_close(mirrored.maps[0], evidence.maps[0].flip(axis), atol=1e-4, rtol=1e-3)


def test_only_networks_that_pool_and_add_have_evidence() -> None:
    assert has_evidence(small_network(1))

    network = small_network(1)
    layers = network.racnn.backbones[1].network
    layers.global_pool = torch.nn.Sequential(layers.global_pool, torch.nn.Sigmoid())
    assert not has_evidence(network)


def small_network(tta: int, *changes: str) -> FusedNetwork:
    """The tiny recipe's network, whose fusions have random weights, shifts and scales."""
    recipe = load_recipe("default", [*TINY, *changes])
    racnn = small_racnn(*changes)
    fusions = build_fusions(recipe.fusion, racnn)
    for fusion in fusions:
        assert isinstance(fusion, Fusion)
        torch.nn.init.normal_(fusion.shift)
        torch.nn.init.uniform_(fusion.scale, 0.5, 2)
    return FusedNetwork(racnn, fusions, tta).eval()
