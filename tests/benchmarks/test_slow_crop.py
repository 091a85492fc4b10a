"""The crop's slow reference cuts what ours cuts."""

from __future__ import annotations

import pytest
import torch

from benchmarks.slow_crop import slow_crop
from leafzoom.model.attention_crop import attention_crop

SIZE = 64
BORDER = 4


@pytest.mark.parametrize("boxcar", [False, True])
def test_the_slow_crop_is_the_same_crop(boxcar: bool) -> None:
    """Up to whole pixels and to how corners are aligned: a smooth image, and a box on pixels."""
    ramp = torch.linspace(0, 1, SIZE)
    across = ramp.expand(SIZE, SIZE)
    down = ramp[:, None].expand(SIZE, SIZE)
    images = torch.stack([across, down, torch.ones(SIZE, SIZE)])[None].contiguous()
    boxes = torch.tensor([[32.0, 30.0, 14.0]])
    gradient = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))

    slow_proposals = torch.zeros(1, 3, requires_grad=True)
    slow = slow_crop(images, slow_proposals, boxes, SIZE, boxcar=boxcar)
    slow.backward(gradient)

    proposals = torch.zeros(1, 3, requires_grad=True)
    mask = "boxcar" if boxcar else "none"
    ours = attention_crop(images, proposals, boxes, SIZE, surrogate="paper", mask=mask)
    ours.backward(gradient)

    # One source pixel is 1/63 here. They differ by half a pixel of alignment, and at the border by
    # what the mask has shaded.
    inside = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    torch.testing.assert_close(slow[inside], ours[inside], atol=0.012, rtol=0)
    torch.testing.assert_close(slow_proposals.grad, proposals.grad, rtol=1e-4, atol=1e-2)
