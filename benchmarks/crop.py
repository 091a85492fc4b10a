"""The attention crop against a loop over the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.slow_crop import slow_crop
from benchmarks.timing import in_turns
from leafzoom.model.attention_crop import attention_crop
from leafzoom.training.memory import keep_freed_memory

__all__ = ["crop"]

_CENTRE_SPREAD_PX = 20


@dataclass(frozen=True)
class _Crops:
    """The same batch for both crops.

    `images`: [B, 3, S, S], channels last, as they reach the crop in a training. `gradient`: what
    arrives at the crops, in the same memory format. `boxes`: [B, 3], in pixels of the images.
    """

    images: Tensor
    gradient: Tensor
    boxes: Tensor
    proposals: Tensor
    size: int

    def cut(self, mask: Literal["none", "boxcar"]) -> None:
        """Ours, forward and backward."""
        crops = attention_crop(
            self.images, self.proposals, self.boxes, self.size, surrogate="paper", mask=mask
        )
        crops.backward(self.gradient)  # type: ignore[no-untyped-call]


def crop(*, batch_size: int, rounds: int, size: int = 224) -> dict[str, Any]:
    """The attention crop forward and backward, with and without eq. 5's mask.

    Args:
        batch_size: B.
        rounds: that are timed.
        size: side of images and crops, in pixels.
    """
    keep_freed_memory()
    torch.manual_seed(0)
    crops = _random_crops(batch_size, size)
    plain_images = crops.images.contiguous()
    plain_gradient = crops.gradient.contiguous()

    def cut_in_a_loop(boxcar: bool) -> None:
        cut = slow_crop(plain_images, crops.proposals, crops.boxes, size, boxcar=boxcar)
        cut.backward(plain_gradient)  # type: ignore[no-untyped-call]

    timings = in_turns(
        {
            "ours": lambda: crops.cut("none"),
            "loop": lambda: cut_in_a_loop(False),
            "ours_boxcar": lambda: crops.cut("boxcar"),
            "loop_boxcar": lambda: cut_in_a_loop(True),
        },
        rounds=rounds,
    )
    return {
        "batch": batch_size,
        "loop_over_ours": timings.ratio("loop", "ours"),
        "loop_over_ours_with_the_mask_of_eq_5": timings.ratio("loop_boxcar", "ours_boxcar"),
        **{name: timings.milliseconds(name) for name in timings.seconds},
    }


def _random_crops(batch_size: int, size: int) -> _Crops:
    """Random images, and boxes inside them whose half sides are a fifth to a third of theirs."""
    images = torch.rand(batch_size, 3, size, size)

    half_sides = size * (0.2 + 0.13 * torch.rand(batch_size))
    x = size / 2 + _CENTRE_SPREAD_PX * torch.randn(batch_size)
    y = size / 2 + _CENTRE_SPREAD_PX * torch.randn(batch_size)
    boxes = torch.stack([x, y, half_sides], dim=1)

    largest = half_sides.max()
    boxes[:, :2] = boxes[:, :2].clamp(min=largest, max=size - largest)

    # The gradient that a convolution hands back is in its own memory format.
    gradient = torch.rand(batch_size, 3, size, size)
    return _Crops(
        images=images.contiguous(memory_format=torch.channels_last),
        gradient=gradient.contiguous(memory_format=torch.channels_last),
        boxes=boxes,
        proposals=torch.zeros(batch_size, 3, requires_grad=True),
        size=size,
    )
