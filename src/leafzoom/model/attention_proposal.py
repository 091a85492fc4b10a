"""The attention proposal network (§3.1.2): from a feature map to the box of the next scale.

Flattened feature map → linear → sigmoid (or ReLU, tanh) → linear → tanh, which gives tx, ty and tl
in -1..1 (eq. 2). `BoxCoder` turns these into a box of the view.

Convention: points are (x, y) in pixels of the view, x = column to the right, y = row down, the
origin at the outer corner of the first pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from leafzoom.model.box_coder import BoxCoder

__all__ = [
    "AttentionProposal",
    "activation_centres",
    "fixed_proposals",
    "response_maxima",
]

_MIN_MEAN_SQUARE = 1e-12
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}


class AttentionProposal(nn.Module):
    """The APN of one scale.

    Args:
        channels: of the feature map it reads.
        map_size: side of that map in cells.
        hidden: units between the two linear layers.
        activation: of those units.
        normalise: `none` (the paper), or `places`: each channel without its mean over the cells,
            all divided by their root mean square. The APN then reads where a channel differs. An
            EfficientNet's map has values of tens, which can saturate the hidden units, and then all
            boxes are alike.
    """

    def __init__(
        self,
        *,
        channels: int,
        map_size: int,
        hidden: int,
        activation: Literal["sigmoid", "relu", "tanh"],
        normalise: Literal["none", "places"] = "none",
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * map_size * map_size, hidden),
            _ACTIVATIONS[activation](),
            nn.Linear(hidden, 3),
            nn.Tanh(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Proposals [B, 3] in -1..1 (tx, ty, tl) from a feature map [B, C, M, M]."""
        if self.normalise == "places":
            features = features - features.mean(dim=(2, 3), keepdim=True)
            mean_square = features.square().mean(dim=(1, 2, 3), keepdim=True)
            features = features / mean_square.clamp(min=_MIN_MEAN_SQUARE).sqrt()
        proposals: Tensor = self.layers(features)
        return proposals


def response_maxima(features: Tensor, view_size: int) -> Tensor:
    """Where a feature map responds most (§3.3.2): enlarged to the view, its maximum over channels.

    Every channel is enlarged bilinearly, then the maximum is taken, as the paper has it. The other
    order gives another place where the maxima of neighbouring cells are of different channels.

    Between the centres of four cells a channel's enlarged map is bilinear, so its largest pixels
    there are at the corners. Only those pixels are computed.

    Args:
        features: [B, C, M, M].
        view_size: V, side of the view in pixels.

    Returns:
        [B, 2], x and y in pixels of the view: the centre of the pixel with the largest response.

    >>> features = torch.zeros(1, 8, 7, 7)
    >>> features[0, 3, 1, 5] = 2.0  # row 1, column 5
    >>> response_maxima(features, 224).tolist()
    [[175.5, 47.5]]
    """
    pixels = _corner_pixels(features.shape[-1], view_size)
    weights = _bilinear_weights(features.shape[-1], view_size, pixels).to(features)

    # The corner pixels of every channel, then the largest of all channels.
    corners = weights @ features @ weights.T
    index = corners.amax(dim=1).flatten(1).argmax(dim=1)

    positions = torch.tensor(pixels, device=features.device)
    x = positions[index % len(pixels)]
    y = positions[index // len(pixels)]
    return torch.stack([x, y], dim=1).to(features.dtype) + 0.5


def _corner_pixels(cells: int, view_size: int) -> list[int]:
    """The first and the last of V pixels in each interval between the centres of M cells."""
    cell_px = view_size / cells
    intervals = [math.floor((pixel + 0.5) / cell_px - 0.5) for pixel in range(view_size)]
    return [
        pixel
        for pixel, interval in enumerate(intervals)
        if interval not in intervals[max(pixel - 1, 0) : pixel]
        or interval not in intervals[pixel + 1 : pixel + 2]
    ]


def _bilinear_weights(cells: int, view_size: int, pixels: Sequence[int]) -> Tensor:
    """How much each of M cells counts in some of V pixels, [P, M]; `align_corners` is False."""
    positions = (torch.tensor(pixels, dtype=torch.float64) + 0.5) * (cells / view_size) - 0.5
    positions = positions.clamp(0, cells - 1)
    distances = (positions[:, None] - torch.arange(cells)).abs()
    return (1 - distances).clamp(min=0)


def fixed_proposals(
    kind: Literal["centre", "response"], features: Tensor, tl: Tensor, box_coder: BoxCoder
) -> Tensor:
    """Proposals that no network makes: at the view's centre, or where the map responds most.

    Args:
        kind: which.
        features: [B, C, M, M], the map.
        tl: [B, 1], sizes of the boxes, from -1 (least) to 1 (greatest).
        box_coder: of the view.

    Returns:
        [B, 3] in -1..1.

    >>> coder = BoxCoder(224, (0.4, 0.5), "own")
    >>> fixed_proposals("centre", torch.rand(1, 8, 4, 4), torch.ones(1, 1), coder).tolist()
    [[0.0, 0.0, 1.0]]
    """
    if kind == "centre":
        return torch.cat([torch.zeros_like(tl).expand(-1, 2), tl], dim=1)
    centres = response_maxima(features.float(), box_coder.view_size).to(tl.dtype)
    return box_coder.encode(centres, tl)


def activation_centres(activations: Tensor, targets: Tensor, view_size: int) -> Tensor:
    """The centre of mass of a photograph's class activation maps: where its labels' evidence is.

    The maps of the labels that are present count for a cell, those of the others against it. Of
    the sum only what is above its mean counts, squared. Unlike the response's maximum this is the
    classifier's own evidence, and it lies between cells where two share it.

    Args:
        activations: [B, L, M, M], see `Backbone.class_activations`.
        targets: [B, L], 0 or 1.
        view_size: side of the view in pixels.

    Returns:
        [B, 2], x and y in pixels of the view; the view's centre where the map is flat.

    >>> map = torch.zeros(1, 1, 4, 4)
    >>> map[0, 0, 1, 2:] = 1.0
    >>> activation_centres(map, torch.ones(1, 1), 64).tolist()
    [[48.0, 24.0]]
    """
    sign = 2 * targets.to(activations.dtype) - 1
    evidence = torch.einsum("blhw,bl->bhw", activations, sign).float()

    # What is above the mean, as a share of its maximum.
    evidence = evidence - evidence.mean(dim=(1, 2), keepdim=True)
    maximum = evidence.amax(dim=(1, 2), keepdim=True)
    evidence = evidence / maximum.clamp(min=torch.finfo(evidence.dtype).tiny)

    # A flat map has its mass everywhere.
    mass = evidence.clamp(min=0).square()
    mass = torch.where(mass.sum(dim=(1, 2), keepdim=True) > 0, mass, torch.ones_like(mass))
    mass = mass / mass.sum(dim=(1, 2), keepdim=True)

    # The centre of mass, in pixels of the view.
    cells = mass.shape[-1]
    centre = torch.arange(cells, dtype=mass.dtype, device=mass.device) + 0.5
    centre = centre * (view_size / cells)
    x = (mass.sum(dim=1) * centre).sum(dim=1)
    y = (mass.sum(dim=2) * centre).sum(dim=1)
    return torch.stack([x, y], dim=1)
