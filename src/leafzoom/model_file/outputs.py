"""The heads of a network, and the names of an exported model's inputs and outputs.

Heads of an RA-CNN are named `scale1`, `scale2`, … and `fusion12`, `fusion123`, … (the first two
scales, the first three). Those of an MA-CNN with four parts are `scale1` (the whole), `part1` to
`part4`, and one fusion of these five looks, `fusion12345`. CAL has `scale1`, `scale2` (the crop)
and `fusion12`; attention sampling has the heads of an MA-CNN, a part a patch. A run's manifest has
one more head, the fine-tuned plain backbone, which an export leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

__all__ = [
    "BACKBONE_HEAD",
    "BOX_OUTPUT",
    "CLOSEST_BOX_OUTPUT",
    "EVIDENCE_BIAS_OUTPUT",
    "FIRST_EVIDENCE_BIAS_OUTPUT",
    "FIRST_EVIDENCE_OUTPUT",
    "FIRST_OOD_SCORE_OUTPUT",
    "FRAMEWORK_TITLES",
    "OOD_SCORE_OUTPUT",
    "PROBABILITY_OUTPUT",
    "SOURCE_INPUT",
    "Framework",
    "box_outputs",
    "descriptor_outputs",
    "evidence_outputs",
    "fusion_head",
    "head_names",
    "look_heads",
    "part_head",
    "part_number",
    "probability_outputs",
    "scale_head",
]

Framework: TypeAlias = Literal["ra-cnn", "ma-cnn", "cal", "attention-sampling"]
"""What looks: a recurrent attention CNN, scale by scale, a multi-attention CNN, part by part,
counterfactual attention learning, the whole and a crop, or attention sampling, patch by patch."""

FRAMEWORK_TITLES: dict[Framework, str] = {
    "ra-cnn": "an RA-CNN",
    "ma-cnn": "an MA-CNN",
    "cal": "a CAL network",
    "attention-sampling": "an attention sampling network",
}

_WITH_PARTS = ("ma-cnn", "attention-sampling")

SOURCE_INPUT = "source"
PROBABILITY_OUTPUT = "probabilities_{head}"
BOX_OUTPUT = "box_{head}"

# Models before this name keep the older word for the out-of-distribution score.
OOD_SCORE_OUTPUT = "strangeness"
FIRST_OOD_SCORE_OUTPUT = "strangeness_scale1"

# Only where a look's descriptor is not what the linear layer before its output reads.
_DESCRIPTOR_OUTPUT = "descriptor_{head}"

# Optional: the closest look's box, and what the logits of the answering fusion, and of scale 1's
# head, are the sum of.
CLOSEST_BOX_OUTPUT = "box_closest"
EVIDENCE_OUTPUT = "evidence_scale{scale}"
EVIDENCE_BIAS_OUTPUT = "evidence_bias"
FIRST_EVIDENCE_OUTPUT = "evidence_first_look"
FIRST_EVIDENCE_BIAS_OUTPUT = "evidence_first_look_bias"

BACKBONE_HEAD = "backbone"


def scale_head(scale: int) -> str:
    """The name of one scale's head; scales count from 1.

    >>> scale_head(2)
    'scale2'
    """
    return f"scale{scale}"


def part_head(part: int) -> str:
    """The name of one part's head; parts count from 1.

    >>> part_head(2)
    'part2'
    """
    return f"part{part}"


def part_number(head: str) -> int | None:
    """The part that a head is of; None for one of the whole or of a scale.

    >>> part_number("part2")
    2
    >>> part_number("scale2")
    """
    return int(head.removeprefix("part")) if head.startswith("part") else None


def fusion_head(scales: int) -> str:
    """The name of the head that fuses the first `scales` scales, or looks of an MA-CNN.

    >>> fusion_head(3)
    'fusion123'
    """
    return "fusion" + "".join(str(scale) for scale in range(1, scales + 1))


def look_heads(scales: int, framework: Framework = "ra-cnn") -> tuple[str, ...]:
    """The names of the heads of a network's single looks, one a box, the whole photo first.

    >>> look_heads(3)
    ('scale1', 'scale2', 'scale3')
    >>> look_heads(3, "ma-cnn")
    ('scale1', 'part1', 'part2')
    """
    if framework in _WITH_PARTS:
        return (scale_head(1), *(part_head(part) for part in range(1, scales)))
    return tuple(scale_head(scale) for scale in range(1, scales + 1))


def head_names(scales: int, framework: Framework = "ra-cnn") -> tuple[str, ...]:
    """The names of all heads of a network with this many looks, the last fusion last.

    >>> head_names(2)
    ('scale1', 'scale2', 'fusion12')
    """
    first_fused = scales if framework in _WITH_PARTS else 2
    fusion_heads = [fusion_head(fused) for fused in range(first_fused, scales + 1)]
    return (*look_heads(scales, framework), *fusion_heads)


def probability_outputs(heads: Iterable[str]) -> list[str]:
    """The names of the outputs with the heads' probabilities [N, L]."""
    return [PROBABILITY_OUTPUT.format(head=head) for head in heads]


def box_outputs(heads: Iterable[str]) -> list[str]:
    """The names of the outputs with the looks' boxes [N, 4], the whole photo first.

    >>> box_outputs(look_heads(2))
    ['box_scale1', 'box_scale2']
    """
    return [BOX_OUTPUT.format(head=head) for head in heads]


def descriptor_outputs(heads: Iterable[str]) -> list[str]:
    """The names of the outputs with the looks' descriptors [N, D], the whole photo first.

    >>> descriptor_outputs(look_heads(2))
    ['descriptor_scale1', 'descriptor_scale2']
    """
    return [_DESCRIPTOR_OUTPUT.format(head=head) for head in heads]


def evidence_outputs(scales: int) -> list[str]:
    """The names of the outputs with evidence.

    The scales' maps [N, L, h, w], their bias [N, L], and the box of the closest look [N, 4].
    """
    names = [EVIDENCE_OUTPUT.format(scale=scale) for scale in range(1, scales + 1)]
    return [*names, EVIDENCE_BIAS_OUTPUT, CLOSEST_BOX_OUTPUT]
