"""CAL: its pooling and boxes against slow loops, its frames, its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.build import build_cal, build_fusions
from leafzoom.model.cal import CAL, attention_boxes, bilinear_pooling, random_attention
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.outputs import head_names
from leafzoom.recipe import load_recipe
from model.slow_reference import slow_attention_box, slow_bilinear_pooling
from network_helpers import CAL_TINY, LABELS, random_batch, small_cal


def fused(*changes: str) -> FusedNetwork:
    """The whole tiny network, in eval(), with noise on what is not unused."""
    torch.manual_seed(0)
    recipe = load_recipe("cal", [*CAL_TINY, *changes])
    cal = build_cal(recipe, LABELS)
    network = FusedNetwork(cal, build_fusions(recipe.fusion, cal), recipe.prediction.tta)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    cal.clear_unused_layer()
    return network.eval()


def noncontiguous(*shape: int, generator: torch.Generator) -> Tensor:
    """A random float64 tensor whose last axes are strided."""
    tensor = torch.randn(*shape, 2, dtype=torch.float64, generator=generator)[..., 0]
    assert not tensor.is_contiguous()
    return tensor


def test_pooling_is_that_of_slow_loops(generator: torch.Generator) -> None:
    features = noncontiguous(2, 5, 3, 4, generator=generator)
    attention = noncontiguous(2, 3, 3, 4, generator=generator).relu()

    pooled = bilinear_pooling(features, attention)

    torch.testing.assert_close(pooled, slow_bilinear_pooling(features, attention))
    torch.testing.assert_close(pooled.norm(dim=1), torch.ones(2, dtype=torch.float64))
    assert (pooled < 0).any()


def test_gradients_of_pooling_are_those_of_finite_differences(generator: torch.Generator) -> None:
    features = noncontiguous(2, 3, 3, 2, generator=generator).requires_grad_()
    attention = noncontiguous(2, 2, 3, 2, generator=generator).abs().requires_grad_()
    assert torch.autograd.gradcheck(bilinear_pooling, (features, attention))


def test_gradients_stay_finite_where_a_map_is_zero(generator: torch.Generator) -> None:
    features = torch.rand(1, 3, 2, 2, generator=generator)
    attention = torch.zeros(1, 2, 2, 2, requires_grad=True)
    bilinear_pooling(features, attention).sum().backward()
    assert attention.grad is not None
    assert torch.isfinite(attention.grad).all()


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("padding", [0.0, 0.1])
def test_boxes_are_those_of_slow_loops(
    threshold: float, padding: float, generator: torch.Generator
) -> None:
    """Each box is that of the enlarged map, to within two of the loops' steps."""
    maps = torch.randn(4, 5, 4, dtype=torch.float64, generator=generator).relu()
    maps[0] = 0.0
    maps[0, 4, 0] = 1.0

    boxes = attention_boxes(maps, threshold, padding)

    slow = [slow_attention_box(one, threshold, padding) for one in maps]
    torch.testing.assert_close(boxes, torch.tensor(slow, dtype=torch.float64), rtol=0, atol=0.02)
    assert (boxes[:, :2] - boxes[:, 2:]).min() >= -1e-9
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 1 + 1e-9


def test_each_photograph_can_have_its_own_threshold(generator: torch.Generator) -> None:
    maps = torch.rand(1, 6, 6, generator=generator).expand(2, -1, -1)
    both = attention_boxes(maps, torch.tensor([0.2, 0.95]), 0.0)
    torch.testing.assert_close(both[:1], attention_boxes(maps[:1], 0.2, 0.0))
    torch.testing.assert_close(both[1:], attention_boxes(maps[1:], 0.95, 0.0))
    assert both[1, 2] < both[0, 2]


def test_a_map_of_zeros_gives_the_whole() -> None:
    assert attention_boxes(torch.zeros(1, 3, 3), 0.1, 0.0).tolist() == [[0.5, 0.5, 0.5]]


def test_random_attention_has_the_mean_one() -> None:
    torch.manual_seed(0)
    attention = random_attention(torch.zeros(8, 4, 20, 20))
    assert 0 <= attention.min() < 0.01
    assert 1.99 < attention.max() <= 2
    assert attention.mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("tta", [1, 2])
def test_shapes_and_heads(tta: int) -> None:
    network = fused(f"prediction.tta={tta}")
    sources = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)

    with torch.no_grad():
        output = network(sources)

    assert tuple(output.logits) == head_names(2, "cal") == ("scale1", "scale2", "fusion12")
    assert all(logits.shape == (2, LABELS) for logits in output.logits.values())
    assert [box.shape for box in output.boxes] == [(2, 3)] * 2
    assert output.boxes[0].tolist() == [[48.0, 48.0, 48.0]] * 2
    assert len({tuple(logits.flatten().tolist()) for logits in output.logits.values()}) == 3
    channels = network.attention_network.attention.in_channels
    assert [descriptor.shape for descriptor in output.descriptors] == [(2, channels)] * 2


def test_the_second_look_is_at_the_box() -> None:
    """The view is the box of the source, and the logits are those of the view."""
    cal = small_cal("counterfactual.crop_threshold=0.9", "counterfactual.crop_padding=0").eval()
    sources = cal.normalise(random_batch()[0])

    with torch.no_grad():
        whole, crop = cal(sources)
        attention = cal.attend(whole.last_map).attention
        boxes = attention_boxes(attention.mean(dim=1), 0.9, 0.0) * 96
        again = cal.attend(cal.backbone(crop.view.image).last_map)

    assert (crop.boxes[:, 2] < 48).any()
    torch.testing.assert_close(crop.boxes, boxes)
    torch.testing.assert_close(crop.logits, again.logits)
    for row in range(len(sources)):
        x, y, half_side = (float(value) for value in crop.boxes[row])
        assert 0 <= x - half_side <= x + half_side <= 96 + 1e-3
        assert 0 <= y - half_side <= y + half_side <= 96 + 1e-3


def test_a_mirrored_source_has_mirrored_boxes() -> None:
    cal = fused("counterfactual.crop_threshold=0.7").attention_network
    images = cal.normalise_pixels(torch.randint(0, 256, (4, 96, 96, 3), dtype=torch.uint8))

    with torch.no_grad():
        plain = cal(images)
        mirrored = cal(images.flip(3))
        both = cal(images, 2)

    for state, double, flipped in zip(plain, both, mirrored, strict=True):
        torch.testing.assert_close(double.boxes, torch.cat([state.boxes, flipped.boxes]))
        expected = torch.cat([state.logits, flipped.logits])
        torch.testing.assert_close(double.logits, expected, rtol=1e-3, atol=2e-3)


def test_the_effect_is_against_random_attention() -> None:
    cal = small_cal()
    last_map = cal.start(cal.normalise(random_batch()[0])).last_map
    attended = cal.attend(last_map)

    torch.manual_seed(5)
    effect = cal.effect(last_map, attended)
    torch.manual_seed(5)
    counterfactual = bilinear_pooling(last_map, random_attention(attended.attention))
    torch.testing.assert_close(effect, attended.logits - cal.classify(counterfactual))
    assert not torch.equal(effect, cal.effect(last_map, attended))


def test_what_each_loss_reaches() -> None:
    cal = small_cal().train()
    images, _ = random_batch()

    def reached(loss: Tensor) -> set[str]:
        cal.zero_grad(set_to_none=True)
        loss.sum().backward()
        names = [name for name, p in cal.named_parameters() if p.grad is not None]
        return {".".join(name.split(".")[:2]) for name in names}

    everything = {
        "backbones.0",
        "attention.weight",
        "attention.bias",
        "classifier.weight",
        "classifier.bias",
    }
    states = cal(cal.normalise(images))
    assert reached(states[0].logits) == everything
    states = cal(cal.normalise(images))
    assert reached(states[1].logits) == everything
    assert cal.backbone.classifier_layer().weight.grad is None

    # A bias is in both logits of an effect.
    last_map = cal.start(cal.normalise(images)).last_map
    cal.zero_grad(set_to_none=True)
    cal.effect(last_map, cal.attend(last_map)).sum().backward()
    assert cal.classifier.bias.grad is not None
    assert cal.classifier.bias.grad.abs().max() < 1e-6


def test_the_attention_starts_with_mean_zero_and_deviation_one(generator: torch.Generator) -> None:
    cal = small_cal()
    channels = cal.attention.in_channels
    maps = torch.rand(8, channels, 4, 4, generator=generator)
    cal.standardise_attention(maps)

    with torch.no_grad():
        before = cal.attention(maps)
    torch.testing.assert_close(before.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(before.std(dim=(0, 2, 3)), torch.ones(3), rtol=0, atol=1e-4)


def test_networks_without_a_map_are_refused() -> None:
    with pytest.raises(RecipeError, match="not a square map"):
        small_cal("model.backbone=vit_tiny_patch16_224", "model.input_size=224", BIG, KEEP)


BIG = "data.source_size=224"
KEEP = "model.batch_norm=keep"


def test_what_needs_zooms_refuses_cal() -> None:
    network = fused()
    assert isinstance(network.attention_network, CAL)
    with pytest.raises(ModelError, match="the model is a CAL network"):
        _ = network.racnn
