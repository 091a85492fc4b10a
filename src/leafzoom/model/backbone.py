"""The backbone of one scale: a timm network split into its features and its classifier (figure 4).

An EfficientNet keeps its stage 9 (1x1 convolution, pooling, linear layer) as the classifier, "thus avoiding
loosing the precious contribution of skip-connections", and the APN reads the map of stage 8 before it. timm's
own `forward_features` ends after stage 9.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import timm
import torch
from timm.data import resolve_model_data_config
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from leafzoom.errors import RecipeError

__all__ = ["Backbone", "Look"]


@dataclass(frozen=True)
class Look:
    """What one scale's backbone makes of its view.

    `features`: [B, C, M, M], the map that the APN reads. `descriptor`: [B, D], pooled features before the
    linear layer. `logits`: [B, L].
    """

    features: Tensor
    descriptor: Tensor
    logits: Tensor


class Backbone(nn.Module):
    """A timm network as features and classifier, with random weights.

    Args:
        name: of the timm network.
        labels: number of labels L.
        drop_rate: of the dropout before the linear layer.
        apn_stage: which map is the APN's: the last one before the classifier, or the last one of stride 16
            (EfficientNets only).

    Raises:
        RecipeError: timm has no such network, or it has no such stage.
    """

    def __init__(
        self, *, name: str, labels: int, drop_rate: float, apn_stage: Literal["last", "stride16"] = "last"
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5]) or "efficientnet_b0, vgg19_bn, …"
            raise RecipeError(f"model.backbone: timm has no network {name!r}; it has {near}")
        self.network = timm.create_model(name, pretrained=False, num_classes=labels, drop_rate=drop_rate)
        if not isinstance(self.network.get_classifier(), nn.Linear):
            raise RecipeError(f"model.backbone: {name} does not end in a linear layer, as the fusion needs")
        # timm's EfficientNets start this layer so wide (1 / sqrt(labels)) that the first loss is twice log 2.
        nn.init.normal_(self.classifier_layer().weight, std=0.01)
        nn.init.zeros_(self.classifier_layer().bias)
        self.name, self.apn_stage = name, apn_stage
        self.is_efficientnet = all(
            hasattr(self.network, part) for part in ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "global_pool")
        )
        if apn_stage == "stride16" and not self.is_efficientnet:
            raise RecipeError(f"model.apn_stage: {name} has no stage of stride 16 to read; use 'last'")
        config = resolve_model_data_config(self.network)
        self.mean: tuple[float, ...] = tuple(config["mean"])
        self.std: tuple[float, ...] = tuple(config["std"])

    def features(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """The map that the classifier reads, and the map that the APN reads, from views [B, 3, V, V]."""
        if not self.is_efficientnet:
            last: Tensor = self.network.forward_features(views)
            return last, last
        maps = self.network.bn1(self.network.conv_stem(views))
        coarse = maps
        for stage in self.network.blocks:
            maps = stage(maps)
            if 16 * maps.shape[-1] >= views.shape[-1]:
                coarse = maps
        return maps, coarse if self.apn_stage == "stride16" else maps

    def classify(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptor [B, D] and logits [B, L] from the last map before the classifier."""
        if self.is_efficientnet:
            maps = self.network.bn2(self.network.conv_head(maps))
            descriptor: Tensor = self.network.global_pool(maps)
            drop_rate = self.network.drop_rate
            kept = nn.functional.dropout(descriptor, drop_rate, self.training) if drop_rate else descriptor
            return descriptor, self.network.classifier(kept)
        descriptor = self.network.forward_head(maps, pre_logits=True)
        return descriptor, self.network.get_classifier()(descriptor)

    def class_activations(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """The APN's map [B, C, M, M], and how much each place of the last map speaks for each label, [B, L, N, N].

        A class activation map (Zhou et al. 2016): the linear layer applied to every place of the map that is pooled
        before it, without its bias, so that its mean over places and the bias are the logit (without dropout).

        Only of networks that `require_class_activations` lets pass.
        """
        last, for_apn = self.features(views)
        if self.is_efficientnet:
            last = self.network.bn2(self.network.conv_head(last))
        return for_apn, torch.einsum("bchw,lc->blhw", last, self.classifier_layer().weight)

    @torch.no_grad()
    def require_class_activations(self, input_size: int) -> None:
        """See that the class activation maps of a view of this side are what they should be.

        Raises:
            RecipeError: the network does more between the map and the linear layer than pooling (VGG, ConvNeXt).
        """
        was_training = self.training
        self.eval()
        channels = self.classifier_layer().weight.shape[1]
        view = torch.rand(1, 3, input_size, input_size, generator=torch.Generator().manual_seed(0))
        last, _ = self.features(view)
        right = self.is_efficientnet or last.shape[1] == channels
        if right:
            mean = self.class_activations(view)[1].mean(dim=(2, 3)) + self.classifier_layer().bias
            right = torch.allclose(mean, self(view).logits, rtol=1e-3, atol=1e-4)
        self.train(was_training)
        if not right:
            raise RecipeError(
                f"warm_up.target, alternation.apn_objective: {self.name} has no class activation maps (its linear "
                "layer does not read the pooled map itself): use 'response' and 'ranking'"
            )

    def forward(self, views: Tensor) -> Look:
        """Look at views [B, 3, V, V], normalised as the network wants."""
        last, for_apn = self.features(views)
        descriptor, logits = self.classify(last)
        return Look(for_apn, descriptor, logits)

    def fold_batch_norm(self) -> None:
        """Fold every batch norm into the convolution before it, which gains a bias: in eval() the same function.

        Trained on, such a network has no batch statistics, and its steps cost less than half as much on a CPU.

        Raises:
            RecipeError: a batch norm does not follow a convolution.
        """
        if not any(isinstance(module, nn.BatchNorm2d) for module in self.network.modules()):
            return
        was_training = self.training
        self.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            probe = torch.rand(2, 3, 64, 64).to(self.classifier_layer().weight)
            before = self(probe).descriptor
            for parent in list(self.network.modules()):
                _fold_children(parent)
            after = self(probe).descriptor
        left = [name for name, module in self.network.named_modules() if isinstance(module, nn.BatchNorm2d)]
        if left or not torch.allclose(before, after, rtol=1e-2, atol=1e-3 * float(before.abs().max())):
            raise RecipeError(
                f"model.batch_norm: the batch norms of {self.name} cannot be folded"
                f"{f' ({left[0]})' if left else ''}: use 'keep'"
            )
        self.train(was_training)

    def take_form(self, tensors: Iterable[str]) -> None:
        """Fold the batch norms if a state dict (its tensors' names) has none, so that it can be loaded."""
        if not any(name.endswith("running_mean") for name in tensors):
            self.fold_batch_norm()

    def hold_stages(self, stages: int) -> None:
        """Keep the stem and the first `stages` stages of an EfficientNet still: no gradients, and in eval().

        Raises:
            RecipeError: it has no such stages.
        """
        if not stages:
            return
        if not self.is_efficientnet or stages > len(self.network.blocks):
            most = f"{len(self.network.blocks)} stages" if self.is_efficientnet else "no stages that can be held"
            raise RecipeError(f"alternation.held_stages is {stages}, but {self.name} has {most}")
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
        was_training = self.training
        self.eval()
        _, maps = self.features(torch.zeros(1, 3, input_size, input_size))
        self.train(was_training)
        if maps.ndim != 4 or maps.shape[2] != maps.shape[3]:
            raise RecipeError(
                f"model.backbone: {self.name} gives features of shape {list(maps.shape)}, not a square map "
                "[B, C, M, M] for the APN: choose a convolutional network (EfficientNet, ResNet, ConvNeXt, VGG)"
            )
        return int(maps.shape[1]), int(maps.shape[-1])


def _fold_children(parent: nn.Module) -> None:
    """Fold the batch norms that directly follow convolutions among a module's children."""
    before = None
    for name, child in list(parent.named_children()):
        if isinstance(child, nn.BatchNorm2d) and before is not None:
            convolution = parent.get_submodule(before)
            assert isinstance(convolution, nn.Conv2d)
            setattr(parent, before, fuse_conv_bn_eval(convolution, child))
            # timm's BatchNormAct2d has the activation inside.
            rest = [part for part in (getattr(child, "drop", None), getattr(child, "act", None)) if part is not None]
            setattr(parent, name, nn.Sequential(*(part for part in rest if not isinstance(part, nn.Identity))))
            before = None
        else:
            before = name if isinstance(child, nn.Conv2d) else None
