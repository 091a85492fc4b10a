"""The out-of-distribution detectors: is a picture like the leaves that the network was made with?

`MahalanobisDetector` knows leaves alone: a normal density over the descriptors (Lee et al. 2018, "A
simple unified framework for detecting out-of-distribution samples and adversarial attacks", here
with one class). It has a variance of its own along each of the directions in which leaves differ
most, and one variance for all other directions, in which leaves hardly differ and other pictures
do.

`OutlierDetector` knows other pictures too (outlier exposure, Hendrycks et al. 2019): a logistic
regression that tells leaves from them by the pooled maps of several stages of the first scale. The
early stages still see what the last one was trained to ignore. It refuses pictures without colour,
too: what tells diseases apart is gone from them, and a grey scab looks like a healthy leaf.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.view import ScaleState

__all__ = ["MahalanobisDetector", "OutlierDetector", "outlier_features"]

_MAX_LOG_SCORE = 20.0
_MIN_VARIANCE = 1e-12
_MIN_COLOUR = 1e-4


def outlier_features(network: AttentionNetwork, state: ScaleState) -> Tensor:
    """What the outlier detector reads of a network's first look, [B, W].

    The mean and the standard deviation of every channel of the stages' maps, then the descriptor,
    and last the colour: the mean over the view of the greatest minus the least of red, green and
    blue, 0..1.
    """
    features = []
    for stage_map in state.stage_maps:
        mean = stage_map.mean(dim=(2, 3))
        mean_square = stage_map.square().mean(dim=(2, 3))
        variance = (mean_square - mean.square()).clamp_min(_MIN_VARIANCE)
        features += [mean, variance.sqrt()]

    image = state.view.image * network.std + network.mean
    colour = (image.amax(dim=1) - image.amin(dim=1)).mean(dim=(1, 2))
    return torch.cat([*features, state.descriptor, colour[:, None]], dim=1)


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


class OutlierDetector(nn.Module):
    """The odds that a picture is no leaf, divided by the odds at the limit; 1 is the limit.

    The buffers are set by `fitting.outlier_detector`: `shift` and `scale` [W] standardise the
    features, `weight` [W] and `bias` [1] give the log-odds above the limit; a picture with less
    colour than `least_colour` [1] is above the limit, whatever its odds.

    Args:
        width: W, of `outlier_features`.
    """

    shift: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    least_colour: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("weight", torch.zeros(width))
        self.register_buffer("bias", torch.zeros(1))
        self.register_buffer("least_colour", torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """The scores [B] of features [B, W]; above 1 is out of distribution."""
        standardised = (features - self.shift) * self.scale
        log_score = standardised @ self.weight + self.bias
        score = log_score.clamp(-_MAX_LOG_SCORE, _MAX_LOG_SCORE).exp()

        colour = features[:, -1].clamp_min(_MIN_COLOUR)
        return torch.maximum(score, self.least_colour / colour)
