"""What is logged after an epoch, measured on the validation part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from leafzoom.fitting.likelihood import photograph_losses
from leafzoom.fitting.scale_outputs import binary_cross_entropy
from leafzoom.labels import most_probable
from leafzoom.model.losses import ranking_loss

__all__ = ["Logits", "part_metrics", "validation_metrics"]

_LOG_TEMPERATURE_RANGE = (-2, 2)

Logits: TypeAlias = NDArray[np.float32]
"""A head's logits, [n, L]."""


def validation_metrics(
    logits: Sequence[NDArray[np.float32]],
    boxes: Sequence[NDArray[np.float32]],
    targets: NDArray[np.uint8],
    *,
    margin: float = 0.05,
    ranking_labels: Literal["present", "all"] = "present",
    single_label: bool = False,
) -> dict[str, float]:
    """Loss, exact match and micro F1 of each scale; centre, size and spread of each box.

    `loss` is the sum over scales of the loss after the temperature that suits it best: every head
    is calibrated in the end, so more confidence makes an epoch no worse. The best epoch is the one
    where it is lowest. A box's spread is the standard deviation over photographs; centres and sizes
    are fractions of the source's side. The APNs have collapsed where it is 0.

    Args:
        logits: one [n, L] for each scale, or one for the plain backbone.
        boxes: one [n, 3] for each scale, in source pixels; none for the plain backbone.
        targets: [n, L], 0 or 1.
        margin, ranking_labels: of the training's ranking loss, logged as a mean over photographs.
        single_label: whether each photograph has one class; exact match is then top-1 accuracy.
    """
    losses = [_calibrated_loss(z, targets, single_label=single_label) for z in logits]
    metrics = {"loss": sum(losses)}
    answers = [most_probable(z) if single_label else z > 0 for z in logits]
    if len(logits) == 1:
        return metrics | _scores(answers[0], targets, "")

    for scale, z in enumerate(logits, start=1):
        metrics[f"loss_scale{scale}"] = _loss(z, targets, single_label=single_label)
        metrics |= _scores(answers[scale - 1], targets, f"_scale{scale}")

    # Ranking losses of neighbouring scales.
    tensors = [torch.from_numpy(z) for z in logits]
    labels = torch.from_numpy(targets)
    for scale, (coarse, fine) in enumerate(pairwise(tensors), start=1):
        ranking = ranking_loss(
            coarse,
            fine,
            labels,
            margin=margin,
            labels=ranking_labels,
            reduction="mean",
            single_label=single_label,
        )
        metrics[f"ranking_loss{scale}{scale + 1}"] = float(ranking)

    return metrics | _box_statistics(boxes)


def part_metrics(
    logits: Mapping[str, Logits],
    boxes: Mapping[str, NDArray[np.float32]],
    targets: NDArray[np.uint8],
    *,
    single_label: bool = False,
) -> dict[str, float]:
    """Loss, exact match and micro F1 of each named head; the boxes' centres and spreads.

    Of networks that are no RA-CNN. The whole's box is the first one; what the values mean is as of
    `validation_metrics`.

    Args:
        logits: by head, [n, L].
        boxes: by look, [n, 3], in source pixels.
        targets: [n, L], 0 or 1.
        single_label: whether the labels exclude each other.
    """
    losses = [
        _calibrated_loss(values, targets, single_label=single_label) for values in logits.values()
    ]
    metrics = {"loss": sum(losses)}
    for head, values in logits.items():
        metrics[f"loss_{head}"] = _loss(values, targets, single_label=single_label)
        answers = most_probable(values) if single_label else values > 0
        metrics |= _scores(answers, targets, f"_{head}")

    whole, *parts = boxes
    source_side = float(2 * boxes[whole][0, 2])
    for part in parts:
        metrics |= _one_box_statistics(boxes[part], source_side, f"box_{part}")
    return metrics


def _loss(logits: NDArray[np.floating], targets: NDArray[np.uint8], *, single_label: bool) -> float:
    """The mean cross-entropy of logits [n, L]; NaN stays NaN."""
    if single_label:
        return float(photograph_losses(logits, targets, single_label=True).mean())
    return binary_cross_entropy(logits, targets)


def _calibrated_loss(
    logits: NDArray[np.float32], targets: NDArray[np.uint8], *, single_label: bool
) -> float:
    """The cross-entropy of logits [n, L] divided by the temperature that suits them best."""
    if not np.isfinite(logits).all():
        return _loss(logits, targets, single_label=single_label)

    # Over the logarithm: halving and doubling the temperature are steps of one size.
    result = minimize_scalar(
        lambda log: _loss(logits / np.exp(log), targets, single_label=single_label),
        bounds=_LOG_TEMPERATURE_RANGE,
        method="bounded",
    )
    return float(result.fun)


def _scores(
    predicted: NDArray[np.bool_], targets: NDArray[np.uint8], suffix: str
) -> dict[str, float]:
    """Exact match and micro F1 of answers [n, L]."""
    present = targets > 0

    # F1 over all labels of all photographs together.
    hits = float((predicted & present).sum())
    total = float(predicted.sum() + targets.sum())
    return {
        f"exact_match{suffix}": float((predicted == present).all(axis=1).mean()),
        f"micro_f1{suffix}": 2 * hits / max(total, 1.0),
    }


def _box_statistics(boxes: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Means and spreads of the zooms' centres and half sides, as fractions of the source's side."""
    statistics: dict[str, float] = {}
    for scale, box in enumerate(boxes[1:], start=2):
        # The first box is the whole source: x, y, half side.
        source_side = float(2 * boxes[0][0, 2])
        statistics |= _one_box_statistics(box, source_side, f"box{scale}")
    return statistics


def _one_box_statistics(
    box: NDArray[np.float32], source_side: float, prefix: str
) -> dict[str, float]:
    """Mean and spread of a look's boxes [n, 3], as fractions of the source's side."""
    statistics = {}
    for column, name in enumerate(("x", "y", "half_side")):
        statistics[f"{prefix}_{name}_mean"] = float(box[:, column].mean()) / source_side
        statistics[f"{prefix}_{name}_spread"] = float(box[:, column].std()) / source_side
    return statistics
