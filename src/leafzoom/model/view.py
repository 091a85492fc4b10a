"""What every framework shows its backbones, and what a backbone leaves behind.

Convention: `boxes` are [B, 3], x (column), y (row) and half side, in pixels of the source unless a
name says otherwise; see `attention_crop` for the origin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leafzoom.model.attention_crop import resample, resample_whole, whole_box
from leafzoom.model.backbone import Backbone, BackboneOutput
from leafzoom.model.mirrors import mirror_axes, mirror_boxes, tta_images

__all__ = [
    "ScaleState",
    "View",
    "boxes_inside",
    "cut_views",
    "normalisation",
    "normalise_images",
    "normalise_pixels",
    "whole_view",
]

_MAX_PIXEL_VALUE = 255


@dataclass(frozen=True)
class View:
    """What a scale is shown: a normalised image [B, 3, V, V], and its box in the source, [B, 3].

    `max_share`: the greatest side that the box can have, as a share of the source's. `mirrors`: how
    many mirror images of each source are among the images (see `mirrors`), itself included.
    """

    image: Tensor
    boxes: Tensor
    max_share: float
    mirrors: int = 1

    def detach(self) -> View:
        """The same view, cut off from the graph that made it."""
        return replace(self, image=self.image.detach(), boxes=self.boxes.detach())


@dataclass(frozen=True)
class ScaleState:
    """Where the loop of figure 3 stands after one scale.

    `scale`: 0 for the first. `sources`: the normalised sources [B, 3, S, S], from which finer
    scales are cut, without their mirror images. `view`: what the scale was shown. `stage_maps`: of
    its backbone, see `BackboneOutput`. `features`: the map [B, C, M, M] that the APN reads.
    `last_map`: the map [B, D, N, N] that is pooled into the `descriptor` [B, D]. `logits`: [B, L],
    the scale's own and, with `residual`, a share of the coarser scale's.
    """

    scale: int
    sources: Tensor
    view: View
    stage_maps: tuple[Tensor, ...]
    features: Tensor
    last_map: Tensor
    descriptor: Tensor
    logits: Tensor

    @classmethod
    def of_output(
        cls,
        scale: int,
        sources: Tensor,
        view: View,
        output: BackboneOutput,
        logits: Tensor | None = None,
    ) -> ScaleState:
        """What a backbone computed from a view; `logits`: those of another classifier, [B, L]."""
        return cls(
            scale=scale,
            sources=sources,
            view=view,
            stage_maps=output.stage_maps,
            features=output.features,
            last_map=output.last_map,
            descriptor=output.descriptor,
            logits=output.logits if logits is None else logits,
        )

    @property
    def boxes(self) -> Tensor:
        """The box that the scale was shown, [B, 3] in pixels of the source."""
        return self.view.boxes

    def detach(self) -> ScaleState:
        """The same state, cut off from the graph: no gradient reaches what led to it."""
        return replace(
            self,
            view=self.view.detach(),
            stage_maps=tuple(stage_map.detach() for stage_map in self.stage_maps),
            features=self.features.detach(),
            last_map=self.last_map.detach(),
            descriptor=self.descriptor.detach(),
            logits=self.logits.detach(),
        )


def normalisation(backbone: Backbone) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation [1, 3, 1, 1] that a backbone's pixels are scaled by."""
    mean = torch.tensor(backbone.mean).view(1, 3, 1, 1)
    std = torch.tensor(backbone.std).view(1, 3, 1, 1)
    return mean, std


def normalise_images(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Images [B, 3, S, S] in 0..1 as a backbone expects them, in channels-last memory."""
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def normalise_pixels(sources: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Sources uint8 [B, S, S, 3] as `normalise_images` returns them, in one step."""
    factor = 1 / (_MAX_PIXEL_VALUE * std)
    pixels = sources.permute(0, 3, 1, 2).to(mean.dtype)
    images = pixels * factor - mean / std
    return images.contiguous(memory_format=torch.channels_last)


def whole_view(sources: Tensor, input_size: int, mirrors: int = 1) -> View:
    """The whole of normalised sources [B, 3, S, S] as a view of a side in pixels."""
    image = tta_images(resample_whole(sources, input_size), mirrors)
    boxes = whole_box(image.shape[0], sources.shape[-1], like=sources)
    return View(image, boxes, 1.0, mirrors)


def boxes_inside(centres: Tensor, half_side: float, source_side: int) -> Tensor:
    """Boxes [B, 3] of one size with centres [B, 2], or as near to them as the source's edges allow.

    >>> boxes_inside(torch.tensor([[50.0, 5.0]]), 10.0, 100).tolist()
    [[50.0, 10.0, 10.0]]
    """
    half_sides = torch.ones_like(centres[:, :1]) * half_side
    inside = torch.minimum(torch.maximum(centres, half_sides), source_side - half_sides)
    return torch.cat([inside, half_sides], dim=1)


def cut_views(sources: Tensor, boxes: Tensor, input_size: int, mirrors: int = 1) -> Tensor:
    """Boxes of normalised sources and of their mirror images, enlarged to views.

    Args:
        sources: [B, 3, S, S].
        boxes: [mirrors * B, 3], each in the frame of its own mirror image (see `mirrors`).
        input_size: V, side of the views in pixels.
        mirrors: 1, 2 or 4.

    Returns:
        [mirrors * B, 3, V, V].
    """
    if mirrors == 1:
        return resample(sources, boxes, input_size)

    # Mirroring small views costs less than mirroring large sources.
    boxes_by_image = boxes.reshape(mirrors, -1, 3)
    views = []
    for number in range(mirrors):
        axes = mirror_axes(number)
        source_boxes = mirror_boxes(boxes_by_image[number], sources.shape[-1], axes)
        views.append(resample(sources, source_boxes, input_size).flip(axes))
    return torch.cat(views)
