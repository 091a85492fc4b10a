"""The channel grouping loss L_cng of the MA-CNN: each part compact, all parts apart.

Attention maps are [B, P, H, W], each with a sum of 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leafzoom.model.macnn import peaks

__all__ = ["GroupingLoss", "distance_loss", "diversity_loss"]


def distance_loss(attention: Tensor) -> Tensor:
    """L_dis: the mean squared distance of each map's attention from its peak.

    Distances are fractions of the map's side, so that the loss has one size for maps of any size.
    In cells, as the paper writes it, it would outweigh the diversity by hundreds.

    Returns:
        The sum over parts, a mean over the batch. The peaks are constants for the gradient.
    """
    B, _, H, W = attention.shape
    x = (torch.arange(W, device=attention.device, dtype=attention.dtype) + 0.5) / W
    y = (torch.arange(H, device=attention.device, dtype=attention.dtype) + 0.5) / H

    peak = peaks(attention.detach())[:, :, :, None, None]
    squared_distance = (x - peak[:, :, 0]).square() + (y[:, None] - peak[:, :, 1]).square()
    return (attention * squared_distance).sum() / B


def diversity_loss(attention: Tensor, margin: float) -> Tensor:
    """L_div: how much each part attends where another part attends most.

    Args:
        attention: of two parts or more.
        margin: attention of others below it is no overlap.

    Returns:
        The sum over parts, a mean over the batch.
    """
    B, P = attention.shape[:2]
    total = attention.new_zeros(())
    for part in range(P):
        others = [other for other in range(P) if other != part]
        greatest = attention[:, others].amax(dim=1)
        total = total + (attention[:, part] * (greatest - margin)).sum()
    return total / B


@dataclass(frozen=True)
class GroupingLoss:
    """L_cng: the distance loss plus the diversity loss times a weight.

    `diversity_weight`: λ. `margin`: of the diversity loss.
    """

    diversity_weight: float
    margin: float

    def __call__(self, attention: Tensor) -> dict[str, Tensor]:
        """The loss, and what it is the sum of, by the names in the log."""
        distance = distance_loss(attention)
        diversity = diversity_loss(attention, self.margin)
        return {
            "grouping_loss": distance + self.diversity_weight * diversity,
            "distance_loss": distance,
            "diversity_loss": diversity,
        }
