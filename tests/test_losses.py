"""The losses of eq. 10 and 11."""

from __future__ import annotations

import math

import pytest
import torch

from leafzoom.model.losses import classification_loss, correct_probability, ranking_loss


def probability(p: float) -> float:
    return math.log(p / (1 - p))


def test_correct_probability_is_the_mean_over_present_labels() -> None:
    logits = torch.tensor([[probability(0.2), probability(0.6), probability(0.9)], [0.0, 0.0, 0.0]])
    targets = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert correct_probability(logits, targets).tolist() == pytest.approx([0.4, 0.0])


def test_ranking_loss_by_hand() -> None:
    coarse = torch.tensor([[probability(0.5), probability(0.9)], [probability(0.3), 0.0]])
    fine = torch.tensor([[probability(0.4), probability(0.1)], [probability(0.9), 0.0]], requires_grad=True)
    targets = torch.tensor([[1, 0], [1, 0]])
    kwargs = {"margin": 0.05, "labels": "present"}
    # first: 0.5 - 0.4 + 0.05; second: max(0, 0.3 - 0.9 + 0.05)
    assert ranking_loss(coarse, fine, targets, reduction="sum", **kwargs).item() == pytest.approx(0.15)
    assert ranking_loss(coarse, fine, targets, reduction="mean", **kwargs).item() == pytest.approx(0.075)
    # every label: 0.15 + (0.9 - 0.1 + 0.05) + 0 + 0.05
    everything = ranking_loss(coarse, fine, targets, margin=0.05, labels="all", reduction="sum")
    assert everything.item() == pytest.approx(0.15 + 0.85 + 0.05)


def test_ranking_gradient_reaches_the_finer_scale_alone() -> None:
    coarse, fine = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    targets = torch.tensor([[1, 0, 0], [0, 0, 0]])
    ranking_loss(coarse, fine, targets, margin=0.05, labels="present", reduction="sum").backward()
    assert coarse.grad is None
    assert fine.grad is not None
    assert fine.grad[0, 0] < 0  # a step down the gradient raises the finer probability
    assert fine.grad[0, 1:].abs().sum() == fine.grad[1].abs().sum() == 0  # no label present: counts nothing


def test_classification_loss_by_hand() -> None:
    loss = classification_loss(torch.tensor([[0.0, probability(0.8)]]), torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx((math.log(2) - math.log(0.2)) / 2, rel=1e-6)
