"""From a recipe to objects: the only file of the model that reads recipes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.attention_proposal import AttentionProposal
from leafzoom.model.attention_sampling import AttentionSampling
from leafzoom.model.backbone import Backbone
from leafzoom.model.cal import CAL
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.fusion import FusedNetwork, Fusion, fusion_head
from leafzoom.model.macnn import MACNN
from leafzoom.model.ood_detector import MahalanobisDetector, OutlierDetector
from leafzoom.model.racnn import RACNN
from leafzoom.model_file.checkpoint import Checkpoint, load_part
from leafzoom.model_file.outputs import part_head, scale_head
from leafzoom.recipe import FusionRecipe, ModelRecipe, Recipe, recipe_from_dict

__all__ = [
    "build_attention_sampling",
    "build_backbone",
    "build_cal",
    "build_fusions",
    "build_macnn",
    "build_network",
    "build_racnn",
    "load_outlier_detector",
    "network_from_checkpoint",
    "network_tensors",
]

# Their names in checkpoints, from before they were called detectors.
_DETECTOR_PART = "familiarity"
_FIRST_DETECTOR_PART = "familiarity1"

_OUTLIER_PART = "outliers"
_GROUPING_PART = "grouping"
_ATTENTION_PART = "attention"
_CLASSIFIER_PART = "classifier"


def build_backbone(recipe: ModelRecipe, labels: int) -> Backbone:
    """A backbone with random weights (see `Backbone` for its errors)."""
    return Backbone(
        name=recipe.backbone,
        labels=labels,
        drop_rate=recipe.drop_rate,
        apn_stage=recipe.apn_stage,
        descriptor=recipe.descriptor,
    )


def build_racnn(recipe: Recipe, labels: int) -> RACNN:
    """An RA-CNN with random weights, in the memory format that convolutions like best."""
    model = recipe.model
    backbones = [build_backbone(model, labels) for _ in range(model.scales)]

    # The APNs read maps whose size comes from the backbone.
    channels, map_size = backbones[0].map_shape(model.input_size)
    if map_size == 1 and model.apn_normalise == "places":
        raise RecipeError(
            f"model.apn_normalise: the map of {model.backbone} at model.input_size "
            f"{model.input_size} has one place: nothing differs between places, so use 'none' or a "
            "larger input_size"
        )
    apns = [_build_apn(model, channels, map_size) for _ in range(model.scales - 1)]

    racnn = RACNN(
        backbones=backbones,
        apns=apns,
        source_size=recipe.data.source_size,
        input_size=model.input_size,
        zoom_from=model.zoom_from,
        zoom_bounds=model.zoom_bounds,
        centre_range=model.centre_range,
        crop_mask=model.crop_mask,
        surrogate=model.surrogate,
        surrogate_scale=model.surrogate_scale,
        border=model.border,
        proposals=model.proposals,
        residual=model.residual,
    )
    racnn.backbones.to(memory_format=torch.channels_last)
    return racnn


def build_macnn(recipe: Recipe, labels: int) -> MACNN:
    """An MA-CNN with random weights, in the memory format that convolutions like best.

    Raises:
        RecipeError: the backbone's linear layer does not read the pooled map itself.
    """
    model = recipe.model
    backbone = build_backbone(model, labels)
    if not backbone.has_class_activations(model.input_size):
        raise RecipeError(
            f"model.framework ma-cnn: {backbone.name} does more than pooling before its linear "
            "layer, and parts are pooled from the map that this layer reads: choose an "
            "EfficientNet or a ResNet as model.backbone"
        )

    macnn = MACNN(
        backbone=backbone,
        parts=recipe.parts.number,
        part_side=recipe.parts.side,
        hidden=recipe.parts.hidden,
        normalise=recipe.parts.normalise,
        drop_rate=model.drop_rate,
        source_size=recipe.data.source_size,
        input_size=model.input_size,
    )
    macnn.backbones.to(memory_format=torch.channels_last)
    return macnn


def build_cal(recipe: Recipe, labels: int) -> CAL:
    """A CAL network with random weights, in the memory format that convolutions like best."""
    model = recipe.model
    backbone = build_backbone(model, labels)
    cal = CAL(
        backbone=backbone,
        labels=labels,
        channels=backbone.last_map_channels(model.input_size),
        maps=recipe.counterfactual.maps,
        crop_threshold=recipe.counterfactual.crop_threshold,
        crop_padding=recipe.counterfactual.crop_padding,
        source_size=recipe.data.source_size,
        input_size=model.input_size,
    )
    cal.backbones.to(memory_format=torch.channels_last)
    return cal


def build_attention_sampling(recipe: Recipe, labels: int) -> AttentionSampling:
    """An attention sampling network with random weights, in channels-last memory.

    Raises:
        RecipeError: the attention's map has fewer places than patches are drawn.
    """
    model = recipe.model
    backbones = [build_backbone(model, labels) for _ in range(2)]
    channels, map_size = backbones[0].map_shape(model.input_size)
    if map_size**2 < recipe.patches.number:
        raise RecipeError(
            f"patches.number {recipe.patches.number}: the map of {model.backbone} at "
            f"model.input_size {model.input_size} has {map_size**2} places: use a larger "
            "input_size, or model.apn_stage stride16"
        )

    network = AttentionSampling(
        backbones=backbones,
        channels=channels,
        patches=recipe.patches.number,
        patch_side=recipe.patches.side,
        source_size=recipe.data.source_size,
        input_size=model.input_size,
    )
    network.backbones.to(memory_format=torch.channels_last)
    return network


def build_network(recipe: Recipe, labels: int) -> AttentionNetwork:
    """The network of the recipe's framework, with random weights (see the four above)."""
    if recipe.model.framework == "attention-sampling":
        return build_attention_sampling(recipe, labels)
    if recipe.model.framework == "cal":
        return build_cal(recipe, labels)
    if recipe.model.framework == "ma-cnn":
        return build_macnn(recipe, labels)
    return build_racnn(recipe, labels)


def build_fusions(recipe: FusionRecipe, network: AttentionNetwork) -> list[Fusion]:
    """The fusions of the first two scales, the first three, …, with random weights.

    Other frameworks have one fusion of all looks.
    """
    layer = network.classifier_layers()[0]
    width = layer.in_features if recipe.inputs == "descriptors" else layer.out_features
    first_fused = 2 if isinstance(network, RACNN) else network.scales
    return [
        Fusion(
            scales=fused,
            width=width,
            labels=layer.out_features,
            inputs=recipe.inputs,
            normalise=recipe.normalise,
        )
        for fused in range(first_fused, network.scales + 1)
    ]


def network_from_checkpoint(checkpoint: Checkpoint) -> FusedNetwork:
    """The whole network of a checkpoint, in eval().

    Raises:
        ModelError: the checkpoint lacks a part, or its recipe is of another leafzoom.
    """
    manifest = checkpoint.manifest
    try:
        recipe = recipe_from_dict(manifest.recipe, str(checkpoint.path))
    except RecipeError as error:
        raise ModelError(
            f"{checkpoint.path} has a recipe that this leafzoom does not know: {error}"
        ) from error

    # The network that the recipe describes, with random weights until the parts are loaded.
    attention_network = build_network(recipe, len(manifest.labels.names))
    network = FusedNetwork(
        attention_network,
        build_fusions(recipe.fusion, attention_network),
        recipe.prediction.tta,
        _empty_detector(checkpoint, _DETECTOR_PART),
        _empty_detector(checkpoint, _FIRST_DETECTOR_PART),
        _empty_outlier_detector(checkpoint),
        single_label=manifest.labels.single_label,
    )

    for name, module in _parts(network).items():
        if name not in checkpoint.parts:
            raise ModelError(
                f"{checkpoint.path} holds {', '.join(sorted(checkpoint.parts))} and no {name}: it "
                "serves --init; name a finished run's folder or its model.safetensors"
            )
        tensors = checkpoint.part(name)
        if isinstance(module, Backbone):
            module.match_batch_norm(tensors)
        load_part(module, tensors, f"{checkpoint.path}: {name}")
    return network.eval()


def load_outlier_detector(checkpoint: Checkpoint) -> OutlierDetector | None:
    """A checkpoint's outlier detector; None where it has none."""
    detector = _empty_outlier_detector(checkpoint)
    if detector is not None:
        load_part(detector, checkpoint.part(_OUTLIER_PART), f"{checkpoint.path}: {_OUTLIER_PART}")
    return detector


def network_tensors(network: FusedNetwork) -> dict[str, Tensor]:
    """All tensors of a network under their names in a checkpoint."""
    tensors = {}
    for part, module in _parts(network).items():
        for name, tensor in module.state_dict().items():
            tensors[f"{part}.{name}"] = tensor
    return tensors


def _build_apn(model: ModelRecipe, channels: int, map_size: int) -> AttentionProposal:
    """An APN with random weights for maps [B, channels, map_size, map_size]."""
    return AttentionProposal(
        channels=channels,
        map_size=map_size,
        hidden=model.apn_hidden,
        activation=model.apn_activation,
        normalise=model.apn_normalise,
    )


def _empty_detector(checkpoint: Checkpoint, part: str) -> MahalanobisDetector | None:
    """A detector of the size that a checkpoint stores; older checkpoints have none."""
    if part not in checkpoint.parts:
        return None
    width, directions = checkpoint.tensors[f"{part}.directions"].shape
    return MahalanobisDetector(width, directions)


def _empty_outlier_detector(checkpoint: Checkpoint) -> OutlierDetector | None:
    """An outlier detector of the size that a checkpoint stores; older checkpoints have none."""
    if _OUTLIER_PART not in checkpoint.parts:
        return None
    return OutlierDetector(len(checkpoint.tensors[f"{_OUTLIER_PART}.weight"]))


def _parts(network: FusedNetwork) -> dict[str, nn.Module]:
    """The parts of a network under their names in a checkpoint."""
    parts = _attention_parts(network.attention_network)
    for fusion in network.fusions:
        assert isinstance(fusion, Fusion)
        parts[fusion_head(fusion.scales)] = fusion
    if network.ood_detector is not None:
        parts[_DETECTOR_PART] = network.ood_detector
    if network.first_ood_detector is not None:
        parts[_FIRST_DETECTOR_PART] = network.first_ood_detector
    if network.outlier_detector is not None:
        parts[_OUTLIER_PART] = network.outlier_detector
    return parts


def _attention_parts(network: AttentionNetwork) -> dict[str, nn.Module]:
    """The parts of an attention network that predict, under their names in a checkpoint.

    The MA-CNN's classifier of all descriptors is where its fusion starts from: it is not kept.
    """
    parts: dict[str, nn.Module] = {}
    for number, backbone in enumerate(network.backbones, start=1):
        parts[scale_head(number)] = backbone
    if isinstance(network, RACNN):
        for number, apn in enumerate(network.apns, start=1):
            parts[f"apn{number}"] = apn
        return parts

    if isinstance(network, AttentionSampling):
        parts[_ATTENTION_PART] = network.attention
        return parts
    if isinstance(network, CAL):
        parts[_ATTENTION_PART] = network.attention
        parts[_CLASSIFIER_PART] = network.classifier
        return parts

    parts[_GROUPING_PART] = network.grouping
    for number, classifier in enumerate(network.part_classifiers, start=1):
        parts[part_head(number)] = classifier
    return parts
