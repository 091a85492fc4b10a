"""The recurrent attention CNN (figure 3): look, propose a box, zoom, look again.

Convention: `boxes` are [B, 3], x (column), y (row) and half side, in pixels of the source unless a name says
otherwise; see `attention_crop` for the origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from leafzoom.model.attention_crop import attention_crop, compose_boxes, resample_whole, whole_box
from leafzoom.model.attention_proposal import AttentionProposal, decode_boxes, placed_proposals
from leafzoom.model.backbone import Backbone, Look

__all__ = ["RACNN", "Glimpse", "ScaleOutput"]


@dataclass(frozen=True)
class Glimpse:
    """What a scale is given: its normalised view [B, 3, V, V] and the box it shows, [B, 3] in source pixels.

    `largest`: the greatest half side that its box can have, in source pixels; None where nobody says.
    """

    view: Tensor
    boxes: Tensor
    largest: float | None = None


@dataclass(frozen=True)
class ScaleOutput:
    """What a scale gives: logits [B, L], descriptor [B, D], and the box it was shown, [B, 3] in source pixels."""

    logits: Tensor
    descriptor: Tensor
    boxes: Tensor


class RACNN(nn.Module):
    """Backbones for all scales and APNs between them.

    Args:
        backbones: one a scale, two or more.
        apns: one between neighbouring scales.
        source_size: S, side of the source in pixels.
        input_size: V, side of every view in pixels.
        zoom_from: what a zoom enlarges: the scale's `view` (the paper) or the `source`.
        zoom_bounds: least and greatest side of a box as fractions of the view's.
        centre_range, crop_mask, surrogate, surrogate_scale, border, proposals, residual: see `ModelRecipe`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        backbones: Sequence[Backbone],
        apns: Sequence[AttentionProposal],
        source_size: int,
        input_size: int,
        zoom_from: Literal["source", "view"],
        zoom_bounds: tuple[float, float],
        centre_range: Literal["largest", "own"],
        crop_mask: Literal["none", "boxcar"],
        surrogate: Literal["paper", "balanced", "exact"],
        surrogate_scale: Literal["sum", "per_sample"],
        border: float,
        proposals: Literal["apn", "centre", "response"] = "apn",
        residual: float = 0.0,
    ) -> None:
        super().__init__()
        if len(backbones) != len(apns) + 1 or not apns:
            raise ValueError(f"{len(backbones)} scales need {len(backbones) - 1} APNs, not {len(apns)}")
        self.backbones = nn.ModuleList(backbones)
        self.apns = nn.ModuleList(apns)
        self.source_size, self.input_size = source_size, input_size
        self.zoom_from = zoom_from
        self.zoom_bounds, self.centre_range = zoom_bounds, centre_range
        self.crop_mask, self.surrogate = crop_mask, surrogate
        self.surrogate_scale, self.border = surrogate_scale, border
        self.proposals, self.residual = proposals, residual
        self.register_buffer("mean", torch.tensor(backbones[0].mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbones[0].std).view(1, 3, 1, 1), persistent=False)

    @property
    def scales(self) -> int:
        """How many scales there are."""
        return len(self.backbones)

    def normalise(self, pictures: Tensor) -> Tensor:
        """Pictures [B, 3, S, S] in 0..1 as the backbones want them, in the memory format that they like best."""
        return ((pictures - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def first_glimpse(self, sources: Tensor) -> Glimpse:
        """The whole source as a view; `sources` are normalised, [B, 3, S, S]."""
        boxes = whole_box(sources.shape[0], self.source_size, like=sources)
        if self.source_size == self.input_size:
            return Glimpse(sources, boxes, self.source_size / 2)
        return Glimpse(resample_whole(sources, self.input_size), boxes, self.source_size / 2)

    def look(self, scale: int, glimpse: Glimpse) -> Look:
        """What scale `scale` (0 is the first) makes of its view; the logits are its own (see `total_logits`)."""
        look: Look = self.backbones[scale](glimpse.view)
        return look

    def total_logits(self, coarse: Tensor | None, own: Tensor) -> Tensor:
        """A scale's logits [B, L]: its own and, with `residual`, a share of the coarser scale's total (detached).

        The first scale has no coarser one (None).
        """
        return own if coarse is None or not self.residual else own + self.residual * coarse.detach()

    def propose(self, scale: int, features: Tensor) -> Tensor:
        """Proposals [B, 3] in -1..1 for the scale after `scale`, from its feature map."""
        if self.proposals != "apn":
            size = torch.ones_like(features[:, :1, 0, 0], dtype=self.mean.dtype)
            return placed_proposals(
                self.proposals, features, size, self.input_size, self.zoom_bounds, self.centre_range
            )
        proposals: Tensor = self.apns[scale](features)
        return proposals.to(self.mean.dtype)  # boxes stay precise under autocast

    def zoom(self, sources: Tensor, parent: Glimpse, proposals: Tensor) -> Glimpse:
        """The next scale's glimpse. Gradients reach the proposals alone (see `attention_crop`).

        Args:
            sources: normalised, [B, 3, S, S].
            parent: the glimpse in whose view the box is proposed; it gets no gradient.
            proposals: [B, 3] in -1..1.
        """
        view_boxes = decode_boxes(proposals, self.input_size, self.zoom_bounds, self.centre_range)
        boxes = compose_boxes(parent.boxes.detach(), view_boxes, self.input_size)
        largest = None if parent.largest is None else parent.largest * self.zoom_bounds[1]
        from_source = self.zoom_from == "source"
        view = attention_crop(
            sources if from_source else parent.view,
            proposals,
            boxes if from_source else view_boxes,
            self.input_size,
            surrogate=self.surrogate,
            surrogate_scale=self.surrogate_scale,
            border=self.border,
            mask=self.crop_mask,
            largest=largest if from_source else self.input_size / 2 * self.zoom_bounds[1],
        )
        return Glimpse(view, boxes, largest)

    def forward(self, sources: Tensor) -> tuple[ScaleOutput, ...]:
        """All scales of normalised sources [B, 3, S, S], coarsest first; features are detached before each APN."""
        outputs: list[ScaleOutput] = []
        glimpse = self.first_glimpse(sources)
        for scale in range(self.scales):
            look = self.look(scale, glimpse)
            logits = self.total_logits(outputs[-1].logits if outputs else None, look.logits)
            outputs.append(ScaleOutput(logits, look.descriptor, glimpse.boxes))
            if scale < len(self.apns):
                glimpse = self.zoom(sources, glimpse, self.propose(scale, look.features.detach()))
        return tuple(outputs)
