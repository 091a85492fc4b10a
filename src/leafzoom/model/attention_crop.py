"""The attention crop (§3.1.2): enlarge a square box of a picture, and tell the box where to go.

Forward: separable resampling, out = A_y · picture · A_xᵀ, whose weights come from the box. A row of A is a
triangle filter around the output pixel's place, as wide as an output pixel is in the picture where the box
shrinks it (antialiased) and one pixel where the box is enlarged (bilinear), normalised inside the picture.
Nothing is rounded, so the box may lie at any sub-pixel place.

Backward: either the sampling's own derivative (`exact`), or the paper's surrogate (eq. 6-9): the energy that
arrives at the crop, summed under masks of -1, 0 and 1, moves tx, ty and tl towards high energy.

Convention (all functions here): a picture's frame has x to the right and y down, its origin at the outer
corner of the first pixel, so that pixel i covers i..i+1 and its centre is i + 0.5 (`align_corners=False`). A
box is (x, y, half side) in pixels of a named frame and covers x ± half side, y ± half side.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

__all__ = [
    "AttentionCrop",
    "attention_crop",
    "compose_boxes",
    "resample",
    "resampling_weights",
    "surrogate_masks",
    "whole_box",
]

_BOXCAR_STEEPNESS = 10.0  # k of the logistic function in eq. 5


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


def resample(pictures: Tensor, boxes: Tensor, out_size: int, *, mask: Literal["none", "boxcar"] = "none") -> Tensor:
    """Cut square boxes out of pictures and enlarge them (eq. 3), differentiable in pictures and boxes.

    `mask = "boxcar"` multiplies the picture by eq. 5's logistic boxcar (k = 10) first, which shades the border
    of the crop towards zero.

    Args:
        pictures: [B, C, H, W], float.
        boxes: [B, 3], in the pictures' pixels, inside them.
        out_size: O, side of the result in pixels.
        mask: whether to shade the border.

    Returns:
        [B, C, O, O].
    """
    H, W = pictures.shape[-2:]
    x, y, half_side = boxes.unbind(dim=1)
    across = resampling_weights(x, half_side, W, out_size)
    down = resampling_weights(y, half_side, H, out_size)
    if mask == "boxcar":
        across = across * _boxcar(x, half_side, W)[:, None, :]
        down = down * _boxcar(y, half_side, H)[:, None, :]
    dtype = pictures.dtype
    return down[:, None].to(dtype) @ pictures @ across[:, None].to(dtype).transpose(2, 3)


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
    place = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size
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

    Returns:
        [B, C, out_size, out_size].
    """
    pictures = pictures.detach()
    if surrogate == "exact":
        return resample(pictures, boxes, out_size, mask=mask)
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
        energy = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        if ctx.surrogate_scale == "per_sample":
            # The largest magnitude first, so that squares of tiny half-precision gradients don't vanish.
            largest = energy.abs().amax(dim=(1, 2, 3), keepdim=True)
            energy = energy / torch.where(largest > 0, largest, torch.ones_like(largest))
        energy = energy.square().sum(dim=1)
        masks = surrogate_masks(energy.shape[-1], border=ctx.border, surrogate=ctx.surrogate, like=energy)
        moved = -torch.einsum("bhw,phw->bp", energy, masks)
        if ctx.surrogate_scale == "per_sample":
            total = energy.sum(dim=(1, 2))[:, None]
            moved = moved / torch.where(total > 0, total, torch.ones_like(total)) / len(energy)
        return None, moved.to(ctx.proposal_dtype), None, None, None, None, None, None


def _boxcar(centre: Tensor, half_side: Tensor, size: int) -> Tensor:
    """Eq. 5 along one axis, at the pixels' centres: [B, size]."""
    pixel = torch.arange(size, dtype=centre.dtype, device=centre.device) + 0.5
    low = torch.sigmoid(_BOXCAR_STEEPNESS * (pixel - (centre - half_side)[:, None]))
    high = torch.sigmoid(_BOXCAR_STEEPNESS * (pixel - (centre + half_side)[:, None]))
    return low - high
