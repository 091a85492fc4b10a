"""The losses of eq. 10 and 11."""

from __future__ import annotations

import math

import pytest
import torch

from leafzoom.model.losses import classification_loss, correct_probability, ranking_loss


def logit(probability: float) -> float:
    """The logit of a probability."""
    return math.log(probability / (1 - probability))


def test_correct_probability_is_the_mean_over_present_labels() -> None:
    logits = torch.tensor([[logit(0.2), logit(0.6), logit(0.9)], [0.0, 0.0, 0.0]])
    targets = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert correct_probability(logits, targets).tolist() == pytest.approx([0.4, 0.0])


def test_ranking_loss_by_hand() -> None:
    coarse = torch.tensor([[logit(0.5), logit(0.9)], [logit(0.3), 0.0]])
    fine = torch.tensor([[logit(0.4), logit(0.1)], [logit(0.9), 0.0]])
    targets = torch.tensor([[1, 0], [1, 0]])

    # The first photograph loses 0.5 - 0.4 and the margin; the second one wins by far.
    total = ranking_loss(coarse, fine, targets, margin=0.05, labels="present", reduction="sum")
    mean = ranking_loss(coarse, fine, targets, margin=0.05, labels="present", reduction="mean")
    assert total.item() == pytest.approx(0.15)
    assert mean.item() == pytest.approx(0.075)

    # Every label: 0.15 as above, 0.9 - 0.1 and the margin, nothing, the margin of a draw.
    every_label = ranking_loss(coarse, fine, targets, margin=0.05, labels="all", reduction="sum")
    assert every_label.item() == pytest.approx(0.15 + 0.85 + 0.05)


def test_ranking_gradient_reaches_the_finer_scale_alone() -> None:
    coarse = torch.zeros(2, 3, requires_grad=True)
    fine = torch.zeros(2, 3, requires_grad=True)
    targets = torch.tensor([[1, 0, 0], [0, 0, 0]])

    ranking_loss(coarse, fine, targets, margin=0.05, labels="present", reduction="sum").backward()

    assert coarse.grad is None
    assert fine.grad is not None
    assert fine.grad[0, 0] < 0  # a step down the gradient raises the finer probability
    assert fine.grad[0, 1:].abs().sum() == 0
    assert fine.grad[1].abs().sum() == 0  # no label is present


def test_classification_loss_by_hand() -> None:
    loss = classification_loss(torch.tensor([[0.0, logit(0.8)]]), torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx((math.log(2) - math.log(0.2)) / 2, rel=1e-6)
