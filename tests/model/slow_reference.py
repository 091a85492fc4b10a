"""Slow loops, pixel by pixel in float64, that the attention crop is compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def slow_resample(images: Tensor, boxes: Tensor, size: int, *, boxcar: bool = False) -> Tensor:
    """A triangle filter around each output pixel's position, normalised inside the image.

    Args:
        images: [B, C, H, W].
        boxes: [B, 3], x, y and half side in pixels.
        size: side of the result in pixels.
        boxcar: whether eq. 5's logistic boxcar shades the image first.
    """
    B, C, H, W = images.shape
    out = torch.zeros(B, C, size, size, dtype=torch.float64)
    for b in range(B):
        x, y, half_side = (float(value) for value in boxes[b])
        image = images[b].double()
        if boxcar:
            shade_x = [_boxcar(i, x, half_side) for i in range(W)]
            shade_y = [_boxcar(j, y, half_side) for j in range(H)]
            image = image * torch.tensor(shade_x, dtype=torch.float64)
            image = image * torch.tensor(shade_y, dtype=torch.float64)[:, None]

        for row in range(size):
            weights_y = _triangle(y, half_side, row, size, H)
            for column in range(size):
                weights_x = _triangle(x, half_side, column, size, W)
                for c in range(C):
                    out[b, c, row, column] = _weighted_sum(image[c], weights_y, weights_x)
    return out


def slow_surrogate(gradient: Tensor, border: float, kind: str) -> Tensor:
    """Eq. 6-9: -Σ energy · mask for tx, ty and tl, [B, 3].

    Args:
        gradient: [B, C, S, S], what arrives at the crop.
        border: width of the border as a fraction of the side.
        kind: `paper` or `balanced`.
    """
    B, _, size, _ = gradient.shape
    out = torch.zeros(B, 3, dtype=torch.float64)
    in_border = 0
    for row in range(size):
        for column in range(size):
            tx, ty = _side(column, size, border), _side(row, size, border)
            in_border += tx != 0 or ty != 0
    inside = size * size - in_border

    for row in range(size):
        for column in range(size):
            tx = _side(column, size, border)
            ty = _side(row, size, border)
            tl = 1.0 if tx or ty else -1.0
            if kind == "balanced":
                tl *= size * size / 2 / (in_border if tl > 0 else inside)
            for b in range(B):
                energy = float((gradient[b, :, row, column] ** 2).sum())
                out[b] -= energy * torch.tensor([tx, ty, tl], dtype=torch.float64)
    return out


def _triangle(centre: float, half_side: float, pixel: int, size: int, length: int) -> list[float]:
    """The share of each input pixel in one output pixel, along one axis."""
    step = 2 * half_side / size
    width = max(step, 1.0)
    position = centre - half_side + (pixel + 0.5) * step
    weights = [max(0.0, 1 - abs(i + 0.5 - position) / width) for i in range(length)]
    total = sum(weights)
    return [weight / total for weight in weights]


def _weighted_sum(image: Tensor, weights_y: list[float], weights_x: list[float]) -> float:
    """The sum of an image [H, W] under the product of two axes' weights."""
    total = 0.0
    for j, weight_y in enumerate(weights_y):
        for i, weight_x in enumerate(weights_x):
            if weight_x and weight_y:
                total += weight_x * weight_y * float(image[j, i])
    return total


def _boxcar(pixel: int, centre: float, half_side: float) -> float:
    """Eq. 5 along one axis."""
    low = pixel + 0.5 - (centre - half_side)
    high = pixel + 0.5 - (centre + half_side)
    return 1 / (1 + math.exp(-10 * low)) - 1 / (1 + math.exp(min(-10 * high, 700)))


def _side(pixel: int, size: int, border: float) -> float:
    """-1 in the first border along one axis, 1 in the last one, 0 between."""
    position = (pixel + 0.5) / size
    if position < border:
        return -1.0
    return 1.0 if position > 1 - border else 0.0
