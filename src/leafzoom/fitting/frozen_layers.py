"""The linear layers of frozen scales, and weighted sums of them, for few photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafzoom.fitting.linear_layers import fit_linear_layer, fit_scale_weights
from leafzoom.fitting.scale_classifiers import set_linear_layer, weighted_classifiers
from leafzoom.model.backbone import Backbone
from leafzoom.model.fusion import Fusion, fusion_head
from leafzoom.model.racnn import RACNN

__all__ = ["FrozenLayers", "fit_frozen_layers"]


@dataclass(frozen=True)
class FrozenLayers:
    """What was fitted on top of frozen scales.

    `logits`: {head: [n, L]} of scales and fusions, out of fold. `scale_weights`: see `FittedHeads`.
    """

    logits: dict[str, NDArray[np.float32]]
    scale_weights: dict[str, tuple[float, ...]]


def fit_frozen_layers(
    racnn: RACNN,
    fusions: Sequence[Fusion],
    descriptors: NDArray[np.float32],
    targets: NDArray[np.uint8],
    seed: int,
    *,
    single_label: bool = False,
) -> FrozenLayers:
    """Fit every scale's linear layer, then how much each scale counts in each fusion.

    Args:
        racnn: of whose scales the linear layers are set.
        fusions: which become weighted sums of the scales' logits.
        descriptors: [n, scales * D], all scales' side by side.
        targets: [n, L].
        seed: of the folds.
        single_label: whether each photograph has one class.
    """
    by_scale = np.split(descriptors, racnn.scales, axis=1)
    out_of_fold = []
    for scale, part in zip(racnn.backbones, by_scale, strict=True):
        assert isinstance(scale, Backbone)
        layer_fit = fit_linear_layer(scale, part, targets, seed, single_label=single_label)
        out_of_fold.append(layer_fit.out_of_fold)
    logits = {
        f"scale{number}": z.astype(np.float32) for number, z in enumerate(out_of_fold, start=1)
    }

    scale_weights = {}
    for fusion in fusions:
        head = fusion_head(fusion.scales)
        shares = (1 / fusion.scales,) * fusion.scales
        fused_logits = tuple(out_of_fold[: fusion.scales])
        fit = fit_scale_weights(fused_logits, shares, targets, seed, single_label=single_label)
        set_linear_layer(fusion, weighted_classifiers(racnn, fusion, fit.weights))
        scale_weights[head] = fit.weights
        logits[head] = fit.out_of_fold.astype(np.float32)
    return FrozenLayers(logits, scale_weights)
