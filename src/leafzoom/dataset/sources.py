"""Sources as networks take them: the only place where uint8 pixels become floating-point ones."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sources_to_images"]

_MAX_PIXEL_VALUE = 255


def sources_to_images(sources: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sources uint8 [B, S, S, 3] as images [B, 3, S, S] of a floating-point type, in 0..1.

    >>> sources_to_images(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))[0, 0].tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    channels_first = sources.permute(0, 3, 1, 2)
    return channels_first.to(dtype) / _MAX_PIXEL_VALUE
