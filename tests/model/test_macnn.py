"""The MA-CNN: its attention against slow loops, its frames, its gradients."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.build import build_fusions, build_macnn
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model.macnn import MACNN, PartState, attention_maps, part_descriptors, peaks
from leafzoom.model_file.outputs import head_names
from leafzoom.recipe import load_recipe
from model.slow_reference import slow_attention
from network_helpers import LABELS, MA_TINY, random_batch, small_macnn


def fused(*changes: str) -> FusedNetwork:
    """The whole tiny network, in eval(), with noise on its weights: no two parts are alike."""
    recipe = load_recipe("ma-cnn", [*MA_TINY, *changes])
    macnn = build_macnn(recipe, LABELS)
    network = FusedNetwork(macnn, build_fusions(recipe.fusion, macnn), recipe.prediction.tta)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network.eval()


def noncontiguous(*shape: int, generator: torch.Generator) -> Tensor:
    """A random float64 tensor whose last axes are strided."""
    tensor = torch.randn(*shape, 2, dtype=torch.float64, generator=generator)[..., 0]
    assert not tensor.is_contiguous()
    return tensor


@pytest.mark.parametrize("normalise", ["none", "places"])
def test_attention_and_descriptors_are_those_of_slow_loops(
    normalise: Literal["none", "places"], generator: torch.Generator
) -> None:
    features = noncontiguous(2, 6, 3, 4, generator=generator)
    weights = noncontiguous(2, 3, 6, generator=generator)

    scores, attention = attention_maps(features, weights, normalise)
    descriptors = part_descriptors(features, attention)

    # The attention is computed in float32 whatever the network's precision.
    expected, expected_descriptors = slow_attention(
        features, weights, centred=normalise == "places"
    )
    torch.testing.assert_close(attention.double(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(descriptors, expected_descriptors, rtol=1e-5, atol=1e-6)
    assert torch.equal(scores.flatten(2).argmax(dim=2), expected.flatten(2).argmax(dim=2))


def test_sums_of_attention_are_one_where_the_sigmoid_is_full(generator: torch.Generator) -> None:
    """The peak is that of the scores, where the attention is flat."""
    features = torch.rand(1, 8, 4, 4, generator=generator) * 1e3
    scores, attention = attention_maps(features, torch.ones(1, 2, 8))

    torch.testing.assert_close(attention, torch.full_like(attention, 1 / 16))
    assert len(scores.unique()) == 16


@pytest.mark.parametrize("normalise", ["none", "places"])
def test_gradients_of_attention_are_those_of_finite_differences(
    normalise: Literal["none", "places"],
    generator: torch.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    features = noncontiguous(2, 4, 3, 2, generator=generator).requires_grad_()
    weights = noncontiguous(2, 3, 4, generator=generator).requires_grad_()

    def outputs(features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        _, attention = attention_maps(features, weights, normalise)
        return attention, part_descriptors(features, attention)

    assert torch.autograd.gradcheck(outputs, (features, weights))


def test_peaks_are_x_and_y(generator: torch.Generator) -> None:
    maps = torch.rand(2, 3, 4, 5, generator=generator)
    maps[1, 2, 0, 4] = 2.0
    found = peaks(maps)
    assert found.shape == (2, 3, 2)
    torch.testing.assert_close(found[1, 2], torch.tensor([4.5 / 5, 0.5 / 4]))


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("tta", [1, 2])
def test_shapes_and_heads(parts: int, tta: int) -> None:
    network = fused(f"parts.number={parts}", f"prediction.tta={tta}")
    sources = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)

    with torch.no_grad():
        output = network(sources)

    assert tuple(output.logits) == head_names(1 + parts, "ma-cnn")
    assert tuple(output.logits)[-2:] == (f"part{parts}", "fusion12345"[: 7 + parts])
    assert all(logits.shape == (2, LABELS) for logits in output.logits.values())
    assert [box.shape for box in output.boxes] == [(2, 3)] * (1 + parts)
    assert output.boxes[0].tolist() == [[48.0, 48.0, 48.0]] * 2
    assert len({tuple(logits.flatten().tolist()) for logits in output.logits.values()}) == parts + 2


def test_boxes_are_around_the_peaks_and_inside(generator: torch.Generator) -> None:
    macnn = small_macnn("parts.side=0.4")
    scores = torch.zeros(3, 4, 4)
    scores[0, 1, 2] = scores[1, 0, 0] = scores[2, 3, 1] = 1.0

    boxes = macnn.part_boxes(scores, 100)

    # Cells of 25 px; the half side is 20 px, and the corner's box is moved inside.
    expected = [[62.5, 37.5, 20.0], [20.0, 20.0, 20.0], [37.5, 80.0, 20.0]]
    torch.testing.assert_close(boxes, torch.tensor(expected))


def test_a_mirrored_source_has_mirrored_parts() -> None:
    """So a part that lies to the left is not written down as one to the right."""
    network = fused()
    sources = torch.randint(0, 256, (4, 96, 96, 3), dtype=torch.uint8)

    with torch.no_grad():
        macnn = network.attention_network
        images = macnn.normalise_pixels(sources)
        plain = macnn(images)
        mirrored = macnn(images.flip(3))
        both = macnn(images, 2)

    for state, double, flipped in zip(plain, both, mirrored, strict=True):
        torch.testing.assert_close(double.logits, torch.cat([state.logits, flipped.logits]))
        torch.testing.assert_close(double.boxes, torch.cat([state.boxes, flipped.boxes]))


def test_what_each_loss_reaches() -> None:
    macnn = small_macnn().train()
    images, _ = random_batch()

    def reached(loss: Tensor) -> set[str]:
        macnn.zero_grad(set_to_none=True)
        loss.sum().backward()
        names = [name for name, p in macnn.named_parameters() if p.grad is not None]
        return {".".join(name.split(".")[:2]) for name in names}

    def states() -> tuple[PartState, ...]:
        return macnn(macnn.normalise(images))

    assert reached(states()[0].logits) == {"backbones.0"}
    grouping = {"grouping.layers"}
    assert reached(states()[2].logits) == {"backbones.0", "part_classifiers.1"} | grouping
    everything = {"backbones.0", "classifier.weight", "classifier.bias"} | grouping
    assert reached(macnn.all_logits(states())) == everything


def test_each_part_has_layers_of_its_own() -> None:
    macnn = small_macnn()
    images, _ = random_batch()
    whole = macnn.start(macnn.normalise(images))
    weights = macnn.grouping(whole.last_map)
    weights[:, 1].sum().backward()

    gradients = [layer[0].weight.grad for layer in macnn.grouping.layers]
    assert [bool(gradient.any()) for gradient in gradients] == [False, True, False, False]


def test_networks_with_layers_after_the_pooling_are_refused() -> None:
    with pytest.raises(RecipeError, match="vgg11 does more than pooling"):
        small_macnn("model.backbone=vgg11", "model.batch_norm=keep")


def test_what_needs_zooms_refuses_an_ma_cnn() -> None:
    network = fused()
    assert isinstance(network.attention_network, MACNN)
    with pytest.raises(ModelError, match="needs the zooms of an RA-CNN"):
        _ = network.racnn
