"""The attention crop (§3.1.2): enlarge a square box of an image, and tell the box where to go.

Forward: separable resampling, out = A_y · image · A_xᵀ, whose weights come from the box. A row of A
is a triangle filter around the output pixel's position. It is as wide as an output pixel is in the
image where the box is shrunk (antialiased), and one pixel wide where the box is enlarged
(bilinear), normalised inside the image. Nothing is rounded, so the box may lie at any sub-pixel
position. On a CPU, boxes that are only enlarged are sampled by PyTorch's `grid_sample`, which is
the same function there (two pixels an axis have a weight) and faster.

Backward: either the sampling's own derivative (`exact`), or the paper's surrogate (eq. 6-9): the
energy that arrives at the crop, summed under masks of -1, 0 and 1, moves tx, ty and tl towards high
energy.

Convention (all functions here): an image's frame has x to the right and y down, its origin at the
outer corner of the first pixel, so that pixel i covers i..i+1 and its centre is i + 0.5
(`align_corners=False`). A box is (x, y, half side) in pixels of a named frame and covers
x ± half side, y ± half side.
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
_PRECISE_DTYPES = (torch.float32, torch.float64)  # can tell pixels' positions
_MARGIN_ROWS = 4  # beside a box that is not shrunk: its sampling may touch them, rounding included
_SHARE_STEPS = 1024  # a share of an image's side, rounded up to such steps
_MAX_SELECTED_SHARE = 0.9  # larger boxes need all rows


def whole_box(batch: int, side: float, *, like: Tensor) -> Tensor:
    """Boxes [batch, 3] that cover a whole square image, with the dtype and device of `like`."""
    return torch.full((batch, 3), side / 2, dtype=like.dtype, device=like.device)


def compose_boxes(parents: Tensor, boxes: Tensor, view_size: int) -> Tensor:
    """Boxes proposed inside a view, in the frame of the image that the view was cut from.

    Args:
        parents: [B, 3], the view's own box in the image's pixels.
        boxes: [B, 3], in pixels of the view.
        view_size: side of the view in pixels.

    Returns:
        [B, 3] in the image's pixels.

    >>> parent = torch.tensor([[128.0, 128.0, 64.0]])
    >>> compose_boxes(parent, torch.tensor([[56.0, 112.0, 28.0]]), 224).tolist()
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
    # The centres of the input's and of the crop's pixels, in input pixels.
    pixel = torch.arange(in_size, dtype=centre.dtype, device=centre.device) + 0.5
    position = centre[:, None] + half_side[:, None] * _crop_positions(out_size, like=centre)

    # A triangle around each output pixel, at least one input pixel wide.
    width = (half_side * (2 / out_size)).clamp(min=1.0)
    distance = (position[:, :, None] - pixel).abs() / width[:, None, None]
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(dim=2, keepdim=True)


def resample(
    images: Tensor,
    boxes: Tensor,
    out_size: int,
    *,
    mask: Literal["none", "boxcar"] = "none",
    max_share: float | None = None,
) -> Tensor:
    """Cut square boxes out of images and enlarge them (eq. 3), differentiable in images and boxes.

    Args:
        images: [B, C, H, W], float.
        boxes: [B, 3], in the images' pixels, inside them.
        out_size: O, side of the result in pixels.
        mask: `boxcar` multiplies the image by eq. 5's logistic boxcar (k = 10) first, which shades
            the border of the crop towards zero.
        max_share: the greatest side that a box can have, as a share of the image's, where it is
            known: an exported model reads no more rows than such a box needs.

    Returns:
        [B, C, O, O].
    """
    H, W = images.shape[-2:]
    x, y, half_side = boxes.unbind(dim=1)
    dtype = images.dtype

    if mask == "boxcar":
        images = images * _boxcar(y, half_side, H)[:, None, :, None].to(dtype)
        images = images * _boxcar(x, half_side, W)[:, None, None, :].to(dtype)

    # Where no box is shrunk, plain bilinear sampling gives the same.
    if dtype in _PRECISE_DTYPES and _only_enlarges(boxes, out_size):
        return _bilinear(images, boxes, out_size)

    # An exported model reads only the rows that boxes can reach.
    if _is_exported() and max_share is not None and max_share <= _MAX_SELECTED_SHARE:
        images, y = _select_rows(images, y, half_side, max_share, out_size)

    # One product of matrices for each axis.
    across = resampling_weights(x, half_side, W, out_size)
    down = resampling_weights(y, half_side, images.shape[-2], out_size)
    return down[:, None].to(dtype) @ (images @ across[:, None].to(dtype).transpose(2, 3))


def resample_whole(images: Tensor, out_size: int) -> Tensor:
    """`resample` of boxes that cover their whole square images [B, C, S, S].

    Returns:
        [B, C, out_size, out_size].
    """
    # The side of an exported model's sources may be any, and is no plain number then.
    side = images.shape[-1]
    if isinstance(side, int) and side == out_size:
        return images

    if images.dtype not in _PRECISE_DTYPES:
        boxes = whole_box(images.shape[0], images.shape[-1], like=images)
        return resample(images, boxes, out_size)

    return torch.nn.functional.interpolate(
        images, (out_size, out_size), mode="bilinear", align_corners=False, antialias=True
    )


def attention_crop(  # noqa: PLR0913, the recipe's values one by one
    images: Tensor,
    proposals: Tensor,
    boxes: Tensor,
    out_size: int,
    *,
    surrogate: Literal["paper", "balanced", "exact"],
    surrogate_scale: Literal["sum", "per_sample"] = "sum",
    border: float = 0.25,
    mask: Literal["none", "boxcar"] = "none",
    max_share: float | None = None,
) -> Tensor:
    """Enlarge boxes of images; the backward pass reaches the proposals that the boxes came from.

    `exact`: through the boxes, by the sampling's derivative. `paper`, `balanced`: eq. 6-9's
    surrogate straight to the proposals, in the crop's own frame (see `AttentionCrop`). The images
    get no gradient: a finer scale's loss never reaches a coarser scale's weights.

    Args:
        images: [B, C, H, W].
        proposals: [B, 3], the APN's tanh outputs tx, ty, tl.
        boxes: [B, 3], decoded from the proposals, in the images' pixels.
        out_size: O, side of the result in pixels.
        surrogate, surrogate_scale, border, mask: values of the recipe.
        max_share: see `resample`.

    Returns:
        [B, C, O, O].
    """
    images = images.detach()

    # An exported model has no backward pass.
    if surrogate == "exact" or _is_exported():
        return resample(images, boxes, out_size, mask=mask, max_share=max_share)

    cropped: Tensor = AttentionCrop.apply(
        images, proposals, boxes, out_size, surrogate, surrogate_scale, border, mask
    )
    return cropped


class AttentionCrop(torch.autograd.Function):
    """`resample` forward, the paper's surrogate backward (eq. 6-9).

    With E the energy, the squared norm over channels of the gradient that arrives at a crop's pixel
    (D_top of eq. 6), tx, ty and tl each get the gradient -Σ E · M'. Descent moves the box to where
    the energy is, and makes it grow where the energy is at its border. `sum` is as written.
    `per_sample` divides by each crop's total energy and by the batch, so that batch size, loss
    scale and precision don't change the step; no energy gives zero.
    """

    @staticmethod
    def forward(  # noqa: PLR0913, arguments as `attention_crop`
        ctx: Any,
        images: Tensor,
        proposals: Tensor,
        boxes: Tensor,
        out_size: int,
        surrogate: Literal["paper", "balanced"],
        surrogate_scale: Literal["sum", "per_sample"],
        border: float,
        mask: Literal["none", "boxcar"],
    ) -> Tensor:
        """Enlarge the boxes; arguments as `attention_crop`."""
        ctx.surrogate = surrogate
        ctx.surrogate_scale = surrogate_scale
        ctx.border = border
        ctx.proposal_dtype = proposals.dtype
        return resample(images, boxes, out_size, mask=mask)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The surrogate for the proposals, nothing for the images and the boxes."""
        (gradient,) = gradients
        gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))

        # Squares of tiny half-precision gradients must not vanish: the largest becomes 1.
        if ctx.surrogate_scale == "per_sample":
            magnitude = torch.linalg.vector_norm(
                gradient, ord=float("inf"), dim=(1, 2, 3), keepdim=True
            )
            gradient = gradient / torch.where(magnitude > 0, magnitude, torch.ones_like(magnitude))

        # The masks are constant on each of nine regions of the crop.
        masks = _region_masks(gradient, ctx.border, ctx.surrogate)
        energy = _region_energy(gradient, ctx.border)
        step = -torch.einsum("bhw,phw->bp", energy, masks)

        if ctx.surrogate_scale == "per_sample":
            # A crop's total energy drops out, so all crops of a batch count the same.
            total = energy.sum(dim=(1, 2))[:, None]
            step = step / torch.where(total > 0, total, torch.ones_like(total)) / len(energy)
        return None, step.to(ctx.proposal_dtype), None, None, None, None, None, None


def surrogate_masks(
    size: int, *, border: float, surrogate: Literal["paper", "balanced"], like: Tensor
) -> Tensor:
    """The masks M' of eq. 7-9 for tx, ty and tl, on the crop's own pixels.

    `paper`: -1, 0 and 1; tl's mask is 1 within the border and -1 inside. On uniform energy its sum
    is positive wherever the border is wider than 0.146 of the side, so boxes grow. `balanced`: tl's
    two regions weigh the same (the mean over the border minus the mean over the inside, times half
    the number of pixels).

    Args:
        size: side of the crop in pixels.
        border: width of the border as a fraction of the side ("tends to": 56 of 224).
        surrogate: which masks.
        like: a tensor of the dtype and device of the result.

    Returns:
        [3, size, size].
    """
    # tx and ty: 1 at the far border, -1 at the near one, 0 between.
    position = (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size
    positive = (position > 1 - border).to(like.dtype)
    negative = (position < border).to(like.dtype)
    axis = positive - negative
    tx = axis[None, :].expand(size, size)
    ty = axis[:, None].expand(size, size)

    # tl: energy at the border makes the box grow, energy inside makes it shrink.
    in_border = ((tx != 0) | (ty != 0)).to(like.dtype)
    tl = 2 * in_border - 1
    if surrogate == "balanced":
        half = size * size / 2
        inside = 1 - in_border
        tl = in_border * (half / in_border.sum()) - inside * (half / inside.sum())
    return torch.stack([tx, ty, tl])


def _region_masks(
    gradient: Tensor, border: float, surrogate: Literal["paper", "balanced"]
) -> Tensor:
    """`surrogate_masks` on the crop's nine regions, [3, 3, 3]: mask, row, column."""
    size = gradient.shape[-1]
    masks = surrogate_masks(size, border=border, surrogate=surrogate, like=gradient)

    # One pixel of each region: the first, one in the middle, the last.
    pixels = torch.tensor([0, size // 2, size - 1], device=masks.device)
    return masks[:, pixels][:, :, pixels]


def _region_energy(gradient: Tensor, border: float) -> Tensor:
    """The squared norm of a gradient [B, C, S, S] in each of nine regions.

    Returns:
        [B, 3, 3]: top, middle, bottom by left, middle, right; top, bottom, left and right are as
        wide as the border.
    """
    size = gradient.shape[-1]
    width = sum((pixel + 0.5) / size < border for pixel in range(size))
    regions = [slice(0, width), slice(width, size - width), slice(size - width, size)]

    # In this format rows of pixels with their channels lie side by side, and no copy of the squares
    # is made.
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    columns = []
    for region in regions:
        norm = torch.linalg.vector_norm(gradient[..., region], dim=(1, 3))
        columns.append(norm.square())
    by_row = torch.stack(columns, dim=2)
    return torch.stack([by_row[:, region].sum(dim=1) for region in regions], dim=1)


def _select_rows(
    images: Tensor, y: Tensor, half_side: Tensor, max_share: float, out_size: int
) -> tuple[Tensor, Tensor]:
    """The rows of images that boxes reach, as many of each as the largest box needs, and y in them.

    Args:
        images: [B, C, H, W].
        y, half_side: [B], the boxes, in pixels.
        max_share: the greatest side that a box can have, as a share of H.
        out_size: side of the crop in pixels.
    """
    B, C, H, W = images.shape
    count = _reached_rows(H, max_share, out_size)
    if isinstance(count, int) and count >= H:
        return images, y

    # A box's weights end a filter's width beside its edges.
    width = (half_side * (2 / out_size)).clamp(min=1.0)
    first = (y - half_side - width).floor().clamp(min=0)
    first = torch.minimum(first, torch.full_like(first, H - count))

    # One gather for the batch: the rows of all images and channels are numbered through.
    row = first.long()[:, None, None] + torch.arange(count, device=images.device)
    channel = torch.arange(C, device=images.device)[:, None] * H
    image = torch.arange(B, device=images.device)[:, None, None] * (C * H)
    indices = (image + channel + row).flatten()
    return images.reshape(-1, W)[indices].reshape(B, C, count, W), y - first


def _reached_rows(rows: int, max_share: float, out_size: int) -> int:
    """How many of an image's rows a box can reach, at most.

    Whole numbers only: an exported model's sides are symbols, which know no `ceil`.

    Args:
        rows: of the image.
        max_share: the greatest side that a box can have, as a share of the image's.
        out_size: side of the crop in pixels.
    """
    box = rows * math.ceil(max_share * _SHARE_STEPS) // _SHARE_STEPS + 1
    filters = 2 * (box // out_size)
    return box + filters + _MARGIN_ROWS


def _bilinear(images: Tensor, boxes: Tensor, out_size: int) -> Tensor:
    """`resample` where no box is shrunk: bilinear, with the edge pixels' values beyond them."""
    # `grid_sample` counts from -1 to 1 over the whole image, edge to edge.
    H, W = images.shape[-2:]
    position = _crop_positions(out_size, like=boxes)
    across = (boxes[:, :1] + boxes[:, 2:] * position) * (2 / W) - 1
    down = (boxes[:, 1:2] + boxes[:, 2:] * position) * (2 / H) - 1

    shape = (len(boxes), out_size, out_size)
    grid = torch.stack([across[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=3)
    return torch.nn.functional.grid_sample(
        images,
        grid.to(images.dtype),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )


def _only_enlarges(boxes: Tensor, out_size: int) -> bool:
    """Whether no box is shrunk. Asked on a CPU only: elsewhere the answer waits for the device."""
    on_cpu = boxes.device.type == "cpu" and boxes.dtype in _PRECISE_DTYPES
    if _is_exported() or not on_cpu or not len(boxes):
        return False
    return 2 * float(boxes.detach()[:, 2].max()) <= out_size


def _is_exported() -> bool:
    """Whether this is traced for an exported model."""
    if hasattr(torch.compiler, "is_exporting"):
        return torch.compiler.is_exporting()
    return torch.compiler.is_compiling()


def _crop_positions(size: int, *, like: Tensor) -> Tensor:
    """The centres of a crop's pixels along one axis, in -1..1 of the box: [size]."""
    pixel = torch.arange(size, dtype=like.dtype, device=like.device) + 0.5
    return pixel * (2 / size) - 1


def _boxcar(centre: Tensor, half_side: Tensor, size: int) -> Tensor:
    """Eq. 5 along one axis, at the pixels' centres: [B, size]."""
    pixel = torch.arange(size, dtype=centre.dtype, device=centre.device) + 0.5
    low = torch.sigmoid(_BOXCAR_STEEPNESS * (pixel - (centre - half_side)[:, None]))
    high = torch.sigmoid(_BOXCAR_STEEPNESS * (pixel - (centre + half_side)[:, None]))
    return low - high
