"""The multi-attention CNN: one look at the whole, and parts that groups of channels respond to.

H. Zheng, J. Fu, T. Mei and J. Luo, "Learning Multi-Attention Convolutional Neural Network for
Fine-Grained Image Recognition", ICCV 2017 ([2] of the paper). This is its network that finds parts
and classifies by them. Its last step, further CNNs that look at the enlarged parts, is left out: a
zoom is what the RA-CNN does.

Convention: `boxes` are [B, 3], x (column), y (row) and half side, in pixels of the source.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from leafzoom.model.backbone import Backbone, BackboneOutput
from leafzoom.model.view import (
    ScaleState,
    View,
    boxes_inside,
    normalisation,
    normalise_images,
    normalise_pixels,
    whole_view,
)
from leafzoom.model_file.outputs import Framework

__all__ = [
    "MACNN",
    "ChannelGrouping",
    "PartState",
    "attention_maps",
    "part_descriptors",
    "peaks",
]


@dataclass(frozen=True)
class PartState:
    """What an MA-CNN finds out from one part.

    `scale`: its number among the looks; the whole is 0. `boxes`: [B, 3], around the attention's
    peak. `attention`: [B, H, W], how much each place of the map counts; its sum is 1. `descriptor`:
    [B, D], the map's mean with these weights. `logits`: [B, L].
    """

    scale: int
    boxes: Tensor
    attention: Tensor
    descriptor: Tensor
    logits: Tensor


class ChannelGrouping(nn.Module):
    """The channel grouping layers: how much each channel belongs to each part, d_i.

    Each part has two linear layers with a tanh between, as in the paper's published code. They read
    the pooled channels, so that the weights differ between photographs.

    Args:
        channels: C, of the map.
        parts: P.
        hidden: units between the two layers.
    """

    def __init__(self, *, channels: int, parts: int, hidden: int) -> None:
        super().__init__()
        self.channels = channels
        self.parts = parts
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, hidden), nn.Tanh(), nn.Linear(hidden, channels))
            for _ in range(parts)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Membership weights [B, P, C] of the channels of maps [B, C, H, W].

        1 for a channel of the part and 0 for any other, where the layers give the clusters that
        they start from; any number after that.
        """
        pooled = features.mean(dim=(2, 3))
        return torch.stack([layer(pooled) for layer in self.layers], dim=1)


def attention_maps(
    features: Tensor, weights: Tensor, normalise: Literal["none", "places"] = "none"
) -> tuple[Tensor, Tensor]:
    """The parts' attention M_i: the sigmoid of the weighted sum of channels, with a sum of 1.

    The sum over channels is divided by the mean size of a group, C / P. Without this, hundreds of
    channels that are not negative would make the sigmoid 1 everywhere, where nothing is learned.

    Channels and clusters' weights that are not negative keep the sigmoid above a half: no place has
    less than half the attention of the peak. With `places`, each sum is measured from its mean
    over the places, and divided by the root of C / P, so that the attention can fall to 0.

    Args:
        features: [B, C, H, W].
        weights: [B, P, C].
        normalise: see above.

    Returns:
        The sums before the sigmoid, and the attention after it, [B, P, H, W] each. The peak is the
        same in both, but a sigmoid near 1 rounds it away.
    """
    parts, channels = weights.shape[1:]
    group_size = channels / parts
    scores = torch.einsum("bpc,bchw->bphw", weights, features)
    if normalise == "places":
        scores = (scores - scores.mean(dim=(2, 3), keepdim=True)) / math.sqrt(group_size)
    else:
        scores = scores / group_size

    attention = torch.sigmoid(scores.float())
    return scores, attention / attention.sum(dim=(2, 3), keepdim=True)


def part_descriptors(features: Tensor, attention: Tensor) -> Tensor:
    """The parts' descriptors [B, P, C]: the map's sum under each attention.

    Args:
        features: [B, C, H, W].
        attention: [B, P, H, W].
    """
    return torch.einsum("bchw,bphw->bpc", features, attention.to(features.dtype))


def peaks(maps: Tensor) -> Tensor:
    """The centres of the greatest cells of maps [..., H, W], [..., 2]: x, y as shares of the sides.

    >>> peaks(torch.tensor([[0.0, 0.0, 3.0], [1.0, 2.0, 0.0]])).tolist()
    [0.8333333134651184, 0.25]
    """
    height, width = maps.shape[-2:]
    index = maps.flatten(-2).argmax(dim=-1)
    cell = torch.stack([index % width, index // width], dim=-1)
    sides = torch.tensor([width, height], dtype=maps.dtype, device=maps.device)
    return (cell.to(maps.dtype) + 0.5) / sides


class MACNN(nn.Module):
    """A backbone, its channel grouping, and a classifier for every part and for all together.

    `forward` gives the whole and the parts as the RA-CNN gives its scales: `scales` counts them
    all. The whole is classified by the backbone's own linear layer.

    Args:
        backbone: the only one; its linear layer has to read the pooled last map (see
            `Backbone.has_class_activations`).
        parts: P.
        part_side: side of a part's box, as a fraction of the source's.
        hidden: of `ChannelGrouping`.
        normalise: of `attention_maps`.
        drop_rate: of the dropout before the classifiers of parts and of all together.
        source_size: S, side of the source in pixels that it is trained with; it takes others too.
        input_size: V, side of the view in pixels.
    """

    mean: Tensor
    std: Tensor
    clusters: Tensor

    residual = 0.0  # no look's logits build on another's

    def __init__(
        self,
        *,
        backbone: Backbone,
        parts: int,
        part_side: float,
        hidden: int,
        normalise: Literal["none", "places"],
        drop_rate: float,
        source_size: int,
        input_size: int,
    ) -> None:
        super().__init__()
        layer = backbone.classifier_layer()
        labels, channels = layer.weight.shape

        self.backbones = nn.ModuleList([backbone])
        self.grouping = ChannelGrouping(channels=channels, parts=parts, hidden=hidden)
        self.part_classifiers = nn.ModuleList(nn.Linear(channels, labels) for _ in range(parts))
        self.classifier = nn.Linear((1 + parts) * channels, labels)
        self.part_side = part_side
        self.part_normalise = normalise
        self.drop_rate = drop_rate
        self.source_size = source_size
        self.input_size = input_size

        # Training states have the clusters that the grouping starts from; checkpoints lack them.
        self.register_buffer("clusters", torch.zeros(parts, channels))

        # Buffers, so that they follow the network to its device; checkpoints lack them.
        mean, std = normalisation(backbone)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def parts(self) -> int:
        """P, how many parts there are."""
        return self.grouping.parts

    @property
    def scales(self) -> int:
        """How many looks there are: the whole and every part."""
        return 1 + self.parts

    @property
    def framework(self) -> Framework:
        """Its name in recipes and model files."""
        return "ma-cnn"

    @property
    def backbone(self) -> Backbone:
        """The only backbone."""
        backbone = self.backbones[0]
        assert isinstance(backbone, Backbone)
        return backbone

    def classifier_layers(self) -> list[nn.Linear]:
        """The linear layers from the whole's descriptor and each part's to its own logits."""
        layers = [self.backbone.classifier_layer()]
        for classifier in self.part_classifiers:
            assert isinstance(classifier, nn.Linear)
            layers.append(classifier)
        return layers

    def normalise(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in 0..1 as the backbone expects them, in channels-last memory."""
        return normalise_images(images, self.mean, self.std)

    def normalise_pixels(self, sources: Tensor) -> Tensor:
        """Sources uint8 [B, S, S, 3] as `normalise` returns them, in one step for large sources."""
        return normalise_pixels(sources, self.mean, self.std)

    def forward(self, sources: Tensor, mirrors: int = 1) -> tuple[ScaleState | PartState, ...]:
        """The whole of normalised sources [B, 3, S, S], then every part.

        Args:
            sources: the pictures.
            mirrors: 1, 2 or 4: how many mirror images of each picture to look at, itself included.
        """
        whole = self.start(sources, mirrors)
        return (whole, *self.find_parts(whole))

    def whole_view(self, sources: Tensor, mirrors: int = 1) -> View:
        """The whole of normalised sources [B, 3, S, S] as the backbone's view."""
        return whole_view(sources, self.input_size, mirrors)

    def start(self, sources: Tensor, mirrors: int = 1) -> ScaleState:
        """Look at the whole of normalised sources [B, 3, S, S]."""
        view = self.whole_view(sources, mirrors)
        output: BackboneOutput = self.backbone(view.image)
        return ScaleState.of_output(0, sources, view, output)

    def find_parts(self, whole: ScaleState) -> tuple[PartState, ...]:
        """Every part of what the backbone has seen."""
        features = whole.last_map
        scores, attention = self.attend(features)
        descriptors = part_descriptors(features, attention)

        parts = []
        for part, classifier in enumerate(self.part_classifiers):
            descriptor = descriptors[:, part]
            state = PartState(
                scale=1 + part,
                boxes=self.part_boxes(scores[:, part], whole.sources.shape[-1]),
                attention=attention[:, part],
                descriptor=descriptor,
                logits=classifier(self._dropout(descriptor)),
            )
            parts.append(state)
        return tuple(parts)

    def attend(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Every part's scores and attention [B, P, H, W] on maps [B, C, H, W]."""
        return attention_maps(features, self.grouping(features), self.part_normalise)

    def all_logits(self, states: Sequence[ScaleState | PartState]) -> Tensor:
        """The logits [B, L] of the classifier that reads all descriptors side by side."""
        descriptors = torch.cat([state.descriptor for state in states], dim=1)
        logits: Tensor = self.classifier(self._dropout(descriptors))
        return logits

    def part_boxes(self, scores: Tensor, source_side: int) -> Tensor:
        """Boxes [B, 3] of sources around the peaks of one part's scores [B, H, W].

        A box has the part's side and its centre at the peak, or as near to it as the edges allow.
        """
        centres = peaks(scores.detach()).to(self.mean.dtype) * source_side
        return boxes_inside(centres, source_side * self.part_side / 2, source_side)

    def _dropout(self, descriptors: Tensor) -> Tensor:
        """Descriptors as a classifier learns from them."""
        return nn.functional.dropout(descriptors, self.drop_rate, self.training)
