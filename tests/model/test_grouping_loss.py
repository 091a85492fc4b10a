"""The channel grouping loss against slow loops, and which way its gradients push."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from leafzoom.model.grouping_loss import GroupingLoss, distance_loss, diversity_loss
from model.slow_reference import slow_grouping_losses


def random_attention(*shape: int, generator: torch.Generator) -> Tensor:
    """Non-contiguous float64 attention, each map with a sum of 1."""
    values = torch.rand(*shape, 2, dtype=torch.float64, generator=generator)[..., 0]
    attention = values / values.sum(dim=(2, 3), keepdim=True)
    strided = torch.stack([attention, attention], dim=-1)[..., 1]
    assert not strided.is_contiguous()
    return strided


@pytest.mark.parametrize("parts", [2, 4])
def test_losses_are_those_of_slow_loops(parts: int, generator: torch.Generator) -> None:
    attention = random_attention(3, parts, 4, 5, generator=generator)
    distance, diversity = slow_grouping_losses(attention, 0.02)

    losses = GroupingLoss(diversity_weight=2.0, margin=0.02)(attention)
    assert losses["distance_loss"].item() == pytest.approx(distance, rel=1e-12)
    assert losses["diversity_loss"].item() == pytest.approx(diversity, rel=1e-12)
    assert losses["grouping_loss"].item() == pytest.approx(distance + 2 * diversity, rel=1e-12)


def test_values_of_attention_in_one_cell() -> None:
    """All in one cell: no distance; two parts there: full overlap but for the margin."""
    attention = torch.zeros(1, 2, 4, 4)
    attention[:, :, 1, 2] = 1.0
    assert distance_loss(attention).item() == 0
    assert diversity_loss(attention, 0.1).item() == pytest.approx(2 * 0.9)

    # Apart, only the margin is left.
    attention[0, 1] = 0.0
    attention[0, 1, 3, 0] = 1.0
    assert diversity_loss(attention, 0.1).item() == pytest.approx(2 * -0.1)


def test_distances_do_not_depend_on_the_number_of_cells() -> None:
    coarse = torch.tensor([[0.75, 0.0], [0.0, 0.25]])[None, None]
    fine = torch.zeros(1, 1, 4, 4)
    fine[0, 0, 0, 0] = 0.75
    fine[0, 0, 2, 2] = 0.25
    assert distance_loss(coarse).item() == pytest.approx(distance_loss(fine).item())
    assert distance_loss(coarse).item() == pytest.approx(0.25 * (0.5**2 + 0.5**2))


def test_gradients_are_those_of_finite_differences(generator: torch.Generator) -> None:
    """Away from ties, where the peak and the greatest other part stay the same."""
    attention = random_attention(2, 3, 3, 3, generator=generator).requires_grad_()
    loss = GroupingLoss(diversity_weight=2.0, margin=0.02)
    assert torch.autograd.gradcheck(lambda maps: loss(maps)["grouping_loss"], attention)


def test_a_step_makes_parts_compact_and_moves_them_apart() -> None:
    torch.manual_seed(1)
    scores = torch.randn(8, 4, 6, 6, requires_grad=True)
    loss = GroupingLoss(diversity_weight=2.0, margin=0.02)
    optimizer = torch.optim.Adam([scores], lr=0.1)

    values = []
    for _ in range(50):
        losses = loss(torch.softmax(scores.flatten(2), dim=2).reshape(scores.shape))
        values.append([losses["distance_loss"].item(), losses["diversity_loss"].item()])
        optimizer.zero_grad()
        losses["grouping_loss"].backward()
        optimizer.step()
    assert values[-1][0] < 0.5 * values[0][0]
    assert values[-1][1] < values[0][1]
