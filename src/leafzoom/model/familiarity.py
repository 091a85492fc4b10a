"""How strange a photograph is to a network: whether what the scales saw is like what they saw of leaves.

A normal density over the descriptors of all scales (Lee et al. 2018, "A simple unified framework for detecting
out-of-distribution samples", here one class): full along the directions in which leaves differ most, one variance
for all the others, in which leaves hardly differ and other pictures do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Familiarity"]


class Familiarity(nn.Module):
    """The squared Mahalanobis distance of descriptors from those of leaves, 1 at the limit of what passes as one.

    Args:
        width: W, of all scales' descriptors side by side.
        directions: K, how many have their own variance.
    """

    shift: Tensor
    scale: Tensor
    directions: Tensor
    precision: Tensor
    rest: Tensor

    def __init__(self, width: int, directions: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("directions", torch.zeros(width, directions))
        self.register_buffer("precision", torch.zeros(directions))
        self.register_buffer("rest", torch.zeros(1))

    def forward(self, descriptors: Tensor) -> Tensor:
        """The strangeness [B] of descriptors [B, W]; above 1 is strange.

        `directions` [W, K] are orthonormal after the descriptors are shifted and scaled; `precision` [K] and `rest`
        are the inverse variances there and elsewhere, over the limit.
        """
        centred = (descriptors - self.shift) * self.scale
        along = (centred @ self.directions).square()
        outside = centred.square().sum(dim=1) - along.sum(dim=1)
        strangeness: Tensor = (along * self.precision).sum(dim=1) + outside * self.rest
        return strangeness
