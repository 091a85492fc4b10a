"""The out-of-distribution detector: is a picture like the leaves that the network was made with?

A normal density over the descriptors of all scales (Lee et al. 2018, "A simple unified framework
for detecting out-of-distribution samples and adversarial attacks", here with one class). It has a
variance of its own along each of the directions in which leaves differ most, and one variance for
all other directions, in which leaves hardly differ and other pictures do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MahalanobisDetector"]


class MahalanobisDetector(nn.Module):
    """The squared Mahalanobis distance of descriptors from those of leaves; 1 is the limit.

    The buffers are set by `fitting.ood_detector`: `shift` and `scale` [W] standardise the
    descriptors; `directions` [W, K] are orthonormal after that; `precision` [K] and `rest` [1] are
    the inverse variances along and outside of them, divided by the limit.

    Args:
        width: W, of all scales' descriptors side by side.
        directions: K, how many directions have a variance of their own.
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
        """The scores [B] of descriptors [B, W]; above 1 is out of distribution."""
        centred = (descriptors - self.shift) * self.scale
        along = (centred @ self.directions).square()
        outside = centred.square().sum(dim=1) - along.sum(dim=1)
        score: Tensor = (along * self.precision).sum(dim=1) + outside * self.rest
        return score
