"""The last stage: fit fusions and all heads' decisions, with the RA-CNN frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray

from leafzoom.dataset.batches import DatasetPart
from leafzoom.fitting.conformal import fit_conformal
from leafzoom.fitting.confusion import fit_confusion
from leafzoom.fitting.decision import fit_decision, plain_decision
from leafzoom.fitting.early_exit import fit_early_exit
from leafzoom.fitting.frozen_layers import fit_frozen_layers
from leafzoom.fitting.fusion import FusionFit, fit_lbfgs, fit_sgd
from leafzoom.fitting.likelihood import label_probabilities
from leafzoom.fitting.linear_layers import fit_linear_layer
from leafzoom.fitting.ood_detector import fit_ood_detector
from leafzoom.fitting.out_of_fold import out_of_fold_answers
from leafzoom.fitting.outlier_detector import LeafOutliers
from leafzoom.fitting.reference import fit_reference
from leafzoom.fitting.scale_classifiers import fusion_prior
from leafzoom.fitting.scale_outputs import (
    ScaleOutputs,
    backbone_descriptors,
    backbone_logits,
    scale_outputs,
)
from leafzoom.labels import Decision, LabelSet, plain_answers
from leafzoom.metrics import score
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_fusions
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.fusion import FusedNetwork, Fusion, fusion_head
from leafzoom.model.racnn import RACNN
from leafzoom.model_file.calibration import ConformalCalibration, Reference
from leafzoom.model_file.confusion import Confusion
from leafzoom.model_file.outputs import look_heads
from leafzoom.recipe import FusionRecipe

__all__ = [
    "FittedHeads",
    "fit_frozen_heads",
    "fit_heads",
    "ood_scores",
]

Logits = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class FittedHeads:
    """The whole network in eval(), and what was fitted on the validation part.

    `decisions`: one for each head. `scores`: each head's exact match, micro and macro F1 there, and
    the top-1 accuracy of single labels.
    `fusion_fits`: of the fusions that were fitted there. `logits`: {head: [n, L]}; those of a
    head that was fitted there are out of fold. `early_exit`: see `fit_early_exit`. `conformal`,
    `reference`, `confusion`: of the last head, which answers; None without a photograph.
    `scale_weights`: how much each scale counts, of fusions that are a weighted sum of the scales'
    classifiers.
    `holds_out`: whether there was a validation part; without, scores and fits are of the training
    part, and nothing is fitted for decisions.
    """

    network: FusedNetwork
    decisions: dict[str, Decision]
    scores: dict[str, dict[str, float]]
    fusion_fits: dict[str, FusionFit]
    logits: Logits
    early_exit: float | None
    conformal: ConformalCalibration | None
    reference: Reference | None
    confusion: Confusion | None
    scale_weights: dict[str, tuple[float, ...]] = field(default_factory=dict)
    holds_out: bool = True

    def metrics(self) -> dict[str, Any]:
        """The scores and fits as a model file keeps them."""
        fits: dict[str, dict[str, Any]] = {
            head: {"penalty": fit.penalty, "cross_validated_loss": fit.losses}
            for head, fit in self.fusion_fits.items()
        }
        for head, weights in self.scale_weights.items():
            fits[head] = {"scale_weights": list(weights)}
        part = "inner-select" if self.holds_out else "inner-train"
        return {part: self.scores, "fusion_fit": fits}


def fit_heads(  # noqa: PLR0913, the networks, the data and the recipe of one training
    fabric: Fabric,
    network: AttentionNetwork,
    backbone: Backbone,
    recipe: FusionRecipe,
    labels: LabelSet,
    *,
    tta: int,
    train_part: DatasetPart,
    validation_part: DatasetPart,
    seed: int,
    priors: NDArray[np.float64] | None = None,
    outliers: LeafOutliers | None = None,
) -> FittedHeads:
    """Fit the fusions, then every head's decision, then the out-of-distribution detectors.

    A fusion that was fitted on the validation part is judged there by its out-of-fold logits. With
    an empty validation part the training part takes its place, and decisions are not fitted: scales
    that know a photograph are surer of it than they will be of a new one.

    Args:
        fabric: device and precision.
        network: whose looks are fused; nothing of it changes.
        backbone: the plain one, a head of its own.
        recipe: of the fusion.
        labels: with the combinations that are possible.
        tta: every head is averaged over this many mirror images, here as later in use.
        train_part: what `fit = "sgd"` learns from.
        validation_part: what everything else learns from.
        seed: of the run.
        priors: of the combinations (see `combination_priors`).
        outliers: the outlier detector and its scores of the photographs that are fitted on.
    """
    holds_out = len(validation_part) > 0
    if not holds_out:
        validation_part = train_part
    fusions = tuple(build_fusions(recipe, network))
    outputs = scale_outputs(fabric, network, validation_part, fusions, tta=tta)
    targets = validation_part.part_targets

    # Every head's logits on the validation part.
    logits: Logits = {
        "backbone": backbone_logits(fabric, network, backbone, validation_part, tta=tta)
    }
    looks = look_heads(network.scales, network.framework)
    logits |= dict(zip(looks, outputs.logits, strict=True))

    # The fusions, from the training part or cross-validated on the validation part.
    fusion_fits: dict[str, FusionFit] = {}
    if recipe.fit == "sgd":
        training_outputs = outputs
        if holds_out:
            training_outputs = scale_outputs(fabric, network, train_part, fusions, tta=tta)
        for index, fusion in enumerate(fusions):
            inputs = training_outputs.fusion_inputs[index]
            fit_sgd(
                fusion,
                inputs,
                train_part.part_targets,
                recipe,
                seed,
                single_label=labels.single_label,
            )
            logits[fusion_head(fusion.scales)] = _fused(fusion, outputs.fusion_inputs[index])
    else:
        for index, fusion in enumerate(fusions):
            prior = fusion_prior(network, fusion)
            fit = fit_lbfgs(
                fusion,
                outputs.fusion_inputs[index],
                targets,
                prior,
                seed,
                single_label=labels.single_label,
            )
            fusion_fits[fusion_head(fusion.scales)] = fit
            logits[fusion_head(fusion.scales)] = fit.out_of_fold.astype(np.float32)

    fused = _network(
        fabric,
        network,
        fusions,
        outputs,
        outliers,
        tta=tta,
        seed=seed,
        single_label=labels.single_label,
    )
    if not holds_out:
        return _plain_heads(fused, logits, targets, labels, fusion_fits)

    scores = _leaf_scores(fused, outputs.descriptors, outliers)
    return _decide_and_score(
        fused, logits, targets, labels, priors, fusion_fits=fusion_fits, leaf_scores=scores
    )


def fit_frozen_heads(  # noqa: PLR0913, the networks, the data and the recipe of one training
    fabric: Fabric,
    racnn: RACNN,
    backbone: Backbone,
    recipe: FusionRecipe,
    labels: LabelSet,
    *,
    tta: int,
    part: DatasetPart,
    seed: int,
    priors: NDArray[np.float64] | None = None,
    outliers: LeafOutliers | None = None,
) -> FittedHeads:
    """Fit the linear layers of frozen scales, a weighted sum of them, and every head's decision.

    For few photographs: all of them are learned from, and nothing is chosen or judged by a fit that
    has seen the photograph (see `fit_linear_layer`).

    Args:
        fabric: device and precision.
        racnn: of whose scales the linear layers are fitted; nothing else of it changes.
        backbone: the plain one, likewise.
        recipe: of the fusion.
        labels: with the combinations that are possible.
        tta: every head is averaged over this many mirror images, here as later in use.
        part: all photographs, none of which the scales were trained on.
        seed: of the run.
        priors: of the combinations (see `combination_priors`).
        outliers: the outlier detector and its scores of the photographs that are fitted on.
    """
    fusions = tuple(build_fusions(recipe, racnn))
    outputs = scale_outputs(fabric, racnn, part, tta=tta)
    targets = part.part_targets

    single_label = labels.single_label
    layers = fit_frozen_layers(
        racnn, fusions, outputs.descriptors, targets, seed, single_label=single_label
    )
    plain = backbone_descriptors(fabric, racnn, backbone, part, tta=tta)
    plain_fit = fit_linear_layer(backbone, plain, targets, seed, single_label=single_label)
    logits = {"backbone": plain_fit.out_of_fold.astype(np.float32), **layers.logits}

    network = _network(
        fabric,
        racnn,
        fusions,
        outputs,
        outliers,
        tta=tta,
        seed=seed,
        single_label=labels.single_label,
    )
    return _decide_and_score(
        network,
        logits,
        targets,
        labels,
        priors,
        scale_weights=layers.scale_weights,
        leaf_scores=_leaf_scores(network, outputs.descriptors, outliers),
    )


@torch.no_grad()
def ood_scores(
    network: FusedNetwork, descriptors: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """The out-of-distribution scores [n] of descriptors [n, W]; None without a detector."""
    if network.ood_detector is None:
        return None
    device = network.attention_network.mean.device
    scores: NDArray[np.float32] = (
        network.ood_detector(torch.from_numpy(descriptors).to(device)).cpu().numpy()
    )
    return scores


def _leaf_scores(
    network: FusedNetwork, descriptors: NDArray[np.float32], outliers: LeafOutliers | None
) -> NDArray[np.float32] | None:
    """The photographs' scores [n] as the network gives them; None without a density."""
    scores = ood_scores(network, descriptors)
    if scores is None or outliers is None:
        return scores
    return np.maximum(scores, outliers.leaf_scores)


def _decide_and_score(
    network: FusedNetwork,
    logits: Logits,
    targets: NDArray[np.uint8],
    labels: LabelSet,
    priors: NDArray[np.float64] | None,
    *,
    fusion_fits: dict[str, FusionFit] | None = None,
    scale_weights: dict[str, tuple[float, ...]] | None = None,
    leaf_scores: NDArray[np.float32] | None,
) -> FittedHeads:
    """Every head's decision, what it reaches, and what later answers are compared with.

    `leaf_scores`: [n], the photographs' out-of-distribution scores; None without a detector.
    """
    decisions = {head: fit_decision(z, targets, labels, priors) for head, z in logits.items()}
    scores = {head: _scores(z, targets, labels) for head, z in logits.items()}

    # An early exit also has to tell from scale 1 whether the picture is a leaf.
    early_exit = None
    if network.first_ood_detector is not None:
        last = logits[fusion_head(network.attention_network.scales)]
        early_exit = fit_early_exit(logits["scale1"], last, targets, labels, priors)

    # What the answering head's later answers are compared with.
    last_logits = next(reversed(logits.values()))
    fit = partial(fit_decision, priors=priors)
    answers = out_of_fold_answers(last_logits, targets, labels, fit)
    attention = network.attention_network
    look_answers = [
        out_of_fold_answers(logits[head], targets, labels, fit)
        for head in look_heads(attention.scales, attention.framework)
    ]
    return FittedHeads(
        network=network,
        decisions=decisions,
        scores=scores,
        fusion_fits=fusion_fits or {},
        logits=logits,
        early_exit=early_exit,
        conformal=fit_conformal(answers, targets, labels),
        reference=fit_reference(answers, leaf_scores, labels),
        confusion=fit_confusion(answers, look_answers, leaf_scores, targets, labels),
        scale_weights=scale_weights or {},
    )


def _plain_heads(
    network: FusedNetwork,
    logits: Logits,
    targets: NDArray[np.uint8],
    labels: LabelSet,
    fusion_fits: dict[str, FusionFit],
) -> FittedHeads:
    """Every head with the plain decision, and what it reaches on the training part."""
    return FittedHeads(
        network=network,
        decisions={head: plain_decision(labels) for head in logits},
        scores={head: _scores(z, targets, labels) for head, z in logits.items()},
        fusion_fits=fusion_fits,
        logits=logits,
        early_exit=None,
        conformal=None,
        reference=None,
        confusion=None,
        holds_out=False,
    )


def _fused(fusion: Fusion, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A fusion's logits [n, L] from its inputs [n, W]."""
    with torch.no_grad():
        logits: NDArray[np.float32] = fusion(torch.from_numpy(inputs)).numpy()
    return logits


def _scores(
    logits: NDArray[np.float32], targets: NDArray[np.uint8], labels: LabelSet
) -> dict[str, float]:
    """Exact match, micro F1 and macro F1 of plain answers; of single labels top-1 accuracy too."""
    single_label = labels.single_label
    probabilities = label_probabilities(logits, single_label=single_label)
    answers = plain_answers(probabilities, labels)
    scored = score(targets, answers, probabilities, labels.names, single_label=single_label)
    top1 = {} if scored.top1 is None else {"top1": scored.top1}
    return {
        **top1,
        "exact_match": scored.exact_match,
        "micro_f1": scored.micro.f1,
        "macro_f1": scored.macro.f1,
    }


def _network(
    fabric: Fabric,
    network: AttentionNetwork,
    fusions: tuple[Fusion, ...],
    outputs: ScaleOutputs,
    outliers: LeafOutliers | None,
    *,
    tta: int,
    seed: int,
    single_label: bool,
) -> FusedNetwork:
    """The whole network with its out-of-distribution detectors, of all scales and of the first.

    The looks of an MA-CNN come from one pass, so its first look would save nothing by itself.
    """
    descriptors = outputs.descriptors
    detector = fit_ood_detector(descriptors, network.scales, seed)
    first_detector = None
    if isinstance(network, RACNN):
        first_width = descriptors.shape[1] // network.scales
        first_detector = fit_ood_detector(descriptors[:, :first_width], 1, seed)
    outlier_detector = outliers.detector if outliers else None
    fused = FusedNetwork(
        network,
        fusions,
        tta,
        detector,
        first_detector,
        outlier_detector,
        single_label=single_label,
    )
    return fused.to(fabric.device).eval()
