"""The attention crop as one would first write it: a loop over the batch that slices, resizes, and sums under masks.

The slow reference of the crop's benchmark; it rounds boxes to whole pixels, as the authors' code does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["slow_crop"]


def slow_crop(pictures: Tensor, proposals: Tensor, boxes: Tensor, out_size: int, *, boxcar: bool) -> Tensor:
    """Enlarge boxes [B, 3] of pictures [B, C, S, S]; backward the surrogate of eq. 6-9. One photograph by one."""
    cropped: Tensor = _SlowCrop.apply(pictures, proposals, boxes, out_size, boxcar)
    return cropped


class _SlowCrop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: Tensor, proposals: Tensor, boxes: Tensor, out_size: int, boxcar: bool) -> Tensor:
        side = pictures.shape[-1]
        place = torch.arange(side, dtype=pictures.dtype)
        crops = []
        for picture, (x, y, half) in zip(pictures, boxes.tolist(), strict=True):
            x0, x1, y0, y1 = round(x - half), round(x + half), round(y - half), round(y + half)
            if boxcar:
                across = torch.sigmoid(10 * (place - x0)) - torch.sigmoid(10 * (place - x1))
                down = torch.sigmoid(10 * (place - y0)) - torch.sigmoid(10 * (place - y1))
                picture = picture * (down[:, None] * across[None, :])
            cut = picture[None, :, y0:y1, x0:x1]
            crops.append(functional.interpolate(cut, (out_size, out_size), mode="bilinear", align_corners=True))
        return torch.cat(crops)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        size = gradient.shape[-1]
        border = size // 4
        tx, ty, tl = torch.zeros(size, size), torch.zeros(size, size), torch.ones(size, size)
        tx[:, :border], tx[:, -border:] = -1, 1
        ty[:border], ty[-border:] = -1, 1
        tl[border:-border, border:-border] = -1
        moved = []
        for one in gradient:
            energy = one.square().sum(dim=0)
            moved.append(torch.stack([-(energy * mask).sum() for mask in (tx, ty, tl)]))
        return None, torch.stack(moved), None, None, None
