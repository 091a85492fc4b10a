"""Mirror images of a picture, for test-time augmentation (TTA).

Of B pictures there are `tta` images each: the pictures as they are come first, then all mirrored
left-right, then all up-down, then all both ways.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mirror_axes", "mirror_boxes", "tta_images", "tta_mean"]


def mirror_axes(number: int) -> list[int]:
    """The axes of images [B, 3, H, W] along which the mirror image of this number is mirrored.

    >>> [mirror_axes(number) for number in range(4)]
    [[], [3], [2], [3, 2]]
    """
    return [axis for axis, is_mirrored in ((3, number % 2), (2, number // 2)) if is_mirrored]


def mirror_boxes(boxes: Tensor, side: int, axes: list[int]) -> Tensor:
    """Boxes [B, 3] of square images as boxes of the images mirrored along some axes.

    >>> mirror_boxes(torch.tensor([[30.0, 40.0, 10.0]]), 256, [3]).tolist()
    [[226.0, 40.0, 10.0]]
    """
    x, y, half_side = boxes.unbind(dim=1)
    if 3 in axes:
        x = side - x
    if 2 in axes:
        y = side - y
    return torch.stack([x, y, half_side], dim=1)


def tta_images(images: Tensor, tta: int) -> Tensor:
    """Images with their mirror images below them.

    Args:
        images: [B, 3, S, S].
        tta: 1: nothing more; 2: left-right too; 4: also up-down, and both.

    Returns:
        [tta * B, 3, S, S].
    """
    if tta == 1:
        return images
    return torch.cat([images.flip(mirror_axes(number)) for number in range(tta)])


def tta_mean(values: Tensor, tta: int) -> Tensor:
    """The mean [B, …] over mirror images of values [tta * B, …] in the order of `tta_images`."""
    if tta == 1:
        return values
    return values.reshape(tta, -1, *values.shape[1:]).mean(dim=0)
