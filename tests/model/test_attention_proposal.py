"""The attention proposal network, and places that no network proposes."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from leafzoom.model.attention_proposal import (
    AttentionProposal,
    activation_centres,
    fixed_proposals,
    response_maxima,
)
from leafzoom.model.box_coder import BoxCoder
from network_helpers import random_batch, small_racnn


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_it_reads_any_map_and_stays_in_range(activation: Literal["sigmoid", "relu"]) -> None:
    apn = AttentionProposal(channels=4, map_size=3, hidden=5, activation=activation)
    proposals = apn(torch.randn(6, 4, 3, 3) * 100)
    assert proposals.shape == (6, 3)
    assert proposals.abs().max() <= 1


def test_a_normalised_apn_reads_where_not_how_much() -> None:
    apn = AttentionProposal(channels=4, map_size=3, hidden=5, activation="relu", normalise="places")
    features = torch.randn(6, 4, 3, 3)
    # A channel's level says what is there, not where.
    louder = 40 * features + torch.randn(6, 4, 1, 1) * 100

    torch.testing.assert_close(apn(louder), apn(features), rtol=1e-3, atol=1e-4)
    assert bool(torch.isfinite(apn(torch.zeros(2, 4, 3, 3))).all())

    plain = AttentionProposal(channels=4, map_size=3, hidden=5, activation="sigmoid")
    assert not torch.allclose(plain(louder), plain(features), atol=1e-2)


def test_the_response_maximum_is_x_then_y() -> None:
    features = torch.zeros(1, 5, 7, 7)
    features[0, 3, 1, 5] = 2.0  # row 1, column 5
    x, y = response_maxima(features, 224)[0].tolist()
    assert (x, y) == pytest.approx((5.5 * 32, 1.5 * 32), abs=1)


@pytest.mark.parametrize(("cells", "view_size"), [(7, 224), (4, 128), (3, 96), (4, 112), (5, 64)])
def test_the_response_maximum_is_taken_after_every_channel_is_enlarged(
    cells: int, view_size: int
) -> None:
    """As PyTorch enlarges, all pixels of all channels, in float64."""
    generator = torch.Generator().manual_seed(cells)
    features = torch.randn(20, 6, cells, cells, dtype=torch.float64, generator=generator)
    features = features.transpose(2, 3)  # not contiguous

    enlarged = torch.nn.functional.interpolate(
        features, (view_size, view_size), mode="bilinear", align_corners=False
    )
    response = enlarged.amax(dim=1)
    places = response_maxima(features, view_size)

    for row in range(len(features)):
        x, y = (int(place - 0.5) for place in places[row])
        assert float(response[row, y, x]) == pytest.approx(float(response[row].max()), rel=1e-9)


def test_the_maximum_over_channels_does_not_come_first() -> None:
    """Two neighbours of another channel each: between them no channel responds as much."""
    features = torch.zeros(1, 3, 4, 4)
    features[0, 0, 1, 1] = 1.0
    features[0, 1, 1, 2] = 0.99
    features[0, 2, 0, 1] = 0.9

    # Of one channel, cell (1, 0) would draw the maximum to the left.
    features[0, 0, 1, 0] = 0.5
    x, y = response_maxima(features, 64)[0].tolist()
    assert x < 24 < 25 > y

    # The maximum over channels first would lie on the other side of the cell's centre.
    response = features.amax(dim=1, keepdim=True)
    enlarged = torch.nn.functional.interpolate(response, (64, 64), mode="bilinear")
    assert int(enlarged.flatten().argmax()) % 64 + 0.5 > 24


def test_activation_centres_equal_a_slow_sum_over_cells() -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(5, 3, 4, 4, dtype=torch.float64, generator=generator).transpose(2, 3)
    targets = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 1]])

    centres = activation_centres(maps, targets, 64)

    for row in range(5):
        expected = slow_activation_centre(maps[row], targets[row].tolist(), cell_px=16)
        assert centres[row].tolist() == pytest.approx(expected, rel=1e-4)


def slow_activation_centre(maps: torch.Tensor, targets: list[int], *, cell_px: int) -> list[float]:
    """The centre of mass of what is above the mean, squared, cell by cell in float64."""
    labels, height, width = maps.shape
    evidence = [[0.0] * width for _ in range(height)]
    for label in range(labels):
        sign = 1 if targets[label] else -1
        for y in range(height):
            for x in range(width):
                evidence[y][x] += sign * float(maps[label, y, x])

    mean = sum(sum(row) for row in evidence) / (height * width)
    total = 0.0
    sum_x = 0.0
    sum_y = 0.0
    for y in range(height):
        for x in range(width):
            mass = max(evidence[y][x] - mean, 0.0) ** 2
            total += mass
            sum_x += mass * (x + 0.5) * cell_px
            sum_y += mass * (y + 0.5) * cell_px
    return [sum_x / total, sum_y / total]


def test_the_activation_centre_of_a_flat_map_is_the_middle() -> None:
    flat = torch.full((1, 2, 3, 3), 7.0)
    assert activation_centres(flat, torch.ones(1, 2), 96).tolist() == [[48.0, 48.0]]


def test_fixed_proposals_are_at_the_centre_or_at_the_largest_response() -> None:
    features = torch.zeros(2, 8, 4, 4)
    features[0, 3, 0, 3] = 1.0  # the upper right cell
    features[1, 1, 2, 1] = 1.0
    tl = torch.full((2, 1), -1.0)
    coder = BoxCoder(64, (0.5, 0.75), "own")

    centred = fixed_proposals("centre", features, tl, coder)
    assert centred.tolist() == [[0.0, 0.0, -1.0]] * 2

    boxes = coder.decode(fixed_proposals("response", features, tl, coder))
    assert boxes[0].tolist() == pytest.approx([48.0, 16.0, 16.0])  # clamped into the view
    assert boxes[1, 0] < 32 < boxes[1, 1]


def test_a_network_without_apns_looks_at_the_centre() -> None:
    racnn = small_racnn("model.proposals=centre", "warm_up.epochs=0", "alternation.rounds=0").eval()
    images, _ = random_batch()
    with torch.no_grad():
        states = racnn(racnn.normalise(images))
    expected = torch.tensor([[48.0, 48.0, 32.0]]).expand(6, 3)
    torch.testing.assert_close(states[1].boxes, expected)
