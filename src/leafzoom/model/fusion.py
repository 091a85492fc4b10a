"""Fusion (§4.1): a linear layer over the looks' outputs side by side; the whole network.

Heads have the names of `model_file.outputs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from leafzoom.errors import ModelError
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.losses import label_probabilities
from leafzoom.model.macnn import PartState
from leafzoom.model.mirrors import tta_mean
from leafzoom.model.ood_detector import (
    MahalanobisDetector,
    OutlierDetector,
    outlier_features,
)
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState
from leafzoom.model_file.outputs import FRAMEWORK_TITLES, fusion_head, head_names, look_heads

__all__ = [
    "FusedNetwork",
    "Fusion",
    "NetworkOutput",
    "all_descriptors",
    "fusion_head",
    "head_names",
]


class Fusion(nn.Module):
    """One fusion head.

    Args:
        scales: how many scales it fuses, from the first.
        width: of one scale's input, D (descriptors) or L (logits).
        labels: L.
        inputs: what is concatenated.
        normalise: `l2`: each scale's input divided by its norm; `rescale`: shifted and scaled by
            the buffers `shift` and `scale`, which the fit sets; `none`.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        scales: int,
        width: int,
        labels: int,
        inputs: Literal["descriptors", "logits"],
        normalise: Literal["none", "l2", "rescale"],
    ) -> None:
        super().__init__()
        self.scales = scales
        self.inputs = inputs
        self.normalise = normalise
        self.linear = nn.Linear(scales * width, labels)
        self.register_buffer("shift", torch.zeros(scales * width))
        self.register_buffer("scale", torch.ones(scales * width))

    def concatenate(self, states: Sequence[ScaleState | PartState]) -> Tensor:
        """The first scales' inputs side by side, [B, scales * width]."""
        # The coarsest scales, as many as this head fuses.
        fused = states[: self.scales]
        if self.inputs == "descriptors":
            parts = [state.descriptor for state in fused]
        else:
            parts = [state.logits for state in fused]

        if self.normalise == "l2":
            parts = [nn.functional.normalize(part, dim=1) for part in parts]
        return torch.cat(parts, dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, L] from the inputs that `concatenate` returns."""
        if self.normalise == "rescale":
            inputs = (inputs - self.shift) * self.scale
        logits: Tensor = self.linear(inputs)
        return logits


@dataclass(frozen=True)
class NetworkOutput:
    """What the whole network computes for B sources.

    `logits`: {head: [B, L]}. `boxes`: of each scale, coarsest first, [B, 3] in source pixels.
    `ood_score`: [B], above 1 for a picture unlike the leaves of the training; None without a
    detector. `first_ood_score`: the same from the first scale alone. `states`: the scales of the
    sources and of their mirror images, in the order of `tta_images`; of an RA-CNN alone.
    `descriptors`: each look's, [B, D], means over the mirror images.
    """

    logits: dict[str, Tensor]
    boxes: tuple[Tensor, ...]
    ood_score: Tensor | None = None
    first_ood_score: Tensor | None = None
    states: tuple[ScaleState, ...] = ()
    descriptors: tuple[Tensor, ...] = ()


def all_descriptors(states: Sequence[ScaleState | PartState]) -> Tensor:
    """All looks' descriptors side by side, [B, scales * D]."""
    return torch.cat([state.descriptor for state in states], dim=1)


class FusedNetwork(nn.Module):
    """The whole network, from uint8 sources to every head: what is evaluated, exported and shipped.

    Args:
        attention_network: all scales, or the whole and what comes after it.
        fusions: the heads above them.
        tta: 1, 2 or 4: every head's logits are means over this many mirror images (see
            `mirrors`); the boxes are those of the image as it is.
        ood_detector: reads all scales' descriptors, means over the mirror images too.
        first_ood_detector: reads the first scale's descriptor.
        outlier_detector: reads the first scale's maps. A picture's score is the greater one of this
            detector's and of the density's.
        single_label: whether each photograph has one class: probabilities are a softmax.
    """

    def __init__(
        self,
        attention_network: AttentionNetwork,
        fusions: Sequence[Fusion],
        tta: int = 1,
        ood_detector: MahalanobisDetector | None = None,
        first_ood_detector: MahalanobisDetector | None = None,
        outlier_detector: OutlierDetector | None = None,
        *,
        single_label: bool = False,
    ) -> None:
        super().__init__()
        self.single_label = single_label
        self.attention_network = attention_network
        self.fusions = nn.ModuleList(fusions)
        self.tta = tta
        self.ood_detector = ood_detector
        self.first_ood_detector = first_ood_detector
        self.outlier_detector = outlier_detector

    @property
    def racnn(self) -> RACNN:
        """The RA-CNN, for what moves or reads its boxes.

        Raises:
            ModelError: the network is no RA-CNN.
        """
        if not isinstance(self.attention_network, RACNN):
            title = FRAMEWORK_TITLES[self.attention_network.framework]
            raise ModelError(
                f"this needs the zooms of an RA-CNN, and the model is {title}, which has no "
                "attention proposal network: name a model of an RA-CNN"
            )
        return self.attention_network

    def forward(self, sources: Tensor) -> NetworkOutput:
        """Every head of uint8 sources [B, S, S, 3]."""
        network = self.attention_network
        states = network(network.normalise_pixels(sources), self.tta)

        # Every head's logits, means over the mirror images.
        heads = look_heads(network.scales, network.framework)
        logits = {head: state.logits for head, state in zip(heads, states, strict=True)}
        for fusion in self.fusions:
            assert isinstance(fusion, Fusion)
            logits[fusion_head(fusion.scales)] = fusion(fusion.concatenate(states))
        logits = {head: tta_mean(values, self.tta) for head, values in logits.items()}

        # How unlike leaves the image is.
        ood_score = None
        if self.ood_detector is not None:
            ood_score = self.ood_detector(tta_mean(all_descriptors(states), self.tta))
            ood_score = self._with_outlier_score(ood_score, states[0])
        first_ood_score = self.first_ood_score(states[0])

        # The boxes of the image as it is, which comes first.
        boxes = tuple(state.boxes.reshape(self.tta, -1, 3)[0] for state in states)
        kept = states if isinstance(network, RACNN) else ()
        descriptors = tuple(tta_mean(state.descriptor, self.tta) for state in states)
        return NetworkOutput(logits, boxes, ood_score, first_ood_score, kept, descriptors)

    def probabilities(self, logits: Tensor) -> Tensor:
        """A head's probabilities [B, L] from its logits [B, L]."""
        return label_probabilities(logits, single_label=self.single_label)

    def first_ood_score(self, state: ScaleState) -> Tensor | None:
        """The out-of-distribution score [B] from the first scale of images and their mirrors."""
        if self.first_ood_detector is None:
            return None
        score: Tensor = self.first_ood_detector(tta_mean(state.descriptor, self.tta))
        return self._with_outlier_score(score, state)

    def _with_outlier_score(self, score: Tensor, state: ScaleState) -> Tensor:
        """The greater one of a density's score [B] and the outlier detector's."""
        if self.outlier_detector is None:
            return score
        features = tta_mean(outlier_features(self.attention_network, state), self.tta)
        return torch.maximum(score, self.outlier_detector(features))
