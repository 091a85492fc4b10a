"""The last stage: fit fusions and all heads' decisions, with the RA-CNN frozen."""

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
from scipy.special import expit

from leafzoom.dataset.batches import DatasetPart
from leafzoom.fitting.conformal import fit_conformal
from leafzoom.fitting.decision import fit_decision
from leafzoom.fitting.early_exit import fit_early_exit
from leafzoom.fitting.fusion import FusionFit, LinearLayer, fit_lbfgs, fit_sgd
from leafzoom.fitting.ood_detector import fit_ood_detector
from leafzoom.fitting.out_of_fold import out_of_fold_answers
from leafzoom.fitting.reference import fit_reference
from leafzoom.fitting.scale_outputs import ScaleOutputs, backbone_logits, scale_outputs
from leafzoom.labels import Decision, LabelSet
from leafzoom.metrics import score
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_fusions
from leafzoom.model.fusion import FusedRACNN, Fusion, fusion_head
from leafzoom.model.racnn import RACNN
from leafzoom.model_file.calibration import ConformalCalibration, Reference
from leafzoom.recipe import FusionRecipe
from leafzoom.storage import write_text

__all__ = ["FittedHeads", "fit_heads", "mean_classifier", "ood_scores", "write_selection"]

Logits = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class FittedHeads:
    """The whole network in eval(), and what was fitted on the validation part.

    `decisions`: one for each head. `scores`: each head's exact match, micro and macro F1 there.
    `fusion_fits`: of the fusions that were fitted there. `logits`: {head: [n, L]}; those of a
    fusion that was fitted there are out of fold. `early_exit`: see `fit_early_exit`. `conformal`,
    `reference`: of the last head, which answers; None without a photograph.
    """

    network: FusedRACNN
    decisions: dict[str, Decision]
    scores: dict[str, dict[str, float]]
    fusion_fits: dict[str, FusionFit]
    logits: Logits
    early_exit: float | None
    conformal: ConformalCalibration | None
    reference: Reference | None

    def metrics(self) -> dict[str, Any]:
        """The scores and fits as a model file keeps them."""
        fits = {
            head: {"penalty": fit.penalty, "cross_validated_loss": fit.losses}
            for head, fit in self.fusion_fits.items()
        }
        return {"inner-select": self.scores, "fusion_fit": fits}


def fit_heads(  # noqa: PLR0913, the networks, the data and the recipe of one training
    fabric: Fabric,
    racnn: RACNN,
    backbone: Backbone,
    recipe: FusionRecipe,
    labels: LabelSet,
    *,
    tta: int,
    train_part: DatasetPart,
    validation_part: DatasetPart,
    seed: int,
) -> FittedHeads:
    """Fit the fusions, then every head's decision, then the out-of-distribution detectors.

    A fusion that was fitted on the validation part is judged there by its out-of-fold logits.

    Args:
        fabric: device and precision.
        racnn: whose scales are fused; nothing of it changes.
        backbone: the plain one, a head of its own.
        recipe: of the fusion.
        labels: with the combinations that occur.
        tta: every head is averaged over this many mirror images, here as later in use.
        train_part: what `fit = "sgd"` learns from.
        validation_part: what everything else learns from.
        seed: of the run.
    """
    fusions = tuple(build_fusions(recipe, racnn))
    outputs = scale_outputs(fabric, racnn, validation_part, fusions, tta=tta)
    targets = validation_part.part_targets

    # Every head's logits on the validation part.
    logits: Logits = {
        "backbone": backbone_logits(fabric, racnn, backbone, validation_part, tta=tta)
    }
    logits |= {f"scale{number}": z for number, z in enumerate(outputs.logits, start=1)}

    # The fusions, from the training part or cross-validated on the validation part.
    fusion_fits: dict[str, FusionFit] = {}
    if recipe.fit == "sgd":
        training_outputs = scale_outputs(fabric, racnn, train_part, fusions, tta=tta)
        for index, fusion in enumerate(fusions):
            inputs = training_outputs.fusion_inputs[index]
            fit_sgd(fusion, inputs, train_part.part_targets, recipe, seed)
            logits[fusion_head(fusion.scales)] = _fused(fusion, outputs.fusion_inputs[index])
    else:
        for index, fusion in enumerate(fusions):
            prior = mean_classifier(racnn, fusion)
            fit = fit_lbfgs(fusion, outputs.fusion_inputs[index], targets, prior, seed)
            fusion_fits[fusion_head(fusion.scales)] = fit
            logits[fusion_head(fusion.scales)] = fit.out_of_fold.astype(np.float32)

    # Decisions, and what they reach.
    decisions = {head: fit_decision(z, targets, labels) for head, z in logits.items()}
    scores = {head: _scores(z, targets, labels) for head, z in logits.items()}

    network = _network(fabric, racnn, fusions, outputs, tta=tta, seed=seed)

    # An early exit also has to tell from scale 1 whether the picture is a leaf.
    early_exit = None
    if network.first_ood_detector is not None:
        last = logits[fusion_head(racnn.scales)]
        early_exit = fit_early_exit(logits["scale1"], last, targets, labels)

    # What the answering head's later answers are compared with.
    answers = out_of_fold_answers(next(reversed(logits.values())), targets, labels)
    return FittedHeads(
        network=network,
        decisions=decisions,
        scores=scores,
        fusion_fits=fusion_fits,
        logits=logits,
        early_exit=early_exit,
        conformal=fit_conformal(answers, targets, labels),
        reference=fit_reference(answers, ood_scores(network, outputs.descriptors), labels),
    )


@torch.no_grad()
def ood_scores(network: FusedRACNN, descriptors: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The out-of-distribution scores [n] of descriptors [n, W]; None without a detector."""
    if network.ood_detector is None:
        return None
    device = network.racnn.mean.device
    scores: NDArray[np.float32] = (
        network.ood_detector(torch.from_numpy(descriptors).to(device)).cpu().numpy()
    )
    return scores


def write_selection(path: Path, heads: FittedHeads, part: DatasetPart, labels: LabelSet) -> None:
    """Write a row for each photograph of the validation part: labels and every head's logits."""
    columns = [f"{head}_{label}" for head in heads.logits for label in labels.names]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "labels", *columns])

    for index, row in enumerate(part.rows):
        logits = np.concatenate([z[index] for z in heads.logits.values()])
        label_names = " ".join(labels.decode(part.targets[row]))
        writer.writerow([part.image_names[row], label_names, *(f"{z:.5g}" for z in logits)])
    write_text(path, text.getvalue())


def _fused(fusion: Fusion, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A fusion's logits [n, L] from its inputs [n, W]."""
    with torch.no_grad():
        logits: NDArray[np.float32] = fusion(torch.from_numpy(inputs)).numpy()
    return logits


def _scores(
    logits: NDArray[np.float32], targets: NDArray[np.uint8], labels: LabelSet
) -> dict[str, float]:
    """Exact match, micro F1 and macro F1 at threshold 0.5."""
    probabilities = expit(logits.astype(np.float64))
    scored = score(targets, logits > 0, probabilities, labels.names)
    return {
        "exact_match": scored.exact_match,
        "micro_f1": scored.micro.f1,
        "macro_f1": scored.macro.f1,
    }


def _network(
    fabric: Fabric,
    racnn: RACNN,
    fusions: tuple[Fusion, ...],
    outputs: ScaleOutputs,
    *,
    tta: int,
    seed: int,
) -> FusedRACNN:
    """The whole network with its out-of-distribution detectors, of all scales and of the first."""
    descriptors = outputs.descriptors
    first_width = descriptors.shape[1] // racnn.scales
    detector = fit_ood_detector(descriptors, racnn.scales, seed)
    first_detector = fit_ood_detector(descriptors[:, :first_width], 1, seed)
    return FusedRACNN(racnn, fusions, tta, detector, first_detector).to(fabric.device).eval()


def mean_classifier(racnn: RACNN, fusion: Fusion) -> LinearLayer:
    """The layer with which a fusion is the mean of its scales' logits.

    With `residual` it is the finest scale's logits, which the coarser ones' are part of.
    """
    scales = fusion.scales
    finest = scales - 1
    layers = []
    for backbone in list(racnn.backbones)[:scales]:
        assert isinstance(backbone, Backbone)
        layers.append(backbone.classifier_layer())
    labels = layers[0].out_features

    # Logits: each label from the same label of every scale.
    if fusion.inputs == "logits":
        shares = [1 / scales] * scales
        if racnn.residual:
            shares = [float(scale == finest) for scale in range(scales)]
        identities = [share * np.eye(labels) for share in shares]
        return LinearLayer(np.concatenate(identities, axis=1), np.zeros(labels))

    # Descriptors: the classifiers side by side, each with its share.
    shares = [1 / scales] * scales
    if racnn.residual:
        shares = [racnn.residual ** (finest - scale) for scale in range(scales)]
    pairs = list(zip(shares, layers, strict=True))
    weight = torch.cat([share * layer.weight.detach() for share, layer in pairs], dim=1)
    bias = torch.stack([share * layer.bias.detach() for share, layer in pairs]).sum(dim=0)

    # An L2-normalised descriptor is no input that the scales' classifiers know.
    if fusion.normalise == "l2":
        weight = torch.zeros_like(weight)
    return LinearLayer(weight.double().cpu().numpy(), bias.double().cpu().numpy())
