"""The loop of figure 3: its steps, its frames, its gradients."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from conftest import TINY
from leafzoom.model.attention_crop import resample
from leafzoom.model.build import build_fusions, build_racnn
from leafzoom.model.fusion import FusedNetwork, head_names
from leafzoom.recipe import load_recipe
from network_helpers import RESIDUAL, random_batch, small_racnn


def test_forward_is_start_propose_advance() -> None:
    racnn = small_racnn().eval()
    images, _ = random_batch()
    sources = racnn.normalise(images)

    with torch.no_grad():
        first = racnn.start(sources)
        second = racnn.advance(first, racnn.propose(first))
        third = racnn.advance(second, racnn.propose(second))
        states = racnn(sources)

    assert [state.scale for state in states] == [0, 1, 2]
    for state, expected in zip(states, (first, second, third), strict=True):
        torch.testing.assert_close(state.logits, expected.logits)
        torch.testing.assert_close(state.boxes, expected.boxes)
        torch.testing.assert_close(state.view.image, expected.view.image)


def test_a_detached_state_gives_no_gradient_to_what_led_to_it() -> None:
    racnn = small_racnn().train()
    images, _ = random_batch()
    state = racnn.start(racnn.normalise(images))
    assert state.features.requires_grad

    detached = state.detach()
    for tensor in (detached.features, detached.last_map, detached.descriptor, detached.logits):
        assert not tensor.requires_grad
    assert not detached.view.image.requires_grad


@pytest.mark.parametrize("surrogate", ["balanced", "exact"])
def test_a_zoom_gives_gradients_to_its_proposals_alone(surrogate: str) -> None:
    racnn = small_racnn(f"model.surrogate={surrogate}").train()
    images, _ = random_batch()
    state = racnn.start(racnn.normalise(images))
    proposals = torch.zeros(6, 3, requires_grad=True)

    racnn.zoom(state, proposals).image.square().sum().backward()

    assert proposals.grad is not None
    assert proposals.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in racnn.parameters())


def test_a_residual_scale_adds_its_own_logits_to_a_share_of_the_coarser_ones() -> None:
    residual = small_racnn(*RESIDUAL).eval()
    plain = small_racnn("model.surrogate=exact").eval()
    images, _ = random_batch()

    with torch.no_grad():
        totals = [state.logits for state in residual(residual.normalise(images))]
        own = [state.logits for state in plain(plain.normalise(images))]

    torch.testing.assert_close(totals[0], own[0])
    torch.testing.assert_close(totals[1], own[1] + 0.6 * own[0])
    torch.testing.assert_close(totals[2], own[2] + 0.6 * own[1] + 0.36 * own[0])
    assert not torch.allclose(totals[1], own[1], atol=1e-4)


@pytest.mark.parametrize("scales", [2, 3, 4])
@pytest.mark.parametrize("zoom_from", ["view", "source"])
def test_any_number_of_scales(scales: int, zoom_from: str) -> None:
    changes = [f"model.scales={scales}", f"model.zoom_from={zoom_from}", "fusion.inputs=logits"]
    recipe = load_recipe("default", [*TINY, *changes])
    racnn = build_racnn(recipe, 3)
    network = FusedNetwork(racnn, build_fusions(recipe.fusion, racnn)).eval()

    with torch.no_grad():
        output = network(torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8))

    assert tuple(output.logits) == head_names(scales)
    assert len(output.boxes) == scales
    assert output.boxes[0].tolist() == [[48.0, 48.0, 48.0]] * 2
    half_sides = [box[:, 2] for box in output.boxes]
    for coarse, fine in pairwise(half_sides):
        assert (fine <= coarse * 0.667 + 1e-3).all()
        assert (fine >= coarse * 0.4 - 1e-3).all()


def test_zooms_from_the_source_show_the_sources_pixels() -> None:
    racnn = small_racnn("model.zoom_from=source").eval()
    sources = torch.rand(2, 3, 96, 96)
    proposals = torch.tensor([[0.3, -0.6, -1.0], [-0.9, 0.9, 0.2]])

    with torch.no_grad():
        first = racnn.start(sources)
        third = racnn.zoom(racnn.advance(first, proposals), proposals)

    assert first.view.image.shape == (2, 3, 64, 64)
    torch.testing.assert_close(third.image, resample(sources, third.boxes, 64))


def test_zooms_from_the_view_show_the_views_pixels() -> None:
    racnn = small_racnn("model.zoom_from=view").eval()
    sources = torch.rand(2, 3, 96, 96)
    proposals = torch.tensor([[0.3, -0.6, -1.0], [-0.9, 0.9, 0.2]])

    with torch.no_grad():
        first = racnn.start(sources)
        second = racnn.zoom(first, proposals)

    # The box in the frame of the view, which shows 96 source pixels in 64.
    offset = (second.boxes - first.boxes)[:, :2]
    assert offset.abs().max() > 1
    view_boxes = torch.cat([32 + offset * 64 / 96, second.boxes[:, 2:] * 64 / 96], dim=1)
    expected = resample(first.view.image, view_boxes, 64)
    torch.testing.assert_close(second.image, expected, atol=1e-4, rtol=1e-4)
