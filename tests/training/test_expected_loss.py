"""The expected loss of candidate boxes, and where the candidates lie."""

from __future__ import annotations

import math

import pytest
import torch

from leafzoom.training.expected_loss import candidate_proposals, expected_loss


def test_it_is_the_slow_loops_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    proposals = torch.rand(4, 3, generator=generator, dtype=torch.float64) * 2 - 1
    candidates = torch.rand(4, 9, 3, generator=generator, dtype=torch.float64) * 2 - 1
    losses = torch.rand(4, 9, generator=generator, dtype=torch.float64)

    for row in range(4):
        weights = []
        for candidate in candidates[row]:
            squared_distance = float(((candidate - proposals[row]) ** 2).sum())
            weights.append(math.exp(-squared_distance / (2 * 0.4**2)))
        weighted = sum(w * float(loss) for w, loss in zip(weights, losses[row], strict=True))
        expected = weighted / sum(weights)
        assert float(expected_loss(proposals, candidates, losses)[row]) == pytest.approx(
            expected, rel=1e-9
        )


def test_one_candidate_lies_in_every_cell() -> None:
    torch.manual_seed(0)
    candidates = candidate_proposals(50, like=torch.zeros(1))
    assert candidates.shape == (9, 50, 3)
    assert candidates.abs().max() <= 1

    cells = ((candidates[..., :2] + 1) * 1.5).floor().clamp(0, 2)
    for number in range(9):
        assert (cells[number] == torch.tensor([number % 3, number // 3])).all()
    assert candidates[..., 2].std() > 0.5
