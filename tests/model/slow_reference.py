"""Slow loops in float64 that crops, attention and pooling are compared with."""

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


def slow_attention(
    features: Tensor, weights: Tensor, *, centred: bool = False
) -> tuple[Tensor, Tensor]:
    """The attention [B, P, H, W] of parts, and their descriptors [B, P, C].

    Args:
        features: [B, C, H, W].
        weights: of channels, [B, P, C].
        centred: measure each sum over channels from its mean over the places.
    """
    B, C, H, W = features.shape
    P = weights.shape[1]
    attention = torch.zeros(B, P, H, W, dtype=torch.float64)
    descriptors = torch.zeros(B, P, C, dtype=torch.float64)
    for b in range(B):
        for p in range(P):
            attention[b, p] = _slow_attention_map(features[b], weights[b, p], P, centred=centred)
            for j in range(H):
                for i in range(W):
                    for c in range(C):
                        descriptors[b, p, c] += features[b, c, j, i] * attention[b, p, j, i]
    return attention, descriptors


def _slow_attention_map(features: Tensor, weights: Tensor, parts: int, *, centred: bool) -> Tensor:
    """One part's attention [H, W] on maps [C, H, W]."""
    C, H, W = features.shape
    scores = torch.zeros(H, W, dtype=torch.float64)
    for j in range(H):
        for i in range(W):
            for c in range(C):
                scores[j, i] += weights[c] * features[c, j, i]
    mean = float(scores.sum()) / (H * W) if centred else 0.0
    divisor = math.sqrt(C / parts) if centred else C / parts

    attention = torch.zeros(H, W, dtype=torch.float64)
    for j in range(H):
        for i in range(W):
            attention[j, i] = 1 / (1 + math.exp(-(float(scores[j, i]) - mean) / divisor))
    return attention / float(attention.sum())


def slow_bilinear_pooling(features: Tensor, attention: Tensor) -> Tensor:
    """Bilinear attention pooling [B, M * C] with signed roots and norm 1.

    Args:
        features: [B, C, H, W].
        attention: [B, M, H, W].
    """
    B, C, H, W = features.shape
    M = attention.shape[1]
    out = torch.zeros(B, M * C, dtype=torch.float64)
    for b in range(B):
        for m in range(M):
            for c in range(C):
                mean = 0.0
                for j in range(H):
                    for i in range(W):
                        mean += float(attention[b, m, j, i] * features[b, c, j, i]) / (H * W)
                out[b, m * C + c] = math.copysign(math.sqrt(abs(mean) + 1e-6), mean)
        out[b] /= math.sqrt(sum(float(value) ** 2 for value in out[b]))
    return out


def slow_attention_box(attention: Tensor, threshold: float, padding: float) -> list[float]:
    """The square box around what reaches a share of the maximum of a map [H, W], by fine steps."""
    steps = 100
    H, W = attention.shape
    level = threshold * float(attention.max())
    values = attention.tolist()
    reached_x = []
    reached_y = []
    for row in range(steps):
        for column in range(steps):
            x = (column + 0.5) / steps
            y = (row + 0.5) / steps
            if _bilinear_value(values, x * W - 0.5, y * H - 0.5) >= level:
                reached_x.append(x)
                reached_y.append(y)

    x0 = max(0.0, min(reached_x) - padding)
    x1 = min(1.0, max(reached_x) + padding)
    y0 = max(0.0, min(reached_y) - padding)
    y1 = min(1.0, max(reached_y) + padding)
    half_side = max(x1 - x0, y1 - y0) / 2
    centre_x = min(max((x0 + x1) / 2, half_side), 1 - half_side)
    centre_y = min(max((y0 + y1) / 2, half_side), 1 - half_side)
    return [centre_x, centre_y, half_side]


def slow_sampled_mean(attention: list[float], values: Tensor) -> Tensor:
    """The mean over N of the estimates from values [N, D], drawn with these attentions in order."""
    N = len(values)
    total = torch.zeros_like(values[0])
    for k in range(N):
        estimate = torch.zeros_like(values[0])
        left = 1.0
        for j in range(k):
            estimate = estimate + attention[j] * values[j]
            left -= attention[j]
        total = total + estimate + left * values[k]
    return total / N


def draw_probability(attention: Tensor, order: tuple[int, ...]) -> Tensor:
    """The probability of drawing places in this order without replacement, from attention [n]."""
    probability = torch.ones((), dtype=attention.dtype)
    left = torch.ones((), dtype=attention.dtype)
    for index in order:
        probability = probability * attention[index] / left
        left = left - attention[index]
    return probability


def slow_grouping_losses(attention: Tensor, margin: float) -> tuple[float, float]:
    """The distance and the diversity loss of attention [B, P, H, W], means over the batch."""
    B, P, H, W = attention.shape
    distance = 0.0
    diversity = 0.0
    for b in range(B):
        for p in range(P):
            peak_x, peak_y = _peak(attention[b, p])
            for j in range(H):
                for i in range(W):
                    own = float(attention[b, p, j, i])
                    distance += own * (((i - peak_x) / W) ** 2 + ((j - peak_y) / H) ** 2)
                    others = [float(attention[b, k, j, i]) for k in range(P) if k != p]
                    diversity += own * (max(others) - margin)
    return distance / B, diversity / B


def _peak(values: Tensor) -> tuple[int, int]:
    """Column and row of the greatest cell of a map [H, W]."""
    best = (0, 0)
    for j in range(values.shape[0]):
        for i in range(values.shape[1]):
            if values[j, i] > values[best[1], best[0]]:
                best = (i, j)
    return best


def _bilinear_value(values: list[list[float]], x: float, y: float) -> float:
    """A map's rows between its cells' centres; beyond the outer ones as there."""
    H = len(values)
    W = len(values[0])
    x = min(max(x, 0.0), W - 1.0)
    y = min(max(y, 0.0), H - 1.0)
    column = min(int(x), W - 2)
    row = min(int(y), H - 2)
    right = x - column
    down = y - row
    upper = (1 - right) * values[row][column] + right * values[row][column + 1]
    lower = (1 - right) * values[row + 1][column] + right * values[row + 1][column + 1]
    return (1 - down) * upper + down * lower


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
