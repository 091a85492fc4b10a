"""Attention sampling: its estimate against all draws and slow loops, its frames, its gradients."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from leafzoom.errors import ModelError, RecipeError
from leafzoom.fitting.scale_classifiers import fusion_prior
from leafzoom.model.attention_sampling import (
    AttentionSampling,
    place_centres,
    sample_places,
    sampled_mean,
)
from leafzoom.model.build import build_attention_sampling, build_fusions
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.outputs import head_names
from leafzoom.recipe import load_recipe
from model.slow_reference import draw_probability, slow_sampled_mean
from network_helpers import LABELS, SAMPLING_TINY, random_batch, small_sampling

ATTENTION = (0.1, 0.2, 0.3, 0.4)


def fused(*changes: str) -> FusedNetwork:
    """The whole tiny network, in eval(), with noise on its weights: no place is like another."""
    torch.manual_seed(0)
    recipe = load_recipe("attention-sampling", [*SAMPLING_TINY, *changes])
    sampling = build_attention_sampling(recipe, LABELS)
    network = FusedNetwork(sampling, build_fusions(recipe.fusion, sampling), recipe.prediction.tta)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network.eval()


@pytest.mark.parametrize("count", [1, 3])
def test_the_estimate_is_that_of_slow_loops(count: int, generator: torch.Generator) -> None:
    values = torch.randn(2, count, 5, dtype=torch.float64, generator=generator)
    attention = torch.tensor([[0.4, 0.1, 0.3], [0.05, 0.9, 0.02]], dtype=torch.float64)[:, :count]
    expected = [
        slow_sampled_mean(row.tolist(), its) for row, its in zip(attention, values, strict=True)
    ]
    torch.testing.assert_close(sampled_mean(attention, values), torch.stack(expected))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_estimate_and_its_gradient_are_unbiased(count: int, generator: torch.Generator) -> None:
    """Over every order of draws with its probability: the mean under the attention, exactly."""
    values = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    direction = torch.randn(3, dtype=torch.float64, generator=generator)
    scores = torch.log(torch.tensor(ATTENTION, dtype=torch.float64)).requires_grad_()

    mean = torch.zeros(3, dtype=torch.float64)
    gradient = torch.zeros(4, dtype=torch.float64)
    total = 0.0
    for order in permutations(range(4), count):
        attention = torch.softmax(scores, dim=0)
        drawn = torch.tensor(order)
        estimate = sampled_mean(attention[drawn][None], values[drawn][None])[0]
        (its_gradient,) = torch.autograd.grad(estimate @ direction, scores)
        probability = float(draw_probability(attention.detach(), order))
        mean = mean + probability * estimate.detach()
        gradient = gradient + probability * its_gradient
        total += probability

    assert total == pytest.approx(1.0)
    exact = torch.softmax(scores, dim=0) @ values
    (exact_gradient,) = torch.autograd.grad(exact @ direction, scores)
    torch.testing.assert_close(mean, exact.detach())
    torch.testing.assert_close(gradient, exact_gradient)


def test_gradients_of_values_are_those_of_finite_differences(generator: torch.Generator) -> None:
    values = torch.randn(2, 3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    attention = torch.tensor([[0.4, 0.1, 0.3], [0.05, 0.9, 0.02]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda value: sampled_mean(attention, value), (values,))


def test_attention_of_nearly_one_place_stays_finite() -> None:
    attention = torch.tensor([[1.0, 0.0]], requires_grad=True)
    sampled_mean(attention, torch.ones(1, 2, 3)).sum().backward()
    assert attention.grad is not None
    assert torch.isfinite(attention.grad).all()


def test_places_are_drawn_in_proportion_to_what_is_left() -> None:
    attention = torch.tensor(ATTENTION).reshape(1, 2, 2).expand(40000, -1, -1)
    torch.manual_seed(0)
    places = sample_places(attention, 2, at_random=True)

    assert (places.indices[:, 0] != places.indices[:, 1]).all()
    drawn = places.indices[:, 0] * 4 + places.indices[:, 1]
    for order in permutations(range(4), 2):
        share = (drawn == order[0] * 4 + order[1]).float().mean().item()
        expected = float(draw_probability(torch.tensor(ATTENTION), order))
        assert share == pytest.approx(expected, abs=0.01)
    torch.testing.assert_close(places.attention, torch.tensor(ATTENTION)[places.indices])


def test_the_greatest_places_come_in_order() -> None:
    attention = torch.tensor([[[0.1, 0.4], [0.3, 0.2]]])
    places = sample_places(attention, 3, at_random=False)
    assert places.indices.tolist() == [[1, 2, 3]]
    torch.testing.assert_close(places.attention, torch.tensor([[0.4, 0.3, 0.2]]))
    assert place_centres(places.indices, 2, 2).tolist() == [
        [[0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    ]


@pytest.mark.parametrize("patches", [1, 3])
@pytest.mark.parametrize("tta", [1, 2])
def test_shapes_and_heads(patches: int, tta: int) -> None:
    network = fused(f"patches.number={patches}", f"prediction.tta={tta}")
    sources = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)

    with torch.no_grad():
        output = network(sources)

    assert tuple(output.logits) == head_names(1 + patches, "attention-sampling")
    assert tuple(output.logits)[-2:] == (f"part{patches}", "fusion1234"[: 7 + patches])
    assert all(logits.shape == (2, LABELS) for logits in output.logits.values())
    assert output.boxes[0].tolist() == [[48.0, 48.0, 48.0]] * 2
    for box in output.boxes[1:]:
        assert box[:, 2].tolist() == [12.0, 12.0]
        assert (box[:, :2] - 12 >= 0).all()
        assert (box[:, :2] + 12 <= 96).all()
    assert len({tuple(box.flatten().tolist()) for box in output.boxes}) == 1 + patches


def test_a_mirrored_source_has_mirrored_patches() -> None:
    network = fused().attention_network
    images = network.normalise_pixels(torch.randint(0, 256, (4, 96, 96, 3), dtype=torch.uint8))

    with torch.no_grad():
        plain = network(images)
        mirrored = network(images.flip(3))
        both = network(images, 2)

    for state, double, flipped in zip(plain, both, mirrored, strict=True):
        torch.testing.assert_close(double.boxes, torch.cat([state.boxes, flipped.boxes]))
        expected = torch.cat([state.logits, flipped.logits])
        torch.testing.assert_close(double.logits, expected, rtol=1e-4, atol=1e-4)


def test_what_each_loss_reaches() -> None:
    """The classification of drawn patches teaches the attention, and by it the first backbone."""
    network = small_sampling().train()
    with torch.no_grad():
        network.attention.weight.normal_()
    whole = network.start(network.normalise(random_batch()[0]))
    attention = network.attend(whole.features)
    places = sample_places(attention, 4, at_random=True)
    patches = network.look_at(whole, attention, places)

    def reached(loss: Tensor) -> set[str]:
        network.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)
        names = [name for name, p in network.named_parameters() if p.grad is not None]
        return {".".join(name.split(".")[:2]) for name in names}

    learned = {"attention.weight", "attention.bias", "backbones.0"}
    logits = torch.stack([patch.logits for patch in patches], dim=1)
    mean = sampled_mean(places.attention, logits)
    assert reached(patches[0].logits.square().sum()) == {"backbones.1"}
    assert reached(mean.square().sum()) == learned | {"backbones.1"}
    assert network.attention.weight.grad is not None
    assert network.attention.weight.grad.any()
    assert reached(whole.logits.sum()) == {"backbones.0"}


def test_the_fusion_starts_from_the_mean_of_the_patches() -> None:
    network = fused("prediction.tta=1")
    sampling = network.attention_network
    images = sampling.normalise_pixels(torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8))
    with torch.no_grad():
        states = sampling(images)
    (fusion,) = network.fusions

    prior = fusion_prior(sampling, fusion)

    inputs = fusion.concatenate(states).double()
    logits = inputs @ torch.from_numpy(prior.weight).T + torch.from_numpy(prior.bias)
    expected = torch.stack([state.logits for state in states[1:]]).mean(dim=0)
    torch.testing.assert_close(logits.float(), expected, rtol=1e-4, atol=1e-4)


def test_more_patches_than_places_are_refused() -> None:
    with pytest.raises(RecipeError, match="has 4 places: use a larger input_size"):
        small_sampling("patches.number=5", "model.apn_stage=last")


def test_what_needs_zooms_refuses_it() -> None:
    network = fused()
    assert isinstance(network.attention_network, AttentionSampling)
    with pytest.raises(ModelError, match="the model is an attention sampling network"):
        _ = network.racnn
