"""What the networks compute for a part of the data set, always in eval(), without augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from leafzoom.dataset.batches import DatasetPart, plain_batches
from leafzoom.model.backbone import Backbone, BackboneOutput
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.fusion import Fusion, all_descriptors
from leafzoom.model.mirrors import tta_images, tta_mean

__all__ = [
    "ScaleOutputs",
    "backbone_descriptors",
    "backbone_logits",
    "binary_cross_entropy",
    "joined_outputs",
    "scale_outputs",
]

_EVALUATION_BATCH_SIZE = 32


@dataclass(frozen=True)
class ScaleOutputs:
    """All scales' outputs for n photographs, float32.

    `logits`: one [n, L] for each scale. `boxes`: one [n, 3] for each scale, in source pixels.
    `fusion_inputs`: one [n, width] for each fusion that was asked for. `descriptors`:
    [n, scales * D].
    """

    logits: tuple[NDArray[np.float32], ...]
    boxes: tuple[NDArray[np.float32], ...]
    fusion_inputs: tuple[NDArray[np.float32], ...]
    descriptors: NDArray[np.float32]


def backbone_logits(
    fabric: Fabric,
    network: AttentionNetwork,
    backbone: Backbone,
    part: DatasetPart,
    *,
    tta: int = 1,
) -> NDArray[np.float32]:
    """The plain backbone's logits, [n, L], means over `tta` mirror images."""
    outputs = _backbone_outputs(fabric, network, backbone, part, tta)
    return _to_array([tta_mean(output.logits.float(), tta) for output in outputs])


def backbone_descriptors(
    fabric: Fabric,
    network: AttentionNetwork,
    backbone: Backbone,
    part: DatasetPart,
    *,
    tta: int = 1,
) -> NDArray[np.float32]:
    """The plain backbone's descriptors, [n, D], means over `tta` mirror images."""
    outputs = _backbone_outputs(fabric, network, backbone, part, tta)
    return _to_array([tta_mean(output.descriptor.float(), tta) for output in outputs])


@torch.no_grad()
def scale_outputs(
    fabric: Fabric,
    network: AttentionNetwork,
    part: DatasetPart,
    fusions: tuple[Fusion, ...] = (),
    *,
    tta: int = 1,
) -> ScaleOutputs:
    """All scales' logits and boxes, and the inputs of fusions.

    Logits and inputs are means over mirror images: a fusion is linear in its input, so the mean
    input gives the mean logits. Boxes are those of the photograph as it is.
    """
    network.eval()
    logits: list[list[Tensor]] = [[] for _ in range(network.scales)]
    boxes: list[list[Tensor]] = [[] for _ in range(network.scales)]
    fusion_inputs: list[list[Tensor]] = [[] for _ in fusions]
    descriptors: list[Tensor] = []

    for batch in plain_batches(part, batch_size=_EVALUATION_BATCH_SIZE, device=fabric.device):
        with fabric.autocast():
            states = network(tta_images(network.normalise(batch.images), tta))

        # The image as it is comes first among its mirror images.
        for state in states:
            logits[state.scale].append(tta_mean(state.logits.float(), tta))
            boxes[state.scale].append(state.boxes[: len(batch.image_names)].float())
        for index, fusion in enumerate(fusions):
            fusion_inputs[index].append(tta_mean(fusion.concatenate(states).float(), tta))
        descriptors.append(tta_mean(all_descriptors(states).float(), tta))

    return ScaleOutputs(
        logits=tuple(_to_array(batches) for batches in logits),
        boxes=tuple(_to_array(batches) for batches in boxes),
        fusion_inputs=tuple(_to_array(batches) for batches in fusion_inputs),
        descriptors=_to_array(descriptors),
    )


def joined_outputs(parts: Sequence[ScaleOutputs]) -> ScaleOutputs:
    """The outputs for the photographs of several parts, in their order."""
    if len(parts) == 1:
        return parts[0]
    return ScaleOutputs(
        logits=_joined([part.logits for part in parts]),
        boxes=_joined([part.boxes for part in parts]),
        fusion_inputs=_joined([part.fusion_inputs for part in parts]),
        descriptors=np.concatenate([part.descriptors for part in parts]),
    )


def _joined(parts: Sequence[tuple[NDArray[np.float32], ...]]) -> tuple[NDArray[np.float32], ...]:
    """Arrays of all photographs, from those of several parts."""
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def binary_cross_entropy(logits: NDArray[np.floating], targets: NDArray[np.uint8]) -> float:
    """Mean binary cross-entropy of logits [B, L] against targets [B, L]; NaN stays NaN."""
    z = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):
        return float(np.mean(np.logaddexp(0, z) - z * targets))


@torch.no_grad()
def _backbone_outputs(
    fabric: Fabric, network: AttentionNetwork, backbone: Backbone, part: DatasetPart, tta: int
) -> Iterator[BackboneOutput]:
    """The plain backbone's outputs, a batch with its mirror images at a time."""
    backbone.eval()
    for batch in plain_batches(part, batch_size=_EVALUATION_BATCH_SIZE, device=fabric.device):
        with fabric.autocast():
            view = network.whole_view(tta_images(network.normalise(batch.images), tta))
            yield backbone(view.image)


def _to_array(batches: list[Tensor]) -> NDArray[np.float32]:
    """Batches of outputs as one array."""
    return torch.cat(batches).cpu().numpy().astype(np.float32)
