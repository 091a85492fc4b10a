"""The closest look: a box of 6 % of the picture near the place that speaks most for the answer.

Two steps, without training. The last scale's evidence, weighted by the labels' probabilities, has
its maximum somewhere in its view; the last scale's backbone looks once more at a small box there,
and the box moves to where the backbone responds most, whatever the label. The answer does not
depend on it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leafzoom.model.attention_crop import resample
from leafzoom.model.backbone import Backbone
from leafzoom.model.evidence import Evidence
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState

__all__ = ["CLOSEST_SHARE", "closest_boxes"]

CLOSEST_SHARE = 0.06  # of the source's area
_MAP_ENLARGEMENT = 8


def closest_boxes(
    racnn: RACNN, last_state: ScaleState, evidence: Evidence, probabilities: Tensor
) -> Tensor:
    """The boxes [B, 3] of the closest look, in pixels of the source.

    Args:
        racnn: all scales.
        last_state: of the last scale of B sources and their mirror images.
        evidence: of the answer, of B sources.
        probabilities: of the answer, [B, L].
    """
    sources = last_state.sources
    boxes = last_state.boxes[: sources.shape[0]]  # of the sources as they are

    # Where the last view speaks most for the answer.
    answer_map = torch.einsum("bl,blhw->bhw", probabilities, evidence.maps[-1])
    boxes = _small_boxes(_strongest_places(answer_map, boxes), sources.shape[-1])

    # Where the last scale's backbone sees most in a small box there.
    view = resample(sources, boxes, racnn.input_size, max_share=math.sqrt(CLOSEST_SHARE))
    backbone = racnn.backbones[last_state.scale]
    assert isinstance(backbone, Backbone)
    strength = torch.linalg.vector_norm(backbone(view).last_map, dim=1)
    return _small_boxes(_strongest_places(strength, boxes), sources.shape[-1])


def _strongest_places(values: Tensor, boxes: Tensor) -> Tensor:
    """Where maps [B, N, N] of boxes [B, 3] are greatest: x and y [B, 2] in the boxes' frame."""
    side = _MAP_ENLARGEMENT * values.shape[-1]
    enlarged = torch.nn.functional.interpolate(
        values[:, None], size=(side, side), mode="bicubic", align_corners=False
    )
    index = enlarged.flatten(1).argmax(dim=1)
    pixel = torch.stack([index % side, index // side], dim=1)
    share = (pixel.to(boxes.dtype) + 0.5) * (2 / side) - 1
    return boxes[:, :2] + boxes[:, 2:] * share


def _small_boxes(centres: Tensor, side: int) -> Tensor:
    """Boxes [B, 3] of 6 % of square sources, as near to some centres [B, 2] as the edges allow."""
    half_side = torch.ones_like(centres[:, :1]) * (side * (math.sqrt(CLOSEST_SHARE) / 2))
    nearest = torch.minimum(torch.maximum(centres, half_side), side - half_side)
    return torch.cat([nearest, half_side], dim=1)
