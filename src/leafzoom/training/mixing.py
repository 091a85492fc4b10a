"""Batches of mixed photographs: mixup and CutMix, with targets that follow a zoom's box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import v2

__all__ = ["MixedBatch", "Mixing"]


@dataclass(frozen=True)
class MixedBatch:
    """Images [B, 3, S, S], each mixed with the one before it in the batch.

    `partner_share`: the share of the other photograph in a mean of both, 0..1. `rectangle`: of the
    other photograph in each image (x0, y0, x1, y1 in pixels), for CutMix. Neither: not mixed.
    """

    images: Tensor
    partner_share: float | None = None
    rectangle: tuple[int, int, int, int] | None = None

    def share_in(self, boxes: Tensor) -> Tensor | None:
        """How much of each box is the other photograph.

        Convention: boxes are [B, 3], x, y and half side in pixels of the images, whose frame starts
        at the outer corner of the first pixel.

        Returns:
            [B] in 0..1; None where nothing is mixed.

        >>> batch = MixedBatch(torch.zeros(1, 3, 8, 8), rectangle=(4, 0, 8, 4))
        >>> batch.share_in(torch.tensor([[4.0, 4.0, 4.0], [5.0, 3.0, 2.0]])).tolist()
        [0.25, 0.5625]
        """
        if self.partner_share is not None:
            return torch.full_like(boxes[:, 0], self.partner_share)
        if self.rectangle is None:
            return None

        # The overlap of rectangle and box along each axis.
        corners = torch.tensor(self.rectangle, dtype=boxes.dtype, device=boxes.device)
        centres = boxes[:, :2].detach()
        half_sides = boxes[:, 2:].detach()
        starts = torch.maximum(centres - half_sides, corners[:2])
        ends = torch.minimum(centres + half_sides, corners[2:])
        overlaps = (ends - starts).clamp(min=0) / (2 * half_sides)
        return overlaps.prod(dim=1)


class Mixing:
    """Mixes a batch with a probability; all draws come from torch's global generator.

    torchvision's transforms draw one share for a batch, and pair each photograph with the one
    before it. Their targets are those of the whole image, so targets are mixed by
    `MixedBatch.share_in` instead: a zoom may hold more or less of the rectangle.

    Args:
        probability: that a batch is mixed.
        method: a weighted mean (mixup), or a rectangle of one photograph in the other (cutmix).
        alpha: both parameters of the beta distribution of the shares.
    """

    def __init__(
        self, probability: float, method: Literal["mixup", "cutmix"], alpha: float
    ) -> None:
        self.probability = probability
        self.method = method
        self.transform = v2.MixUp(alpha=alpha) if method == "mixup" else v2.CutMix(alpha=alpha)

    def __call__(self, images: Tensor) -> MixedBatch:
        """Mix a batch of images [B, 3, S, S], or leave it as it is."""
        if not self.probability or float(torch.rand(())) >= self.probability:
            return MixedBatch(images)

        # The transform mixes labels too: these are only to give it a batch's size.
        unused_labels = torch.zeros(len(images), 1, device=images.device)
        parameters = self.transform.make_params([images])
        values = {"labels": unused_labels, "batch_size": len(images), **parameters}
        mixed = self.transform.transform(images, values)

        if self.method == "mixup":
            return MixedBatch(mixed, partner_share=1 - float(parameters["lam"]))
        x0, y0, x1, y1 = (int(side) for side in parameters["box"])
        return MixedBatch(mixed, rectangle=(x0, y0, x1, y1))
