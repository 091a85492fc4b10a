"""The last stage: fusion heads, decisions and what is familiar, with the RA-CNN frozen, on inputs computed once."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from leafzoom.labels import Decision, LabelSet
from leafzoom.metrics import score
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_fusions
from leafzoom.model.fusion import FusedRACNN, Fusion, fusion_head
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import FusionRecipe
from leafzoom.storage import write_text
from leafzoom.training.batches import Photographs
from leafzoom.training.decision_fit import fit_decision, fit_early_exit
from leafzoom.training.familiarity_fit import fit_familiarity
from leafzoom.training.fusion_fit import fit_lbfgs, fit_sgd
from leafzoom.training.selection import read_backbone, read_scales

__all__ = ["FittedHeads", "fit_heads", "write_selection"]


@dataclass(frozen=True)
class FittedHeads:
    """The whole network in eval(), every head's decision, figures on the selection part, and its logits there.

    `logits`: {head: [n, L]}; those of a fusion that was fitted on the selection part are out of fold. `early_exit`:
    see `fit_early_exit`.
    """

    network: FusedRACNN
    decisions: dict[str, Decision]
    metrics: dict[str, Any]
    logits: dict[str, NDArray[np.float32]]
    early_exit: float | None


def fit_heads(
    fabric: Fabric,
    racnn: RACNN,
    backbone: Backbone,
    recipe: FusionRecipe,
    labels: LabelSet,
    *,
    mirrors: int,
    train_part: Photographs,
    select_part: Photographs,
    seed: int,
) -> FittedHeads:
    """Fit the fusions, then every head's thresholds and temperature, then what is familiar.

    A fusion that was fitted on the selection part is judged there by its out-of-fold logits.

    Args:
        fabric: device and precision.
        racnn: whose scales are fused; nothing of it changes.
        backbone: the plain one, for its own head.
        recipe: of the fusion.
        labels: with the combinations that occur.
        mirrors: over so many mirror images every head is averaged, here as later in use.
        train_part: what `fit = "sgd"` learns from.
        select_part: what `fit = "lbfgs"`, thresholds, temperatures and familiarity learn from.
        seed: of the run.
    """
    fusions = tuple(build_fusions(recipe, racnn))
    read = read_scales(fabric, racnn, select_part, fusions, mirrors=mirrors)
    logits = {f"scale{s}": z for s, z in enumerate(read.logits, start=1)}
    targets = select_part.part_targets
    fits: dict[str, Any] = {}
    on_train = read_scales(fabric, racnn, train_part, fusions, mirrors=mirrors) if recipe.fit == "sgd" else None
    for place, fusion in enumerate(fusions):
        head = fusion_head(fusion.scales)
        if on_train:
            fit_sgd(fusion, on_train.gathered[place], train_part.part_targets, recipe, seed)
            with torch.no_grad():
                logits[head] = fusion(torch.from_numpy(read.gathered[place])).numpy()
        else:
            fit = fit_lbfgs(fusion, read.gathered[place], targets, _mean_classifier(racnn, fusion), seed)
            logits[head] = fit.out_of_fold.astype(np.float32)
            fits[head] = {"penalty": fit.penalty, "cross_validated_loss": fit.losses}
    heads = {"backbone": read_backbone(fabric, racnn, backbone, select_part, mirrors=mirrors), **logits}
    decisions = {head: fit_decision(z, targets, labels) for head, z in heads.items()}
    figures: dict[str, Any] = {}
    for head, z in heads.items():
        scored = score(targets, z > 0, 1 / (1 + np.exp(-z.astype(np.float64))), labels.names)
        figures[head] = {"exact_match": scored.exact_match, "micro_f1": scored.micro.f1, "macro_f1": scored.macro.f1}
    familiarity = fit_familiarity(read.descriptors, racnn.scales, seed)
    first = fit_familiarity(read.descriptors[:, : read.descriptors.shape[1] // racnn.scales], 1, seed)
    network = FusedRACNN(racnn, fusions, mirrors, familiarity, first).to(fabric.device).eval()
    last = fusion_head(racnn.scales)
    early_exit = fit_early_exit(heads["scale1"], heads[last], targets, labels) if first else None
    return FittedHeads(network, decisions, {"inner-select": figures, "fusion_fit": fits}, heads, early_exit)


def write_selection(path: Path, heads: FittedHeads, photographs: Photographs, labels: LabelSet) -> None:
    """Write a row a photograph of the selection part: its labels and every head's logits, for comparing runs."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "labels", *(f"{head}_{label}" for head in heads.logits for label in labels.names)])
    for place, row in enumerate(photographs.rows):
        logits = [f"{value:.5g}" for z in heads.logits.values() for value in z[place]]
        given = " ".join(labels.decode(photographs.targets[row]))
        writer.writerow([photographs.images[row], given, *logits])
    write_text(path, text.getvalue())


def _mean_classifier(racnn: RACNN, fusion: Fusion) -> tuple[Tensor, Tensor]:
    """Weight and bias that make a fusion the mean of its scales' logits; with `residual`, the finest one's logits."""
    layers = []
    for backbone in list(racnn.backbones)[: fusion.scales]:
        assert isinstance(backbone, Backbone)
        layers.append(backbone.classifier_layer())
    finest = fusion.scales - 1
    shares = [1 / fusion.scales] * fusion.scales
    if fusion.inputs == "logits":
        if racnn.residual:
            shares = [float(scale == finest) for scale in range(fusion.scales)]
        identity = torch.eye(layers[0].out_features)
        return torch.cat([share * identity for share in shares], dim=1), torch.zeros(layers[0].out_features)
    if racnn.residual:  # what the finest scale's logits are made of
        shares = [racnn.residual ** (finest - scale) for scale in range(fusion.scales)]
    weight = torch.cat([share * layer.weight.detach() for share, layer in zip(shares, layers, strict=True)], dim=1)
    bias = torch.stack([share * layer.bias.detach() for share, layer in zip(shares, layers, strict=True)]).sum(dim=0)
    # An L2-normalised descriptor is no input that the scales' classifiers know.
    return (torch.zeros_like(weight) if fusion.normalise == "l2" else weight), bias
