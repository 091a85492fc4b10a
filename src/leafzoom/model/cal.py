"""Counterfactual attention learning (CAL): attention maps, bilinear pooling, a crop as second look.

Y. Rao, G. Chen, J. Lu and J. Zhou, "Counterfactual Attention Learning for Fine-Grained Visual
Categorization and Re-identification", ICCV 2021. The network is that of T. Hu, H. Qi, Q. Huang and
Y. Lu, "See Better Before Looking Closer", 2019 (WS-DAN). One backbone and one classifier look at
the whole, and then at the box around the mean attention.

Convention: `boxes` are [B, 3], x (column), y (row) and half side, in pixels of the source unless a
name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leafzoom.model.backbone import Backbone, BackboneOutput
from leafzoom.model.view import (
    ScaleState,
    View,
    cut_views,
    normalisation,
    normalise_images,
    normalise_pixels,
    whole_view,
)
from leafzoom.model_file.outputs import Framework

__all__ = [
    "CAL",
    "AttendedMap",
    "attention_boxes",
    "bilinear_pooling",
    "random_attention",
]

_ROOT_EPSILON = 1e-6  # below the root, as in the published code: its slope at 0 stays finite
_CLASSIFIER_SCALE = 100.0  # of the pooled vector, whose norm is 1, as in the published code
_GREATEST_RANDOM = 2.0  # so that random attention has the mean 1
_MIN_DEVIATION = 1e-6


@dataclass(frozen=True)
class AttendedMap:
    """What CAL makes of a backbone's last map [B, C, H, W].

    `attention`: [B, M, H, W], not negative. `pooled`: [B, M * C], of norm 1. `logits`: [B, L].
    """

    attention: Tensor
    pooled: Tensor
    logits: Tensor


def bilinear_pooling(features: Tensor, attention: Tensor) -> Tensor:
    """Bilinear attention pooling: the map's mean under every attention map, normalised.

    Each number becomes the root of its magnitude with its sign; then the vector gets the norm 1.

    Args:
        features: [B, C, H, W].
        attention: [B, M, H, W].

    Returns:
        [B, M * C].
    """
    places = features.shape[2] * features.shape[3]
    means = torch.einsum("bmhw,bchw->bmc", attention, features).flatten(1) / places
    roots = torch.sign(means) * torch.sqrt(means.abs() + _ROOT_EPSILON)
    return nn.functional.normalize(roots, dim=1)


def random_attention(attention: Tensor) -> Tensor:
    """The counterfactual: attention of the same shape that has not seen the photograph."""
    return torch.rand_like(attention) * _GREATEST_RANDOM


def attention_boxes(maps: Tensor, threshold: Tensor | float, padding: float) -> Tensor:
    """Square boxes around where attention reaches a share of its maximum.

    Between the cells' centres a map is interpolated bilinearly, as an enlarged map is, so that a
    box moves continuously with the attention. The published code cuts out the rectangle; here it is
    the square with the rectangle's longer side, moved inside where it passes an edge.

    Args:
        maps: [B, H, W], not negative.
        threshold: share of the maximum, 0..1, one for all or [B].
        padding: what each side is moved outwards by, as a fraction of the map's side.

    Returns:
        [B, 3], x, y and half side as fractions of the map's side; the whole of a map of zeros.

    >>> maps = torch.zeros(1, 4, 4)
    >>> maps[0, 1, 2] = 1.0
    >>> attention_boxes(maps, 0.5, 0.0).tolist()
    [[0.625, 0.375, 0.125]]
    """
    height, width = maps.shape[1:]
    level = maps.amax(dim=(1, 2)) * threshold

    # The edges of the rectangle, as fractions of the sides.
    by_column = maps.transpose(1, 2)
    low = [_first_reached(maps, level) / width, _first_reached(by_column, level) / height]
    high = [
        1 - _first_reached(maps.flip(2), level) / width,
        1 - _first_reached(by_column.flip(2), level) / height,
    ]
    starts = (torch.stack(low, dim=1) - padding).clamp(min=0)
    ends = (torch.stack(high, dim=1) + padding).clamp(max=1)

    # The square of the longer side.
    half_side = (ends - starts).amax(dim=1, keepdim=True) / 2
    centres = torch.minimum(torch.maximum((starts + ends) / 2, half_side), 1 - half_side)
    return torch.cat([centres, half_side], dim=1)


class CAL(nn.Module):
    """A backbone, a convolution that gives M attention maps, and a linear classifier.

    The backbone's own linear layer is not used: it stays zero.

    Args:
        backbone: looks at the whole and at the crop.
        labels: L.
        channels: C, of the backbone's last map.
        maps: M.
        crop_threshold, crop_padding: of the second look's box, see `attention_boxes`.
        source_size: S, side of the source in pixels that it is trained with; it takes others too.
        input_size: V, side of the views in pixels.
    """

    mean: Tensor
    std: Tensor
    centres: Tensor

    residual = 0.0  # no look's logits build on another's

    def __init__(
        self,
        *,
        backbone: Backbone,
        labels: int,
        channels: int,
        maps: int,
        crop_threshold: float,
        crop_padding: float,
        source_size: int,
        input_size: int,
    ) -> None:
        super().__init__()
        self.backbones = nn.ModuleList([backbone])
        self.attention = nn.Conv2d(channels, maps, 1)
        self.classifier = nn.Linear(maps * channels, labels)
        self.crop_threshold = crop_threshold
        self.crop_padding = crop_padding
        self.source_size = source_size
        self.input_size = input_size
        nn.init.kaiming_normal_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.classifier.bias)
        self.clear_unused_layer()

        # Training states have the labels' centres (see `centre_loss`); checkpoints lack them.
        self.register_buffer("centres", torch.zeros(labels, maps * channels))

        # Buffers, so that they follow the network to its device; checkpoints lack them.
        mean, std = normalisation(backbone)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def scales(self) -> int:
        """How many looks there are: the whole and the crop."""
        return 2

    @property
    def framework(self) -> Framework:
        """Its name in recipes and model files."""
        return "cal"

    @property
    def backbone(self) -> Backbone:
        """The only backbone."""
        backbone = self.backbones[0]
        assert isinstance(backbone, Backbone)
        return backbone

    def classifier_layers(self) -> list[nn.Linear]:
        """The classifier of every look; it reads the pooled vector, and not the descriptor."""
        return [self.classifier] * self.scales

    def normalise(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in 0..1 as the backbone expects them, in channels-last memory."""
        return normalise_images(images, self.mean, self.std)

    def normalise_pixels(self, sources: Tensor) -> Tensor:
        """Sources uint8 [B, S, S, 3] as `normalise` returns them, in one step for large sources."""
        return normalise_pixels(sources, self.mean, self.std)

    def forward(self, sources: Tensor, mirrors: int = 1) -> tuple[ScaleState, ...]:
        """The whole of normalised sources [B, 3, S, S], then the box around its mean attention.

        Args:
            sources: the pictures.
            mirrors: 1, 2 or 4: how many mirror images of each picture to look at, itself included.
        """
        whole = self.start(sources, mirrors)
        boxes = self.crop_boxes(self.attend(whole.last_map).attention, sources.shape[-1])
        return (whole, self.look(sources, self.crop(sources, boxes, mirrors), 1))

    def whole_view(self, sources: Tensor, mirrors: int = 1) -> View:
        """The whole of normalised sources [B, 3, S, S] as the backbone's view."""
        return whole_view(sources, self.input_size, mirrors)

    def start(self, sources: Tensor, mirrors: int = 1) -> ScaleState:
        """Look at the whole of normalised sources [B, 3, S, S]."""
        return self.look(sources, self.whole_view(sources, mirrors), 0)

    def look(self, sources: Tensor, view: View, scale: int) -> ScaleState:
        """Run the backbone and the classifier on a view of normalised sources [B, 3, S, S].

        The descriptor is the plain mean of the last map, as of every other framework: the pooled
        vector has thousands of numbers a map, too many for densities of descriptors.
        """
        output: BackboneOutput = self.backbone(view.image)
        logits = self.attend(output.last_map).logits
        return ScaleState.of_output(scale, sources, view, output, logits)

    def attend(self, last_map: Tensor) -> AttendedMap:
        """Attention, pooled vector and logits of the backbone's last map [B, C, H, W]."""
        attention = torch.relu(self.attention(last_map))
        pooled = bilinear_pooling(last_map, attention)
        return AttendedMap(attention, pooled, self.classify(pooled))

    def classify(self, pooled: Tensor) -> Tensor:
        """Logits [B, L] from the vectors [B, M * C] of `bilinear_pooling`."""
        logits: Tensor = self.classifier(pooled * _CLASSIFIER_SCALE)
        return logits

    def effect(self, last_map: Tensor, attended: AttendedMap) -> Tensor:
        """What the attention does: its logits minus those of random attention, [B, L]."""
        counterfactual = bilinear_pooling(last_map, random_attention(attended.attention))
        return attended.logits - self.classify(counterfactual)

    def crop_boxes(self, attention: Tensor, source_side: int) -> Tensor:
        """The second look's boxes [B, 3] in a source of this side, from attention [B, M, H, W]."""
        mean_map = attention.detach().to(self.mean.dtype).mean(dim=1)
        return attention_boxes(mean_map, self.crop_threshold, self.crop_padding) * source_side

    def crop(self, sources: Tensor, boxes: Tensor, mirrors: int = 1) -> View:
        """Boxes [mirrors * B, 3] of normalised sources [B, 3, S, S], enlarged."""
        image = cut_views(sources, boxes, self.input_size, mirrors)
        return View(image, boxes, 1.0, mirrors)

    @torch.no_grad()
    def standardise_attention(self, last_maps: Tensor) -> None:
        """Shift and scale the attention's convolution: mean 0, deviation 1 on maps [B, C, H, W].

        This takes the place of the batch norm of the published code, without which a map can start
        at zero everywhere.
        """
        before = self.attention(last_maps)
        mean = before.mean(dim=(0, 2, 3))
        deviation = before.std(dim=(0, 2, 3)).clamp(min=_MIN_DEVIATION)
        assert self.attention.bias is not None
        self.attention.bias.copy_((self.attention.bias - mean) / deviation)
        self.attention.weight.div_(deviation[:, None, None, None])

    @torch.no_grad()
    def clear_unused_layer(self) -> None:
        """Set the backbone's own linear layer to zero, after its weights were loaded."""
        layer = self.backbone.classifier_layer()
        layer.weight.zero_()
        layer.bias.zero_()


def _first_reached(maps: Tensor, level: Tensor) -> Tensor:
    """How far from the left edge an enlarged map first reaches a level, in any row.

    Between two rows the map is a mean of both, so the first place is in a row of cells.

    Args:
        maps: [B, H, W].
        level: [B].

    Returns:
        [B], in cells: 0 where the first column reaches it, W where nothing does.
    """
    level = level[:, None]
    is_reached = maps >= level[:, :, None]
    first = is_reached.to(maps.dtype).argmax(dim=2)
    before = (first - 1).clamp(min=0)

    # Where the line between two cells' centres crosses the level.
    high = torch.gather(maps, 2, first[:, :, None])[:, :, 0]
    low = torch.gather(maps, 2, before[:, :, None])[:, :, 0]
    rise = (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    crossing = before + 0.5 + (level - low) / rise

    crossing = torch.where(first > 0, crossing, torch.zeros_like(crossing))
    beyond = torch.full_like(crossing, maps.shape[2])
    return torch.where(is_reached.any(dim=2), crossing, beyond).amin(dim=1)
