"""The attention crop (§3.1.2): enlarge a square box of a picture, and tell the box where to go.

Forward: separable resampling, out = A_y · picture · A_xᵀ, whose weights come from the box. A row of A is a
triangle filter around the output pixel's place, as wide as an output pixel is in the picture where the box
shrinks it (antialiased) and one pixel where the box is enlarged (bilinear), normalised inside the picture.
Nothing is rounded, so the box may lie at any sub-pixel place. On a CPU, boxes that are only enlarged are sampled by
PyTorch's `grid_sample`, which is the same function there (two pixels an axis have a weight) and faster.

Backward: either the sampling's own derivative (`exact`), or the paper's surrogate (eq. 6-9): the energy that
arrives at the crop, summed under masks of -1, 0 and 1, moves tx, ty and tl towards high energy.

Convention (all functions here): a picture's frame has x to the right and y down, its origin at the outer
corner of the first pixel, so that pixel i covers i..i+1 and its centre is i + 0.5 (`align_corners=False`). A
box is (x, y, half side) in pixels of a named frame and covers x ± half side, y ± half side.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = [
    "AttentionCrop",
    "attention_crop",
    "compose_boxes",
    "resample",
    "resample_whole",
    "resampling_weights",
    "surrogate_masks",
    "whole_box",
]

_BOXCAR_STEEPNESS = 10.0  # k of the logistic function in eq. 5
_PRECISE = (torch.float32, torch.float64)  # numbers that can tell pixels' places
_BESIDE = 4  # rows beside a box that its sampling may touch, rounding included


def whole_box(batch: int, side: float, *, like: Tensor) -> Tensor:
    """Boxes that cover a whole square picture of this side: [batch, 3], of `like`'s type and device."""
    return torch.full((batch, 3), side / 2, dtype=like.dtype, device=like.device)


def compose_boxes(parents: Tensor, boxes: Tensor, view_size: int) -> Tensor:
    """Boxes proposed inside a view, in the frame of the picture that the view was cut from.

    Args:
        parents: [B, 3], the view's own box in the picture's pixels.
        boxes: [B, 3], in pixels of the view.
        view_size: side of the view in pixels.

    Returns:
        [B, 3] in the picture's pixels.

    >>> compose_boxes(torch.tensor([[128., 128., 64.]]), torch.tensor([[56., 112., 28.]]), 224).tolist()
    [[96.0, 128.0, 16.0]]
    """
    scale = 2 * parents[:, 2:] / view_size
    corner = parents[:, :2] - parents[:, 2:]
    return torch.cat([corner + boxes[:, :2] * scale, boxes[:, 2:] * scale], dim=1)


def resampling_weights(centre: Tensor, half_side: Tensor, in_size: int, out_size: int) -> Tensor:
    """One axis of the resampling: the share of each input pixel in each output pixel.

    Args:
        centre, half_side: [B], the box along this axis, in input pixels.
        in_size, out_size: I and O, in pixels.

    Returns:
        [B, O, I], differentiable in the box; rows sum to one.
    """
    pixel = torch.arange(in_size, dtype=centre.dtype, device=centre.device) + 0.5
    place = (torch.arange(out_size, dtype=centre.dtype, device=centre.device) + 0.5) * (2 / out_size) - 1
    target = centre[:, None] + half_side[:, None] * place
    support = (half_side * (2 / out_size)).clamp(min=1.0)
    distance = (target[:, :, None] - pixel).abs() / support[:, None, None]
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(dim=2, keepdim=True)


def resample(
    pictures: Tensor,
    boxes: Tensor,
    out_size: int,
    *,
    mask: Literal["none", "boxcar"] = "none",
    largest: float | None = None,
) -> Tensor:
    """Cut square boxes out of pictures and enlarge them (eq. 3), differentiable in pictures and boxes.

    `mask = "boxcar"` multiplies the picture by eq. 5's logistic boxcar (k = 10) first, which shades the border
    of the crop towards zero.

    Args:
        pictures: [B, C, H, W], float.
        boxes: [B, 3], in the pictures' pixels, inside them.
        out_size: O, side of the result in pixels.
        mask: whether to shade the border.
        largest: the greatest half side that a box can have, where it is known: an exported model reads no more rows
            than such a box needs.

    Returns:
        [B, C, O, O].
    """
    H, W = pictures.shape[-2:]
    x, y, half_side = boxes.unbind(dim=1)
    if mask == "boxcar":
        pictures = pictures * _boxcar(y, half_side, H)[:, None, :, None].to(pictures.dtype)
        pictures = pictures * _boxcar(x, half_side, W)[:, None, None, :].to(pictures.dtype)
    if pictures.dtype in _PRECISE and _only_enlarges(boxes, out_size):
        return _bilinear(pictures, boxes, out_size)
    if _is_exported() and largest is not None and 2 * largest <= min(out_size, H - _BESIDE):
        pictures, y = _rows_of(pictures, y, half_side, largest)
    across = resampling_weights(x, half_side, W, out_size)
    down = resampling_weights(y, half_side, pictures.shape[-2], out_size)
    dtype = pictures.dtype
    return down[:, None].to(dtype) @ (pictures @ across[:, None].to(dtype).transpose(2, 3))


def _rows_of(pictures: Tensor, y: Tensor, half_side: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """The rows of pictures [B, C, H, W] that boxes reach, as many of each as the largest box needs, and y in them.

    A box that is not shrunk has weights within a pixel of its edges.
    """
    B, C, H, W = pictures.shape
    count = math.ceil(2 * largest) + _BESIDE
    first = (y - half_side - 1).floor().clamp(0, H - count)
    place = first.long()[:, None, None] + torch.arange(count, device=pictures.device)
    channel = torch.arange(C, device=pictures.device)[:, None] * H
    photograph = torch.arange(B, device=pictures.device)[:, None, None] * (C * H)
    rows = (photograph + channel + place).flatten()
    return pictures.reshape(-1, W)[rows].reshape(B, C, count, W), y - first


def resample_whole(pictures: Tensor, out_size: int) -> Tensor:
    """`resample` of boxes that cover their whole square pictures [B, C, S, S], to [B, C, out_size, out_size]."""
    if _is_exported() or pictures.dtype not in _PRECISE:  # ONNX gets plain products of matrices
        return resample(pictures, whole_box(pictures.shape[0], pictures.shape[-1], like=pictures), out_size)
    size = (out_size, out_size)
    return torch.nn.functional.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


def _is_exported() -> bool:
    """Whether this is traced for an exported model."""
    return torch.compiler.is_exporting() if hasattr(torch.compiler, "is_exporting") else torch.compiler.is_compiling()


def _only_enlarges(boxes: Tensor, out_size: int) -> bool:
    """Whether no box is shrunk, on a CPU (elsewhere a look at the values would wait for the device)."""
    if _is_exported() or boxes.device.type != "cpu" or boxes.dtype not in _PRECISE or not len(boxes):
        return False
    return 2 * float(boxes.detach()[:, 2].max()) <= out_size


def _bilinear(pictures: Tensor, boxes: Tensor, out_size: int) -> Tensor:
    """`resample` where no box is shrunk: bilinear; beyond the outer pixels' centres their values."""
    H, W = pictures.shape[-2:]
    place = (torch.arange(out_size, dtype=boxes.dtype, device=boxes.device) + 0.5) * (2 / out_size) - 1
    across = (boxes[:, :1] + boxes[:, 2:] * place) * (2 / W) - 1
    down = (boxes[:, 1:2] + boxes[:, 2:] * place) * (2 / H) - 1
    shape = (len(boxes), out_size, out_size)
    grid = torch.stack([across[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=3)
    return torch.nn.functional.grid_sample(
        pictures, grid.to(pictures.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )


def surrogate_masks(size: int, *, border: float, surrogate: Literal["paper", "balanced"], like: Tensor) -> Tensor:
    """The masks M' of eq. 7-9 for tx, ty and tl, on the crop's own pixels.

    `paper`: -1, 0 and 1; tl's mask is 1 within the border and -1 inside. On uniform energy its sum is positive
    wherever the border is wider than 0.146 of the side, so boxes grow. `balanced`: tl's two regions weigh the
    same (the mean over the border minus the mean over the inside, times half the number of pixels).

    Args:
        size: side of the crop in pixels.
        border: width of the border as a fraction of the side ("tends to": 56 of 224).
        surrogate: which masks.
        like: a tensor of the wanted type and device.

    Returns:
        [3, size, size].
    """
    place = _places(size, like=like)
    axis = (place > 1 - border).to(like.dtype) - (place < border).to(like.dtype)
    tx = axis[None, :].expand(size, size)
    ty = axis[:, None].expand(size, size)
    near = ((tx != 0) | (ty != 0)).to(like.dtype)
    tl = 2 * near - 1
    if surrogate == "balanced":
        half = size * size / 2
        tl = near * (half / near.sum()) - (1 - near) * (half / (1 - near).sum())
    return torch.stack([tx, ty, tl])


def attention_crop(
    pictures: Tensor,
    proposals: Tensor,
    boxes: Tensor,
    out_size: int,
    *,
    surrogate: Literal["paper", "balanced", "exact"],
    surrogate_scale: Literal["sum", "per_sample"] = "sum",
    border: float = 0.25,
    mask: Literal["none", "boxcar"] = "none",
    largest: float | None = None,
) -> Tensor:
    """Enlarge boxes of pictures; the backward pass reaches the proposals that the boxes came from.

    `exact`: through the boxes, by the sampling's derivative. `paper`, `balanced`: eq. 6-9's surrogate straight
    to the proposals, in the crop's own frame (see `AttentionCrop`). The pictures get no gradient: a finer
    scale's loss never reaches a coarser scale's weights.

    Args:
        pictures: [B, C, H, W].
        proposals: [B, 3], the APN's tanh outputs tx, ty, tl.
        boxes: [B, 3], decoded from the proposals, in the pictures' pixels.
        out_size: side of the result in pixels.
        surrogate, surrogate_scale, border, mask: values of the recipe.
        largest: see `resample`.

    Returns:
        [B, C, out_size, out_size].
    """
    pictures = pictures.detach()
    if surrogate == "exact" or _is_exported():  # an exported model has no backward pass
        return resample(pictures, boxes, out_size, mask=mask, largest=largest)
    cropped: Tensor = AttentionCrop.apply(
        pictures, proposals, boxes, out_size, surrogate, surrogate_scale, border, mask
    )
    return cropped


class AttentionCrop(torch.autograd.Function):
    """`resample` forward, the paper's surrogate backward (eq. 6-9).

    With E the energy, the squared norm over channels of the gradient that arrives at a crop's pixel (D_top of
    eq. 6), tx, ty and tl each get the gradient -Σ E · M': descent moves the box to where the energy is, and
    makes it grow where the energy is at its border. `sum` is as written. `per_sample` divides by each crop's
    total energy and by the batch, so that batch size, loss scale and precision don't change the step; no energy
    gives zero.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pictures: Tensor,
        proposals: Tensor,
        boxes: Tensor,
        out_size: int,
        surrogate: Literal["paper", "balanced"],
        surrogate_scale: Literal["sum", "per_sample"],
        border: float,
        mask: Literal["none", "boxcar"],
    ) -> Tensor:
        """Enlarge the boxes; arguments as `attention_crop`."""
        ctx.surrogate, ctx.surrogate_scale, ctx.border = surrogate, surrogate_scale, border
        ctx.proposal_dtype = proposals.dtype
        return resample(pictures, boxes, out_size, mask=mask)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The surrogate for the proposals, nothing for the pictures and the boxes."""
        (gradient,) = gradients
        gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        if ctx.surrogate_scale == "per_sample":
            # The largest magnitude first, so that squares of tiny half-precision gradients don't vanish.
            largest = torch.linalg.vector_norm(gradient, ord=float("inf"), dim=(1, 2, 3), keepdim=True)
            gradient = gradient / torch.where(largest > 0, largest, torch.ones_like(largest))
        size = gradient.shape[-1]
        width = sum((pixel + 0.5) / size < ctx.border for pixel in range(size))
        masks = surrogate_masks(size, border=ctx.border, surrogate=ctx.surrogate, like=gradient)
        # The masks are constant on each of nine parts of the crop: its first pixel, its last, one between.
        of_parts = torch.stack([masks[:, place] for place in (0, size // 2, size - 1)], dim=1)
        of_parts = torch.stack([of_parts[:, :, place] for place in (0, size // 2, size - 1)], dim=2)
        energy = _energy_of_nine_parts(gradient, width)
        moved = -torch.einsum("bhw,phw->bp", energy, of_parts)
        if ctx.surrogate_scale == "per_sample":
            total = energy.sum(dim=(1, 2))[:, None]
            moved = moved / torch.where(total > 0, total, torch.ones_like(total)) / len(energy)
        return None, moved.to(ctx.proposal_dtype), None, None, None, None, None, None


def _places(size: int, *, like: Tensor) -> Tensor:
    """The centres of a side's pixels, in 0..1."""
    return (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size


def _energy_of_nine_parts(gradient: Tensor, border: int) -> Tensor:
    """The squared norm of a gradient [B, C, S, S] in each of nine parts: its border of so many pixels, and the rest.

    Returns:
        [B, 3, 3]: top, middle, bottom by left, middle, right.
    """
    size = gradient.shape[-1]
    parts = [slice(0, border), slice(border, size - border), slice(size - border, size)]
    # In this format rows of pixels with their channels lie side by side, and no copy of the squares is made.
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    rows = [torch.linalg.vector_norm(gradient[..., part], dim=(1, 3)).square() for part in parts]
    by_row = torch.stack(rows, dim=2)
    return torch.stack([by_row[:, part].sum(dim=1) for part in parts], dim=1)


def _boxcar(centre: Tensor, half_side: Tensor, size: int) -> Tensor:
    """Eq. 5 along one axis, at the pixels' centres: [B, size]."""
    pixel = torch.arange(size, dtype=centre.dtype, device=centre.device) + 0.5
    low = torch.sigmoid(_BOXCAR_STEEPNESS * (pixel - (centre - half_side)[:, None]))
    high = torch.sigmoid(_BOXCAR_STEEPNESS * (pixel - (centre + half_side)[:, None]))
    return low - high
