"""The attention crop as one would first write it: a loop over the batch that slices, resizes, and
sums under masks.

The slow reference of the crop's benchmark. It rounds boxes to whole pixels, as the authors' code
does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["slow_crop"]

_BOXCAR_STEEPNESS = 10  # k of the logistic function in eq. 5


def slow_crop(
    images: Tensor, proposals: Tensor, boxes: Tensor, out_size: int, *, boxcar: bool
) -> Tensor:
    """Enlarge boxes of images, one after the other; backward is the surrogate of eq. 6-9.

    Args:
        images: [B, C, S, S].
        proposals: [B, 3], which get the gradient.
        boxes: [B, 3], x, y and half side in pixels of the images.
        out_size: side of the crops in pixels.
        boxcar: whether the images are masked by eq. 5.

    Returns:
        [B, C, out_size, out_size].
    """
    cropped: Tensor = _SlowCrop.apply(images, proposals, boxes, out_size, boxcar)
    return cropped


class _SlowCrop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, proposals: Tensor, boxes: Tensor, out_size: int, boxcar: bool
    ) -> Tensor:
        position = torch.arange(images.shape[-1], dtype=images.dtype)
        crops = []
        for image, (x, y, half_side) in zip(images, boxes.tolist(), strict=True):
            columns = (round(x - half_side), round(x + half_side))
            rows = (round(y - half_side), round(y + half_side))
            if boxcar:
                down = _boxcar(position, rows)
                across = _boxcar(position, columns)
                image = image * (down[:, None] * across[None, :])

            # Whole pixels only.
            cut = image[None, :, slice(*rows), slice(*columns)]
            crop = functional.interpolate(
                cut, (out_size, out_size), mode="bilinear", align_corners=True
            )
            crops.append(crop)
        return torch.cat(crops)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        masks = _surrogate_masks(gradient.shape[-1])

        proposal_gradients = []
        for crop_gradient in gradient:
            energy = crop_gradient.square().sum(dim=0)
            proposal_gradients.append(torch.stack([-(energy * mask).sum() for mask in masks]))
        return None, torch.stack(proposal_gradients), None, None, None


def _boxcar(position: Tensor, ends: tuple[int, int]) -> Tensor:
    """Eq. 5 along one axis: about 1 between the ends and 0 outside, [S].

    Args:
        position: [S], in pixels.
        ends: of the box, in pixels.
    """
    rise, fall = (torch.sigmoid(_BOXCAR_STEEPNESS * (position - end)) for end in ends)
    return rise - fall


def _surrogate_masks(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. 7-9: the masks [size, size] of -1, 0 and 1 for tx, ty and tl."""
    border = size // 4
    tx = torch.zeros(size, size)
    tx[:, :border] = -1
    tx[:, -border:] = 1

    ty = torch.zeros(size, size)
    ty[:border] = -1
    ty[-border:] = 1

    tl = torch.ones(size, size)
    tl[border:-border, border:-border] = -1
    return tx, ty, tl
