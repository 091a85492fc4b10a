"""The backbone of one scale: a timm network split into its features and its classifier (figure 4).

An EfficientNet keeps its stage 9 (1x1 convolution, pooling, linear layer) as the classifier, "thus
avoiding loosing the precious contribution of skip-connections", and the APN reads the map of stage
8 before it. timm's own `forward_features` ends after stage 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import timm
import torch
from timm.data import resolve_model_data_config
from timm.layers import ClassifierHead
from timm.models.vgg import VGG
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from leafzoom.errors import RecipeError

__all__ = ["Backbone", "BackboneOutput"]

_EFFICIENTNET_PARTS = ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool")
_FIRST_STAGE_OF_STRIDE_8 = 2  # of an EfficientNet's seven, counted from 0
_LINEAR_LAYER_STD = 0.01


@dataclass(frozen=True)
class BackboneOutput:
    """What a backbone computes from one scale's views.

    `stage_maps`: the stages' maps [B, C, M, M] from stride 8 on, finest first; of a network without
    stages, its last map alone. `features`: [B, C, M, M], the map that the APN reads. `last_map`:
    [B, D, N, N], the map that is pooled into the descriptor. `descriptor`: [B, D]. `logits`:
    [B, L].
    """

    stage_maps: tuple[Tensor, ...]
    features: Tensor
    last_map: Tensor
    descriptor: Tensor
    logits: Tensor


class Backbone(nn.Module):
    """A timm network as features and classifier, with random weights.

    Args:
        name: of the timm network.
        labels: number of labels L.
        drop_rate: of the dropout before the linear layer.
        apn_stage: which map is the APN's: the last one before the classifier, or the last one of
            stride 16 (EfficientNets only).
        descriptor: `pooled`: a VGG's linear layer reads the mean of the last map; other networks
            stay as they are.

    Raises:
        RecipeError: timm has no such network, it does not end in a linear layer, or it has no such
            stage.
    """

    def __init__(
        self,
        *,
        name: str,
        labels: int,
        drop_rate: float,
        apn_stage: Literal["last", "stride16"] = "last",
        descriptor: Literal["network", "pooled"] = "network",
    ) -> None:
        super().__init__()
        self.name = name
        self.apn_stage = apn_stage

        if not timm.is_model(name):
            similar = timm.list_models(f"*{name.split('_')[0]}*")[:5]
            known = ", ".join(similar) or "efficientnet_b0, vgg19_bn, …"
            raise RecipeError(f"model.backbone: timm has no network {name!r}; it has {known}")
        self.network = timm.create_model(
            name, pretrained=False, num_classes=labels, drop_rate=drop_rate
        )
        if descriptor == "pooled" and isinstance(self.network, VGG):
            _drop_hidden_layers(self.network, labels, drop_rate)
        if not isinstance(self.network.get_classifier(), nn.Linear):
            raise RecipeError(
                f"model.backbone: {name} does not end in a linear layer, as the fusion needs"
            )

        # timm's EfficientNets start this layer so wide (1 / sqrt(labels)) that the first loss is
        # twice log 2.
        nn.init.normal_(self.classifier_layer().weight, std=_LINEAR_LAYER_STD)
        nn.init.zeros_(self.classifier_layer().bias)

        self.is_efficientnet = all(hasattr(self.network, part) for part in _EFFICIENTNET_PARTS)
        if apn_stage == "stride16" and not self.is_efficientnet:
            raise RecipeError(
                f"model.apn_stage: {name} has no stage of stride 16 to read; use 'last'"
            )

        # How the network expects its pixels normalised.
        config = resolve_model_data_config(self.network)
        self.mean: tuple[float, ...] = tuple(config["mean"])
        self.std: tuple[float, ...] = tuple(config["std"])

    def forward(self, views: Tensor) -> BackboneOutput:
        """All outputs for views [B, 3, V, V], normalised as the network expects."""
        stage_maps = self.stage_maps(views)
        last_map, descriptor, logits = self.classify(stage_maps[-1])
        features = self.apn_map(stage_maps, views.shape[-1])
        return BackboneOutput(stage_maps, features, last_map, descriptor, logits)

    def stage_maps(self, views: Tensor) -> tuple[Tensor, ...]:
        """The stages' maps of stride 8 and more; the classifier reads the last one."""
        if not self.is_efficientnet:
            return (self.network.forward_features(views),)

        maps = []
        stage_map = self.network.bn1(self.network.conv_stem(views))
        for number, stage in enumerate(self.network.blocks):
            stage_map = stage(stage_map)
            if number >= _FIRST_STAGE_OF_STRIDE_8:
                maps.append(stage_map)
        return tuple(maps)

    def apn_map(self, stage_maps: Sequence[Tensor], view_side: int) -> Tensor:
        """The map that the APN reads, of views of this side in pixels."""
        if self.apn_stage == "last":
            return stage_maps[-1]

        # The last map whose side is at least a sixteenth of the view's.
        fine_maps = [stage_map for stage_map in stage_maps if 16 * stage_map.shape[-1] >= view_side]
        return fine_maps[-1]

    def classify(self, stage_map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pooled map [B, D, N, N], descriptor [B, D] and logits [B, L] of a stage's map."""
        if not self.is_efficientnet:
            descriptor: Tensor = self.network.forward_head(stage_map, pre_logits=True)
            return stage_map, descriptor, self.network.get_classifier()(descriptor)

        # timm's own head step by step, because the map before the pooling is needed too.
        last_map = self.network.bn2(self.network.conv_head(stage_map))
        descriptor = self.network.global_pool(last_map)
        dropped = descriptor
        if self.network.drop_rate:
            dropped = nn.functional.dropout(descriptor, self.network.drop_rate, self.training)
        return last_map, descriptor, self.network.classifier(dropped)

    def class_activations(self, last_map: Tensor) -> Tensor:
        """How much each place of the last map [B, D, N, N] speaks for each label, [B, L, N, N].

        A class activation map (Zhou et al. 2016): the linear layer, without its bias, applied to
        every place. Its mean over places plus the bias is the logit (without dropout). Only of
        networks that `has_class_activations`.
        """
        return torch.einsum("bchw,lc->blhw", last_map, self.classifier_layer().weight)

    @torch.no_grad()
    def has_class_activations(self, input_size: int) -> bool:
        """Whether the means of the class activation maps are the logits, without the bias.

        Networks that do more than pooling between the map and the linear layer have none (VGG,
        ConvNeXt).

        Args:
            input_size: V, side of a view in pixels.
        """
        # Try a random picture: the two agree only if nothing but pooling lies between.
        was_training = self.training
        self.eval()
        random = torch.Generator().manual_seed(0)
        view = torch.rand(1, 3, input_size, input_size, generator=random)
        layer = self.classifier_layer()
        output = self(view.to(layer.weight))
        self.train(was_training)

        if output.last_map.shape[1] != layer.in_features:
            return False
        means = self.class_activations(output.last_map).mean(dim=(2, 3)) + layer.bias
        return torch.allclose(means, output.logits, rtol=1e-3, atol=1e-4)

    def require_class_activations(self, input_size: int) -> None:
        """Refuse a network that `has_class_activations` says no to.

        Args:
            input_size: V, side of a view in pixels.

        Raises:
            RecipeError: it has none.
        """
        if not self.has_class_activations(input_size):
            raise RecipeError(
                f"warm_up.target, alternation.apn_objective: {self.name} has no class activation "
                "maps (its linear layer does not read the pooled map itself): use 'response' and "
                "'ranking'"
            )

    @torch.no_grad()
    def learns_from_one(self, input_size: int) -> bool:
        """Whether training takes a batch of one; it changes the batch norms' statistics.

        Args:
            input_size: V, side of a view in pixels.
        """
        was_training = self.training
        self.train()
        try:
            self(torch.zeros(1, 3, input_size, input_size))
        except ValueError:  # of a batch norm: "Expected more than 1 value per channel"
            return False
        finally:
            self.train(was_training)
        return True

    def fold_batch_norm(self) -> None:
        """Fold every batch norm into the convolution before it, which gains a bias.

        In eval() the network stays the same function. Trained on, it has no batch statistics, and
        its steps cost less than half as much on a CPU.

        Raises:
            RecipeError: a batch norm does not follow a convolution.
        """
        if not any(isinstance(module, nn.BatchNorm2d) for module in self.network.modules()):
            return

        # The descriptor of a random picture, before and after the folding.
        was_training = self.training
        self.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            probe = torch.rand(2, 3, 64, 64).to(self.classifier_layer().weight)
            before = self(probe).descriptor
            for parent in list(self.network.modules()):
                _fold_children(parent)
            after = self(probe).descriptor

        # A batch norm that is left, or one that belonged to another layer, changes the function.
        left = [
            name
            for name, module in self.network.named_modules()
            if isinstance(module, nn.BatchNorm2d)
        ]
        tolerance = 1e-3 * float(before.abs().max())
        if left or not torch.allclose(before, after, rtol=1e-2, atol=tolerance):
            example = f" ({left[0]})" if left else ""
            raise RecipeError(
                f"model.batch_norm: the batch norms of {self.name} cannot be folded{example}: "
                "use 'keep'"
            )
        self.train(was_training)

    def match_batch_norm(self, tensor_names: Iterable[str]) -> None:
        """Fold the batch norms if a state dict with these tensors has none, so that it loads."""
        if not any(name.endswith("running_mean") for name in tensor_names):
            self.fold_batch_norm()

    def freeze_stages(self, stages: int) -> None:
        """Freeze the stem and the first `stages` stages of an EfficientNet: no gradients, eval().

        Raises:
            RecipeError: it has no such stages.
        """
        if not stages:
            return

        if not self.is_efficientnet or stages > len(self.network.blocks):
            limit = "no stages that can be frozen"
            if self.is_efficientnet:
                limit = f"{len(self.network.blocks)} stages"
            raise RecipeError(f"alternation.frozen_stages is {stages}, but {self.name} has {limit}")

        for part in (self.network.conv_stem, self.network.bn1, *self.network.blocks[:stages]):
            part.eval().requires_grad_(False)

    def classifier_layer(self) -> nn.Linear:
        """The last linear layer, from the descriptor to the logits."""
        layer = self.network.get_classifier()
        assert isinstance(layer, nn.Linear)
        return layer

    @torch.no_grad()
    def map_shape(self, input_size: int) -> tuple[int, int]:
        """Channels and side of the APN's map for views of this side.

        Raises:
            RecipeError: the network gives no square map.
        """
        # Zeros will do: only the shape counts.
        was_training = self.training
        self.eval()
        views = torch.zeros(1, 3, input_size, input_size)
        apn_map = self.apn_map(self.stage_maps(views), input_size)
        self.train(was_training)

        if apn_map.ndim != 4 or apn_map.shape[2] != apn_map.shape[3]:
            raise RecipeError(
                f"model.backbone: {self.name} gives features of shape {list(apn_map.shape)}, not a "
                "square map [B, C, M, M] for the APN: choose a convolutional network "
                "(EfficientNet, ResNet, ConvNeXt, VGG)"
            )
        return int(apn_map.shape[1]), int(apn_map.shape[-1])

    @torch.no_grad()
    def last_map_channels(self, input_size: int) -> int:
        """Channels of the last map for views of this side.

        Raises:
            RecipeError: the network gives no square map.
        """
        self.map_shape(input_size)
        was_training = self.training
        self.eval()
        output = self(torch.zeros(1, 3, input_size, input_size))
        self.train(was_training)
        return int(output.last_map.shape[1])


def _drop_hidden_layers(network: VGG, labels: int, drop_rate: float) -> None:
    """Let a VGG's linear layer read the mean of its last map, without the layers between."""
    network.pre_logits = nn.Identity()
    network.head_hidden_size = network.num_features
    network.head = ClassifierHead(
        network.num_features, labels, pool_type="avg", drop_rate=drop_rate
    )


def _fold_children(parent: nn.Module) -> None:
    """Fold the batch norms that directly follow convolutions among a module's children."""
    convolution_name = None
    for name, child in list(parent.named_children()):
        if not isinstance(child, nn.BatchNorm2d) or convolution_name is None:
            convolution_name = name if isinstance(child, nn.Conv2d) else None
            continue

        convolution = parent.get_submodule(convolution_name)
        assert isinstance(convolution, nn.Conv2d)
        setattr(parent, convolution_name, fuse_conv_bn_eval(convolution, child))

        # timm's BatchNormAct2d has its dropout and activation inside: they stay.
        inside = [getattr(child, "drop", None), getattr(child, "act", None)]
        kept = [part for part in inside if part is not None and not isinstance(part, nn.Identity)]
        setattr(parent, name, nn.Sequential(*kept))
        convolution_name = None
