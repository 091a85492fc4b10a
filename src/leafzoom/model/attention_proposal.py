"""The attention proposal network (§3.1.2): from a feature map to the box of the next scale.

Flattened feature map → linear → sigmoid (or ReLU) → linear → tanh, which gives tx, ty and tl in -1..1 (eq. 2).
`decode_boxes` turns them into a box of the view, `encode_boxes` a wanted box into their targets.

Convention: boxes are (x, y, half side) in pixels of the view, x = column to the right, y = row down, origin at
the outer corner of the first pixel; they never leave the view.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = [
    "AttentionProposal",
    "activation_centres",
    "decode_boxes",
    "encode_boxes",
    "placed_proposals",
    "response_maxima",
]


class AttentionProposal(nn.Module):
    """The APN of one scale.

    Args:
        channels: of the feature map it reads.
        map_size: side of that map in cells.
        hidden: units between the two linear layers.
        activation: of those units.
        normalise: `none` (the paper), or `places`: each channel without its mean over the places, the whole divided
            by its root mean square, so that what is read is where a channel differs. An EfficientNet's map has values
            of tens, which can saturate the units behind it, and then all boxes are alike.
    """

    def __init__(
        self,
        *,
        channels: int,
        map_size: int,
        hidden: int,
        activation: Literal["sigmoid", "relu"],
        normalise: Literal["none", "places"] = "none",
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * map_size * map_size, hidden),
            nn.Sigmoid() if activation == "sigmoid" else nn.ReLU(),
            nn.Linear(hidden, 3),
            nn.Tanh(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Proposals [B, 3] in -1..1 (tx, ty, tl) from a feature map [B, C, M, M]."""
        if self.normalise == "places":
            features = features - features.mean(dim=(2, 3), keepdim=True)
            features = features / features.square().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12).sqrt()
        proposals: Tensor = self.layers(features)
        return proposals


def decode_boxes(
    proposals: Tensor, view_size: int, bounds: tuple[float, float], centre_range: Literal["largest", "own"]
) -> Tensor:
    """The boxes that proposals stand for.

    tl runs linearly from the least to the greatest side, tx and ty over the centres that keep the box inside
    the view: those of the largest box (`largest`, the paper's 56..168 for half side 56 of 224), or of this box
    (`own`), so that small boxes reach the border.

    Args:
        proposals: [B, 3] in -1..1.
        view_size: side of the view in pixels.
        bounds: least and greatest side of a box, as fractions of the view's.
        centre_range: which centres are legal.

    Returns:
        [B, 3]: x, y, half side in pixels of the view.

    >>> decode_boxes(torch.tensor([[1.0, -1.0, 1.0]]), 224, (1 / 3, 1 / 2), "largest").tolist()
    [[168.0, 56.0, 56.0]]
    """
    low, high = (view_size * bound / 2 for bound in bounds)
    half_side = low + (proposals[:, 2:] + 1) * ((high - low) / 2)
    # Rounding can put tanh's ±1 an ulp outside; no box may leave the view.
    half_side = half_side.clamp(low, high)
    reach = view_size / 2 - (high if centre_range == "largest" else half_side)
    return torch.cat([view_size / 2 + proposals[:, :2] * reach, half_side], dim=1)


def encode_boxes(
    centres: Tensor,
    tl: float | Tensor,
    view_size: int,
    bounds: tuple[float, float],
    centre_range: Literal["largest", "own"],
) -> Tensor:
    """The legal proposals nearest to wanted centres, of a wanted size (the targets of the APN's warm-up).

    Args:
        centres: [B, 2], x and y in pixels of the view.
        tl: the wanted size, from -1 (least) to 1 (greatest): one for all, or [B, 1].
        view_size, bounds, centre_range: as `decode_boxes`.

    Returns:
        [B, 3] in -1..1; `decode_boxes` maps them to the wanted centres, clamped into the legal range.
    """
    low, high = (view_size * bound / 2 for bound in bounds)
    size = torch.as_tensor(tl, dtype=centres.dtype, device=centres.device).expand(len(centres), 1)
    half_side = torch.full_like(size, high) if centre_range == "largest" else low + (size + 1) * ((high - low) / 2)
    reach = view_size / 2 - half_side
    # A box as large as the view has one legal centre.
    places = (centres - view_size / 2) / reach.clamp(min=torch.finfo(centres.dtype).tiny)
    places = torch.where(reach > 0, places.clamp(-1, 1), torch.zeros_like(places))
    return torch.cat([places, size], dim=1)


def response_maxima(features: Tensor, view_size: int) -> Tensor:
    """Where a feature map responds most (§3.3.2): its maximum over channels, enlarged to the view.

    Args:
        features: [B, C, M, M].
        view_size: side of the view in pixels.

    Returns:
        [B, 2], x and y in pixels of the view: the centre of the pixel with the largest response.
    """
    response = features.amax(dim=1, keepdim=True).float()
    enlarged = nn.functional.interpolate(response, (view_size, view_size), mode="bilinear", align_corners=False)
    place = enlarged.flatten(1).argmax(dim=1)
    return torch.stack([place % view_size, place // view_size], dim=1).to(features.dtype) + 0.5


def placed_proposals(
    kind: Literal["centre", "response"],
    features: Tensor,
    size: Tensor,
    view_size: int,
    bounds: tuple[float, float],
    centre_range: Literal["largest", "own"],
) -> Tensor:
    """Proposals of boxes that no network proposes: at the view's centre, or where the map responds most.

    Args:
        kind: which.
        features: [B, C, M, M], the map.
        size: [B, 1], tl of the boxes.
        view_size, bounds, centre_range: as `decode_boxes`.

    Returns:
        [B, 3] in -1..1.

    >>> placed_proposals("centre", torch.rand(1, 8, 4, 4), torch.ones(1, 1), 224, (0.4, 0.5), "own").tolist()
    [[0.0, 0.0, 1.0]]
    """
    if kind == "centre":
        return torch.cat([torch.zeros_like(size).expand(-1, 2), size], dim=1)
    centres = response_maxima(features.float(), view_size).to(size.dtype)
    return encode_boxes(centres, size, view_size, bounds, centre_range)


def activation_centres(activations: Tensor, targets: Tensor, view_size: int) -> Tensor:
    """Where the evidence for a photograph's labels is: the centre of mass of its class activation maps.

    The maps of the labels that are present count for a place, those of the others against it. Of the sum only what is
    above its mean counts, squared. Unlike the response's maximum this is the classifier's own evidence, and it lies
    between cells where two share it.

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
    evidence = evidence - evidence.mean(dim=(1, 2), keepdim=True)
    evidence = evidence / evidence.amax(dim=(1, 2), keepdim=True).clamp(min=torch.finfo(evidence.dtype).tiny)
    mass = evidence.clamp(min=0).square()
    mass = torch.where(mass.sum(dim=(1, 2), keepdim=True) > 0, mass, torch.ones_like(mass))
    mass = mass / mass.sum(dim=(1, 2), keepdim=True)
    place = (torch.arange(mass.shape[-1], dtype=mass.dtype, device=mass.device) + 0.5) * (view_size / mass.shape[-1])
    return torch.stack([(mass.sum(dim=1) * place).sum(dim=1), (mass.sum(dim=2) * place).sum(dim=1)], dim=1)
