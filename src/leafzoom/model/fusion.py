"""Fusion (§4.1): what the scales saw, concatenated, through one linear layer; and the whole network.

Heads are named `scale1`, `scale2`, … and `fusion12`, `fusion123`, … (the first two scales, the first three).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from leafzoom.model.familiarity import Familiarity
from leafzoom.model.racnn import RACNN, ScaleOutput

__all__ = [
    "FusedRACNN",
    "Fusion",
    "NetworkOutput",
    "all_descriptors",
    "fusion_head",
    "head_names",
    "mirror_images",
    "mirror_mean",
]


def fusion_head(scales: int) -> str:
    """The name of the head that fuses the first `scales` scales."""
    return "fusion" + "".join(str(scale) for scale in range(1, scales + 1))


def head_names(scales: int) -> tuple[str, ...]:
    """The names of all heads of a network of so many scales, the last fusion last."""
    return (
        *(f"scale{scale}" for scale in range(1, scales + 1)),
        *(fusion_head(fused) for fused in range(2, scales + 1)),
    )


class Fusion(nn.Module):
    """One fusion head.

    Args:
        scales: how many scales it fuses, from the first.
        width: of one scale's input, D (descriptors) or L (logits).
        labels: L.
        inputs: what is concatenated.
        normalise: `l2`: each scale's input divided by its norm; `rescale`: shifted and scaled by the buffers
            `shift` and `scale`, which the fit sets; `none`.
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
        self.scales, self.inputs, self.normalise = scales, inputs, normalise
        self.linear = nn.Linear(scales * width, labels)
        self.register_buffer("shift", torch.zeros(scales * width))
        self.register_buffer("scale", torch.ones(scales * width))

    def gather(self, outputs: Sequence[ScaleOutput]) -> Tensor:
        """The first scales' inputs, side by side: [B, scales * width]."""
        chosen = [
            output.descriptor if self.inputs == "descriptors" else output.logits for output in outputs[: self.scales]
        ]
        if self.normalise == "l2":
            chosen = [nn.functional.normalize(part, dim=1) for part in chosen]
        return torch.cat(chosen, dim=1)

    def forward(self, gathered: Tensor) -> Tensor:
        """Logits [B, L] from what `gather` gives."""
        if self.normalise == "rescale":
            gathered = (gathered - self.shift) * self.scale
        logits: Tensor = self.linear(gathered)
        return logits


@dataclass(frozen=True)
class NetworkOutput:
    """All heads' logits, {head: [B, L]}, and each scale's box, [B, 3] in source pixels, coarsest first.

    `strangeness`: [B], above 1 for a picture unlike leaves; None from a network that cannot tell.
    `first_strangeness`: the same of the first look alone.
    """

    logits: dict[str, Tensor]
    boxes: tuple[Tensor, ...]
    strangeness: Tensor | None = None
    first_strangeness: Tensor | None = None


def all_descriptors(outputs: Sequence[ScaleOutput]) -> Tensor:
    """All scales' descriptors side by side, [B, scales * D]."""
    return torch.cat([output.descriptor for output in outputs], dim=1)


def mirror_images(pictures: Tensor, mirrors: int) -> Tensor:
    """Pictures [B, 3, S, S] and their mirror images below them, [mirrors * B, 3, S, S].

    1: as they are; 2: left-right too; 4: also up-down, and both.
    """
    if mirrors >= 2:
        pictures = torch.cat([pictures, pictures.flip(3)])
    if mirrors == 4:
        pictures = torch.cat([pictures, pictures.flip(2)])
    return pictures


def mirror_mean(values: Tensor, mirrors: int) -> Tensor:
    """The mean [B, …] over the mirror images of what `mirror_images` gave, [mirrors * B, …]."""
    return values if mirrors == 1 else values.reshape(mirrors, -1, *values.shape[1:]).mean(dim=0)


class FusedRACNN(nn.Module):
    """The whole network, from uint8 sources to every head: what is evaluated, exported and shipped.

    Args:
        racnn: all scales.
        fusions: the heads above them.
        mirrors: 1, 2 or 4: every head's logits are means over so many mirror images (see `mirror_images`); the
            boxes are those of the picture as it is.
        familiarity: of all scales' descriptors, means over the mirror images too.
        first_familiarity: of the first scale's.
    """

    def __init__(
        self,
        racnn: RACNN,
        fusions: Sequence[Fusion],
        mirrors: int = 1,
        familiarity: Familiarity | None = None,
        first_familiarity: Familiarity | None = None,
    ) -> None:
        super().__init__()
        self.racnn = racnn
        self.fusions = nn.ModuleList(fusions)
        self.mirrors = mirrors
        self.familiarity, self.first_familiarity = familiarity, first_familiarity

    def forward(self, sources: Tensor) -> NetworkOutput:
        """Every head of uint8 sources [B, S, S, 3]."""
        pictures = sources.permute(0, 3, 1, 2).to(self.racnn.mean.dtype) / 255
        outputs = self.racnn(mirror_images(self.racnn.normalise(pictures), self.mirrors))
        logits = {f"scale{scale}": output.logits for scale, output in enumerate(outputs, start=1)}
        for fusion in self.fusions:
            assert isinstance(fusion, Fusion)
            logits[fusion_head(fusion.scales)] = fusion(fusion.gather(outputs))
        logits = {head: mirror_mean(values, self.mirrors) for head, values in logits.items()}
        strangeness = first_strangeness = None
        if self.familiarity is not None:
            strangeness = self.familiarity(mirror_mean(all_descriptors(outputs), self.mirrors))
        if self.first_familiarity is not None:
            first_strangeness = self.first_familiarity(mirror_mean(outputs[0].descriptor, self.mirrors))
        boxes = tuple(output.boxes.reshape(self.mirrors, -1, 3)[0] for output in outputs)
        return NetworkOutput(logits, boxes, strangeness, first_strangeness)
