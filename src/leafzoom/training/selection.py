"""What the networks make of a part of the data, always in eval() and without augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from leafzoom.model.backbone import Backbone
from leafzoom.model.fusion import Fusion, all_descriptors, mirror_images, mirror_mean
from leafzoom.model.losses import ranking_loss
from leafzoom.model.racnn import RACNN
from leafzoom.training.batches import Photographs, plain_batches

__all__ = ["ScaleArrays", "binary_cross_entropy", "read_backbone", "read_scales", "selection_metrics"]

_BATCH = 32


@dataclass(frozen=True)
class ScaleArrays:
    """What all scales make of n photographs, float32.

    `logits`: a [n, L] for each scale. `boxes`: a [n, 3] for each scale, in source pixels. `gathered`: a
    [n, width] for each fusion that was asked for, its input. `descriptors`: [n, scales * D].
    """

    logits: tuple[NDArray[np.float32], ...]
    boxes: tuple[NDArray[np.float32], ...]
    gathered: tuple[NDArray[np.float32], ...]
    descriptors: NDArray[np.float32]


@torch.no_grad()
def read_backbone(
    fabric: Fabric, racnn: RACNN, backbone: Backbone, photographs: Photographs, *, mirrors: int = 1
) -> NDArray[np.float32]:
    """The plain backbone's logits, [n, L], means over mirror images."""
    backbone.eval()
    parts = []
    for batch in plain_batches(photographs, batch_size=_BATCH, device=fabric.device):
        with fabric.autocast():
            glimpse = racnn.first_glimpse(mirror_images(racnn.normalise(batch.pictures), mirrors))
            parts.append(mirror_mean(backbone(glimpse.view).logits.float(), mirrors))
    return _array(parts)


@torch.no_grad()
def read_scales(
    fabric: Fabric, racnn: RACNN, photographs: Photographs, fusions: tuple[Fusion, ...] = (), *, mirrors: int = 1
) -> ScaleArrays:
    """All scales' logits and boxes, and the inputs of fusions.

    Logits and inputs are means over mirror images (a fusion is linear in its input, so the mean input gives the mean
    logits); boxes are those of the photograph as it is.
    """
    racnn.eval()
    logits: list[list[Tensor]] = [[] for _ in range(racnn.scales)]
    boxes: list[list[Tensor]] = [[] for _ in range(racnn.scales)]
    gathered: list[list[Tensor]] = [[] for _ in fusions]
    descriptors: list[Tensor] = []
    for batch in plain_batches(photographs, batch_size=_BATCH, device=fabric.device):
        with fabric.autocast():
            outputs = racnn(mirror_images(racnn.normalise(batch.pictures), mirrors))
        for scale, output in enumerate(outputs):
            logits[scale].append(mirror_mean(output.logits.float(), mirrors))
            boxes[scale].append(output.boxes[: len(batch.images)].float())
        for place, fusion in enumerate(fusions):
            gathered[place].append(mirror_mean(fusion.gather(outputs).float(), mirrors))
        descriptors.append(mirror_mean(all_descriptors(outputs).float(), mirrors))
    lists = [tuple(_array(parts) for parts in each) for each in (logits, boxes, gathered)]
    return ScaleArrays(lists[0], lists[1], lists[2], _array(descriptors))


def binary_cross_entropy(logits: NDArray[np.floating], targets: NDArray[np.uint8]) -> float:
    """Mean binary cross-entropy of logits [n, L] against targets [n, L]."""
    z = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):  # logits that are not numbers give a loss that is none
        return float(np.mean(np.logaddexp(0, z) - z * targets))


def _calibrated_loss(logits: NDArray[np.float32], targets: NDArray[np.uint8]) -> float:
    """The least binary cross-entropy that logits [n, L] have when all are divided by one temperature."""
    if not np.isfinite(logits).all():
        return binary_cross_entropy(logits, targets)
    found = minimize_scalar(
        lambda log: binary_cross_entropy(logits / np.exp(log), targets), bounds=(-2, 2), method="bounded"
    )
    return float(found.fun)


def selection_metrics(
    logits: tuple[NDArray[np.float32], ...],
    boxes: tuple[NDArray[np.float32], ...],
    targets: NDArray[np.uint8],
    *,
    margin: float = 0.05,
    ranking_labels: Literal["present", "all"] = "present",
) -> dict[str, float]:
    """What is logged after an epoch: for each scale loss, exact match, micro F1; for each box its spread.

    The spread is the standard deviation over photographs, centres and sizes as fractions of the source: a
    collapsed APN shows 0. `loss` is the sum over scales of the loss after the temperature that suits it best, since
    every head is calibrated in the end: an epoch is not worse for being surer of itself. The best epoch is the one
    where it is lowest. `margin` and `ranking_labels` are
    those of the training's ranking loss, which is logged as a mean over photographs.
    """
    metrics: dict[str, float] = {"loss": sum(_calibrated_loss(z, targets) for z in logits)}
    one = len(logits) == 1
    for scale, z in enumerate(logits, start=1):
        name = "" if one else f"_scale{scale}"
        answers = z > 0
        hits = float((answers & (targets > 0)).sum())
        if name:
            metrics[f"loss{name}"] = binary_cross_entropy(z, targets)
        metrics[f"exact_match{name}"] = float((answers == (targets > 0)).all(axis=1).mean())
        metrics[f"micro_f1{name}"] = 2 * hits / max(float(answers.sum() + targets.sum()), 1.0)
    if not one:
        wanted = torch.from_numpy(targets)
        for scale, (coarse, fine) in enumerate(pairwise(torch.from_numpy(z) for z in logits), start=1):
            ranking = ranking_loss(coarse, fine, wanted, margin=margin, labels=ranking_labels, reduction="mean")
            metrics[f"ranking_loss{scale}{scale + 1}"] = float(ranking)
    for scale, box in enumerate(boxes[1:], start=2):
        side = float(2 * boxes[0][0, 2])
        for column, name in enumerate(("x", "y", "half_side")):
            metrics[f"box{scale}_{name}_mean"] = float(box[:, column].mean()) / side
            metrics[f"box{scale}_{name}_spread"] = float(box[:, column].std()) / side
    return metrics


def _array(parts: list[Tensor]) -> NDArray[np.float32]:
    return torch.cat(parts).cpu().numpy().astype(np.float32)
