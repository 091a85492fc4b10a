"""The centre loss: against loops, of one class and of several labels, and its gradient."""

from __future__ import annotations

import pytest
import torch

from leafzoom.model.centre_loss import centre_loss, expected_centres, moved_centres


def test_it_is_that_of_loops(generator: torch.Generator) -> None:
    """A photograph with two labels has the mean of both centres, and moves each by a half."""
    centres = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    pooled = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 0, 0]])

    expected = expected_centres(centres, targets)
    loss = centre_loss(pooled, expected)
    moved = moved_centres(centres, pooled, expected, targets, 0.1)

    mean = (centres[0] + centres[1]) / 2
    rows = [centres[0] / centres[0].norm(), mean / mean.norm(), torch.zeros(4), None]
    rows[3] = rows[0]
    total = 0.0
    for row, target in enumerate(rows):
        assert target is not None
        torch.testing.assert_close(expected[row], target.double())
        total += float((pooled[row] - target).square().sum())
    assert loss.item() == pytest.approx(total / 4)

    step = 1.0 * (pooled[0] - expected[0]) + 0.5 * (pooled[1] - expected[1])
    step = step + 1.0 * (pooled[3] - expected[3])
    torch.testing.assert_close(moved[0], centres[0] + 0.1 * step / 2.5)
    torch.testing.assert_close(moved[1], centres[1] + 0.1 * (pooled[1] - expected[1]))
    assert torch.equal(moved[2], centres[2])


def test_centres_come_near_their_photographs(generator: torch.Generator) -> None:
    directions = torch.nn.functional.normalize(torch.randn(2, 6, generator=generator), dim=1)
    centres = torch.zeros(2, 6)
    targets = torch.eye(2)
    losses = []
    for _ in range(80):
        expected = expected_centres(centres, targets)
        losses.append(centre_loss(directions, expected).item())
        centres = moved_centres(centres, directions, expected, targets, 0.05)
    assert losses[0] == pytest.approx(1.0)
    assert losses[-1] < 1e-6


def test_gradients_are_those_of_finite_differences(generator: torch.Generator) -> None:
    pooled = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda value: centre_loss(value, expected), (pooled,))
