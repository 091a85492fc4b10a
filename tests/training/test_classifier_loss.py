"""The classifiers' loss against slow loops over photographs, labels and combinations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafzoom.labels import Decision, LabelSet, combination_probabilities
from leafzoom.model.losses import classification_loss, label_weights
from leafzoom.training.classifier_loss import (
    ClassifierLoss,
    label_combinations,
    label_frequencies,
)

CPU = torch.device("cpu")
LABELS = LabelSet(("complex", "healthy", "scab"), ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1)))
KNOWN = np.array([[0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]], np.uint8)  # without (1, 0, 1)
HARD = torch.tensor([[0, 0, 1], [0, 1, 0], [1, 0, 1], [0, 0, 1]], dtype=torch.uint8)
SOFT = torch.tensor([[0.1, 0.2, 0.9], [0.0, 0.7, 0.3], [0.8, 0.0, 0.6], [0.4, 0.05, 0.55]])

Array = NDArray[np.float64]


def random_logits() -> Tensor:
    """Logits [4, 3], transposed in memory."""
    generator = torch.Generator().manual_seed(1)
    return (2 * torch.randn(3, 4, generator=generator)).T


def make_loss(smoothing: float = 0.0, weight: float = 0.0) -> ClassifierLoss:
    """The loss of these labels."""
    return ClassifierLoss(
        smoothing=smoothing,
        frequencies=label_frequencies(KNOWN, CPU),
        combination_weight=weight,
        combinations=label_combinations(LABELS, KNOWN, CPU),
    )


def slow_softmax(log_odds: Array) -> Array:
    """The probabilities of the combinations, one photograph's log-odds [L] at a time."""
    unseen = [row for row in LABELS.combinations if list(row) not in KNOWN.tolist()]
    scores = []
    for row in LABELS.combinations:
        score = sum(log_odds[label] for label in range(3) if row[label])
        scores.append(score + (-1.0 - np.log(len(unseen)) if row in unseen else 0.0))
    powers = np.exp(np.array(scores) - max(scores))
    return np.asarray(powers / powers.sum())


def slow_loss(logits: Array, targets: Array, smoothing: float, weight: float) -> float:
    """The mean over photographs of both cross-entropies."""
    total = 0.0
    for photo, photo_logits in enumerate(logits):
        smooth = (1 - smoothing) * targets[photo] + smoothing * KNOWN.mean(axis=0)
        for label in range(3):
            probability = 1 / (1 + np.exp(-photo_logits[label]))
            total -= smooth[label] * np.log(probability) / 3
            total -= (1 - smooth[label]) * np.log(1 - probability) / 3

        clipped = np.clip(smooth, 1e-6, 1 - 1e-6)
        expected = slow_softmax(np.log(clipped / (1 - clipped)))
        predicted = slow_softmax(photo_logits)
        total -= weight * float((expected * np.log(predicted)).sum())
    return total / len(logits)


@pytest.mark.parametrize("targets", [HARD, SOFT])
@pytest.mark.parametrize(("smoothing", "weight"), [(0.1, 0.0), (0.0, 0.5), (0.2, 1.5)])
def test_value_and_gradient_of_a_slow_reference(
    targets: Tensor, smoothing: float, weight: float
) -> None:
    logits = random_logits().requires_grad_()
    loss = make_loss(smoothing, weight)(logits, targets)
    (gradient,) = torch.autograd.grad(loss, logits)

    exact = logits.detach().double().numpy()
    slow_targets = targets.double().numpy()
    assert loss.item() == pytest.approx(slow_loss(exact, slow_targets, smoothing, weight), rel=1e-5)

    # Central differences, logit by logit.
    step = 1e-5
    for index in itertools.product(range(4), range(3)):
        above = exact.copy()
        above[index] += step
        below = exact.copy()
        below[index] -= step
        slope = slow_loss(above, slow_targets, smoothing, weight)
        slope -= slow_loss(below, slow_targets, smoothing, weight)
        assert gradient[index].item() == pytest.approx(slope / (2 * step), abs=1e-5)


def test_without_additions_it_is_the_binary_cross_entropy_bit_for_bit() -> None:
    weights = label_weights(KNOWN, "sqrt")
    logits = random_logits()
    assert torch.equal(ClassifierLoss()(logits, HARD), classification_loss(logits, HARD))
    assert torch.equal(make_loss()(logits, SOFT), classification_loss(logits, SOFT))
    weighted = ClassifierLoss(weights)(logits, HARD)
    assert torch.equal(weighted, classification_loss(logits, HARD, weights))


def test_the_softmax_is_the_decisions() -> None:
    """As `predict` has it, before thresholds are fitted; here all combinations occur."""
    logits = random_logits()
    combinations = label_combinations(LABELS, np.array(LABELS.combinations, np.uint8), CPU)
    softmax = torch.softmax(combinations.scores(logits), dim=1)

    probabilities = torch.sigmoid(logits.double()).numpy()
    expected = combination_probabilities(probabilities, Decision((0.5,) * 3), LABELS)
    assert softmax.numpy() == pytest.approx(expected, abs=1e-6)


def test_both_losses_are_lowest_at_the_targets_own_log_odds() -> None:
    logits = torch.logit(SOFT.clamp(0.01, 0.99)).requires_grad_()
    loss = make_loss(weight=1.0)(logits, SOFT.clamp(0.01, 0.99))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max().item() < 1e-6


def test_smoothing_leaves_the_labels_mean_targets() -> None:
    """The loss's slope at logits of 0 is the mean target minus 1/2, with or without smoothing."""
    targets = torch.from_numpy(KNOWN)
    slopes = []
    for smoothing in (0.0, 0.3):
        logits = torch.zeros(4, 3, requires_grad=True)
        (gradient,) = torch.autograd.grad(make_loss(smoothing)(logits, targets), logits)
        slopes.append(gradient.sum(dim=0))
    assert torch.allclose(slopes[0], slopes[1])


def test_mixed_photographs_have_both_losses_in_proportion() -> None:
    logits = random_logits()
    loss = make_loss(0.1, 0.5)
    share = torch.tensor([0.25, 0.0, 1.0, 0.5])
    mixed = loss(logits, HARD, share).item()

    partners = HARD.roll(1, dims=0)
    expected = 0.0
    for photo in range(4):
        row = slice(photo, photo + 1)
        own = loss(logits[row], HARD[row]).item()
        partner = loss(logits[row], partners[row]).item()
        expected += ((1 - share[photo]) * own + share[photo] * partner).item() / 4
    assert mixed == pytest.approx(expected, rel=1e-5)
