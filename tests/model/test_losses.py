"""The losses of eq. 10 and 11."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch

from leafzoom.model.losses import (
    classification_loss,
    correct_probability,
    label_probabilities,
    label_weights,
    ranking_loss,
)


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


@pytest.mark.parametrize("kind", ["sqrt", "inverse"])
def test_weights_by_a_slow_loop(kind: Literal["sqrt", "inverse"]) -> None:
    random = np.random.default_rng(0)
    targets = (random.random((200, 4)) < [0.02, 0.2, 0.5, 0.9]).astype(np.uint8)
    weights = label_weights(targets, kind)
    assert weights is not None

    for label in range(4):
        present = int(targets[:, label].sum())
        ratio = (200 - present) / present
        ratio = ratio if kind == "inverse" else math.sqrt(ratio)
        weight_present = float(weights.present[label])
        weight_absent = float(weights.absent[label])
        assert weight_present / weight_absent == pytest.approx(ratio, rel=1e-5)

        # The loss is as large as without weights, so the learning rate means the same.
        total = present * weight_present + (200 - present) * weight_absent
        assert total / 200 == pytest.approx(1, rel=1e-5)

    logits = torch.randn(200, 4, dtype=torch.float64)
    expected = 0.0
    for row in range(200):
        for label in range(4):
            probability = 1 / (1 + math.exp(-float(logits[row, label])))
            if targets[row, label]:
                expected -= float(weights.present[label]) * math.log(probability)
            else:
                expected -= float(weights.absent[label]) * math.log(1 - probability)
    loss = classification_loss(logits, torch.from_numpy(targets), weights)
    assert loss.item() == pytest.approx(expected / 800, rel=1e-5)


def test_labels_of_all_or_none_count_as_they_are() -> None:
    weights = label_weights(np.array([[0, 1, 1], [0, 1, 0]], np.uint8), "inverse")
    assert weights is not None
    assert weights.present.tolist() == weights.absent.tolist() == [1, 1, 1]
    assert label_weights(np.zeros((3, 2), np.uint8), "none") is None


def test_rare_labels_weigh_more_in_the_gradient() -> None:
    """With `inverse` the photographs with a label pull as much as those without it."""
    targets = np.zeros((10, 1), np.uint8)
    targets[0] = 1
    logits = torch.zeros(10, 1, requires_grad=True)
    classification_loss(
        logits, torch.from_numpy(targets), label_weights(targets, "inverse")
    ).backward()
    assert logits.grad is not None
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-7)


def slow_softmax(row: list[float]) -> list[float]:
    """The softmax of one photograph's logits, in float64."""
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def class_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [5, 4], transposed in memory, and one class a photograph."""
    generator = torch.Generator().manual_seed(3)
    logits = (2 * torch.randn(4, 5, generator=generator)).T
    return logits, torch.eye(4)[torch.tensor([2, 0, 3, 3, 1])]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("softness", [0.0, 0.3])
def test_softmax_loss_and_gradient_by_a_slow_loop(weighted: bool, softness: float) -> None:
    logits, hard = class_batch()
    targets = (1 - softness) * hard + softness * torch.tensor([0.4, 0.3, 0.2, 0.1])
    weights = label_weights(hard.numpy().astype(np.uint8), "inverse", single_label=True)
    assert weights is not None
    factors = weights.present.tolist() if weighted else [1.0] * 4

    total = 0.0
    gradient = np.zeros((5, 4))
    for photo in range(5):
        probabilities = slow_softmax(logits[photo].tolist())
        for label in range(4):
            share = factors[label] * float(targets[photo, label])
            total -= share * math.log(probabilities[label]) / 5
            for other in range(4):
                gradient[photo, other] += share * (probabilities[other] - (other == label)) / 5

    learned = logits.clone().requires_grad_()
    loss = classification_loss(learned, targets, weights if weighted else None, single_label=True)
    loss.backward()
    assert learned.grad is not None
    assert loss.item() == pytest.approx(total, rel=1e-5)
    np.testing.assert_allclose(learned.grad.numpy(), gradient, atol=1e-6)


@pytest.mark.parametrize(("kind", "power"), [("sqrt", 0.5), ("inverse", 1.0)])
def test_class_weights_have_mean_one_over_the_photographs(
    kind: Literal["sqrt", "inverse"], power: float
) -> None:
    targets = np.eye(3, dtype=np.uint8)[[0] * 8 + [1] * 2]  # no photograph of the third class
    weights = label_weights(targets, kind, single_label=True)
    assert weights is not None
    assert (targets @ weights.present.numpy()).mean() == pytest.approx(1)
    ratio = float(weights.present[1] / weights.present[0])
    assert ratio == pytest.approx(4**power)
    assert torch.isfinite(weights.present).all()


def test_p_t_of_one_class_is_its_softmax_probability() -> None:
    logits, targets = class_batch()
    expected = [
        slow_softmax(row)[int(target.argmax())]
        for row, target in zip(logits.tolist(), targets, strict=True)
    ]
    probabilities = correct_probability(logits, targets, single_label=True)
    assert probabilities.tolist() == pytest.approx(expected, rel=1e-5)
    sums = label_probabilities(logits, single_label=True).sum(dim=1)
    assert sums.tolist() == pytest.approx([1.0] * 5)


def test_softmax_ranking_by_a_slow_loop() -> None:
    """Each photograph: what the coarser probability and the margin exceed the finer one by."""
    coarse, targets = class_batch()
    fine = coarse.flip(0).clone().requires_grad_()
    expected = 0.0
    for row, finer, target in zip(coarse.tolist(), fine.tolist(), targets, strict=True):
        label = int(target.argmax())
        expected += max(0.0, slow_softmax(row)[label] - slow_softmax(finer)[label] + 0.05)

    loss = ranking_loss(
        coarse,
        fine,
        targets,
        margin=0.05,
        labels="present",
        reduction="sum",
        single_label=True,
    )
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)

    # A softmax has a gradient for the other classes too, which a sigmoid of one label has not.
    assert fine.grad is not None
    losing = fine.grad.abs().sum(dim=1) > 0
    assert losing.any()
    assert (fine.grad[losing].abs() > 0).all()
    assert fine.grad.sum(dim=1).abs().max() < 1e-6
