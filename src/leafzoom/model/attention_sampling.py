"""Attention sampling: patches of the source, drawn by attention on a small view of the whole.

A. Katharopoulos and F. Fleuret, "Processing Megapixel Images with Deep Attention-Sampling Models",
ICML 2019. Attention on the small view is a distribution over places. A second network looks at the
patches around a few places that are drawn from it, and its mean over them stands for the mean over
all places.

Convention: `boxes` are [B, 3], x (column), y (row) and half side, in pixels of the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leafzoom.model.backbone import Backbone, BackboneOutput
from leafzoom.model.macnn import PartState
from leafzoom.model.view import (
    ScaleState,
    View,
    boxes_inside,
    cut_views,
    normalisation,
    normalise_images,
    normalise_pixels,
    whole_view,
)
from leafzoom.model_file.outputs import Framework

__all__ = ["AttentionSampling", "Places", "place_centres", "sample_places", "sampled_mean"]

_MIN_SHARE = 1e-6  # of the attention that was left before a draw


@dataclass(frozen=True)
class Places:
    """Places of a map [H, W] that patches are cut around.

    `indices`: [B, N], the cells row by row, in the order of the draws. `attention`: [B, N], theirs.
    """

    indices: Tensor
    attention: Tensor


def sample_places(attention: Tensor, count: int, *, at_random: bool) -> Places:
    """Draw places without replacement, or take those of the greatest attention.

    The greatest sums of log-attention and Gumbel noise are draws one after the other, each in
    proportion to the attention of what is left (Gumbel top-k).

    Args:
        attention: [B, H, W], whose sums are 1.
        count: N, at most H * W.
        at_random: draw; otherwise the greatest, in order.
    """
    flat = attention.flatten(1)
    keys = flat.detach()
    if at_random:
        tiny = torch.finfo(keys.dtype).tiny
        noise = -torch.log(torch.empty_like(keys).exponential_().clamp(min=tiny))
        keys = torch.log(keys.clamp(min=tiny)) + noise
    indices = torch.topk(keys, count, dim=1).indices
    return Places(indices, torch.gather(flat, 1, indices))


def sampled_mean(attention: Tensor, values: Tensor) -> Tensor:
    """An unbiased estimate of the mean of values over all places, from places that were drawn.

    After k - 1 draws, the mean over all places is known but for the k-th and later ones: estimate k
    has the drawn values with their attention, and the k-th one for all that is left. Each of the N
    estimates is unbiased, and so is their mean (as in the published code).

    So is the gradient with respect to the attention. The value of an estimate is multiplied by the
    gradient of the logarithm of the k-th draw's probability, given the draws before. (The published
    code leaves out that what was left depends on the attention too.)

    Args:
        attention: [B, N], of the places in the order of the draws.
        values: [B, N, D].

    Returns:
        [B, D].
    """
    before = torch.cumsum(attention, dim=1) - attention
    left = (1 - before).clamp(min=_MIN_SHARE)
    weighted = attention[:, :, None] * values
    estimates = torch.cumsum(weighted, dim=1) - weighted + left[:, :, None] * values

    # A term of value 0, whose gradient is that of the draws' probabilities.
    log_probability = torch.log(attention.clamp(min=_MIN_SHARE) / left)
    score = (log_probability - log_probability.detach())[:, :, None]
    return (estimates + estimates.detach() * score).mean(dim=1)


def place_centres(indices: Tensor, height: int, width: int) -> Tensor:
    """The centres [..., 2] of cells of a map, x and y as shares of its sides.

    >>> place_centres(torch.tensor([0, 5]), 2, 4).tolist()
    [[0.125, 0.25], [0.375, 0.75]]
    """
    cells = torch.stack([indices % width, indices // width], dim=-1)
    sides = torch.tensor([width, height], device=indices.device)
    return (cells + 0.5) / sides


class AttentionSampling(nn.Module):
    """Two backbones: of the small view with its attention, and of the patches.

    The published model has no answer of the small view alone. Here it is a head, as every look is.

    Args:
        backbones: of the whole, whose map `features` the attention reads, and of the patches.
        channels: of that map.
        patches: N.
        patch_side: side of a patch, as a fraction of the source's.
        source_size: S, side of the source in pixels that it is trained with; it takes others too.
        input_size: V, side of the views in pixels.
    """

    mean: Tensor
    std: Tensor

    residual = 0.0  # no look's logits build on another's

    def __init__(
        self,
        *,
        backbones: Sequence[Backbone],
        channels: int,
        patches: int,
        patch_side: float,
        source_size: int,
        input_size: int,
    ) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.attention = nn.Conv2d(channels, 1, 1)
        self.patches = patches
        self.patch_side = patch_side
        self.source_size = source_size
        self.input_size = input_size

        # All places are equally likely at the start.
        nn.init.zeros_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)  # type: ignore[arg-type]

        # Buffers, so that they follow the network to its device; checkpoints lack them.
        mean, std = normalisation(backbones[0])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def scales(self) -> int:
        """How many looks there are: the whole and every patch."""
        return 1 + self.patches

    @property
    def framework(self) -> Framework:
        """Its name in recipes and model files."""
        return "attention-sampling"

    def classifier_layers(self) -> list[nn.Linear]:
        """The linear layers from the whole's descriptor and each patch's to its own logits."""
        layers = []
        for backbone in (self.backbones[0], *[self.backbones[1]] * self.patches):
            assert isinstance(backbone, Backbone)
            layers.append(backbone.classifier_layer())
        return layers

    def normalise(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] in 0..1 as the backbones expect them, in channels-last memory."""
        return normalise_images(images, self.mean, self.std)

    def normalise_pixels(self, sources: Tensor) -> Tensor:
        """Sources uint8 [B, S, S, 3] as `normalise` returns them, in one step for large sources."""
        return normalise_pixels(sources, self.mean, self.std)

    def forward(self, sources: Tensor, mirrors: int = 1) -> tuple[ScaleState | PartState, ...]:
        """The whole of normalised sources [B, 3, S, S], then the patches of greatest attention.

        Args:
            sources: the pictures.
            mirrors: 1, 2 or 4: how many mirror images of each picture to look at, itself included.
        """
        whole = self.start(sources, mirrors)
        attention = self.attend(whole.features)
        places = sample_places(attention, self.patches, at_random=False)
        return (whole, *self.look_at(whole, attention, places))

    def whole_view(self, sources: Tensor, mirrors: int = 1) -> View:
        """The whole of normalised sources [B, 3, S, S] as the first backbone's view."""
        return whole_view(sources, self.input_size, mirrors)

    def start(self, sources: Tensor, mirrors: int = 1) -> ScaleState:
        """Look at the whole of normalised sources [B, 3, S, S]."""
        view = self.whole_view(sources, mirrors)
        output: BackboneOutput = self.backbones[0](view.image)
        return ScaleState.of_output(0, sources, view, output)

    def attend(self, features: Tensor) -> Tensor:
        """The attention [B, H, W] on the small view's map [B, C, H, W]; its sums are 1."""
        scores = self.attention(features)[:, 0].to(self.mean.dtype)
        return torch.softmax(scores.flatten(1), dim=1).reshape(scores.shape)

    def look_at(self, whole: ScaleState, attention: Tensor, places: Places) -> list[PartState]:
        """Look at the patches around some places, with the second backbone in one batch.

        Args:
            whole: the first look.
            attention: [B, H, W].
            places: N of each photograph and mirror image.
        """
        height, width = attention.shape[1:]
        source_side = whole.sources.shape[-1]
        boxes = []
        views = []
        for number in range(self.patches):
            indices = places.indices[:, number]
            centres = place_centres(indices, height, width).to(self.mean.dtype) * source_side
            box = boxes_inside(centres, source_side * self.patch_side / 2, source_side)
            boxes.append(box)
            views.append(cut_views(whole.sources, box, self.input_size, whole.view.mirrors))

        output: BackboneOutput = self.backbones[1](torch.cat(views))
        # Not `chunk`, with which an exported model takes one number of photographs alone.
        descriptors = output.descriptor.reshape(self.patches, -1, output.descriptor.shape[1])
        logits = output.logits.reshape(self.patches, -1, output.logits.shape[1])
        return [
            PartState(1 + number, boxes[number], attention, descriptors[number], logits[number])
            for number in range(self.patches)
        ]
