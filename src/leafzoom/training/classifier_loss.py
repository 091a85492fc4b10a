"""The loss that classifiers learn from: cross-entropy, and what a recipe adds to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from leafzoom.fitting.decision import combination_priors
from leafzoom.labels import LabelSet
from leafzoom.model.losses import LabelWeights, classification_loss

__all__ = ["ClassifierLoss", "LabelCombinations", "label_combinations", "label_frequencies"]

_EPSILON = 1e-6  # log-odds of targets are computed no closer than this to 0 and 1


@dataclass(frozen=True)
class LabelCombinations:
    """The combinations of labels that a decision chooses from (see `decide`).

    `rows`: float [C, L], 0 or 1. `priors`: [C], added to their scores (see `combination_priors`).
    """

    rows: Tensor
    priors: Tensor

    def scores(self, log_odds: Tensor) -> Tensor:
        """The combinations' scores [B, C] before the softmax, from log-odds [B, L]."""
        return log_odds @ self.rows.T + self.priors


def label_combinations(
    labels: LabelSet, targets: NDArray[np.uint8], device: torch.device
) -> LabelCombinations:
    """The combinations of a label set, with their priors before a decision is fitted.

    Args:
        labels: with C combinations.
        targets: [n, L], of all photographs that are known.
        device: of the tensors.
    """
    return LabelCombinations(
        rows=torch.tensor(labels.combinations, dtype=torch.float32, device=device),
        priors=torch.tensor(
            combination_priors(labels, targets), dtype=torch.float32, device=device
        ),
    )


def label_frequencies(targets: NDArray[np.uint8], device: torch.device) -> Tensor:
    """The share of photographs that have each label, float [L], from targets [n, L]."""
    return torch.tensor(targets.mean(axis=0), dtype=torch.float32, device=device)


@dataclass(frozen=True)
class ClassifierLoss:
    """The mean binary cross-entropy of one scale, with what a recipe adds.

    Label smoothing moves each target towards the label's frequency, not towards 1/2. The mean
    target of a label so stays its frequency, and rare labels do not become likelier.

    The combination loss is the cross-entropy of a softmax over the combinations of labels. A
    combination's score is the sum of its labels' logits. The softmax of a target's log-odds is the
    target distribution, so both losses are lowest at the same logits. For labels of 0 and 1 it has
    all its weight on the photograph's combination.

    `weights`: of the labels in the binary cross-entropy. `smoothing`: weight of the frequencies,
    0..1. `frequencies`: of the labels, [L]; needed with smoothing. `combination_weight`: of the
    combination loss. `combinations`: needed with that weight. `single_label`: the cross-entropy of
    a softmax over classes takes the place of the binary one.
    """

    weights: LabelWeights | None = None
    smoothing: float = 0.0
    frequencies: Tensor | None = None
    combination_weight: float = 0.0
    combinations: LabelCombinations | None = None
    single_label: bool = False

    def __call__(
        self, logits: Tensor, targets: Tensor, partner_share: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch.

        Args:
            logits: [B, L].
            targets: [B, L] in 0..1.
            partner_share: [B], how much of each photograph is the one before it in the batch, where
                photographs are mixed.
        """
        smooth = self._smooth(targets)
        expected_labels = _mix(smooth, partner_share)
        loss = classification_loss(
            logits, expected_labels, self.weights, single_label=self.single_label
        )
        if not self.combination_weight:
            return loss

        # Distributions over combinations are mixed, not labels, which would mean another one.
        assert self.combinations is not None
        expected = _mix(self._distribution(self.combinations, smooth), partner_share)
        log_probabilities = F.log_softmax(self.combinations.scores(logits.float()), dim=1)
        cross_entropy = -(expected * log_probabilities).sum(dim=1).mean()
        return loss + self.combination_weight * cross_entropy

    def _smooth(self, targets: Tensor) -> Tensor:
        """The targets [B, L], moved towards the labels' frequencies."""
        if not self.smoothing:
            return targets
        assert self.frequencies is not None
        return (1 - self.smoothing) * targets.float() + self.smoothing * self.frequencies

    @staticmethod
    def _distribution(combinations: LabelCombinations, targets: Tensor) -> Tensor:
        """The probabilities [B, C] of the combinations for targets [B, L]."""
        log_odds = torch.logit(targets.float(), _EPSILON)
        return torch.softmax(combinations.scores(log_odds), dim=1)


def _mix(values: Tensor, partner_share: Tensor | None) -> Tensor:
    """Values [B, K] mixed with those of the photograph before, by its share [B]."""
    if partner_share is None:
        return values
    own = values.float()
    return own + partner_share[:, None] * (own.roll(1, dims=0) - own)
