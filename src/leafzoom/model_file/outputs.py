"""The heads of a network, and the names of an exported model's inputs and outputs.

Heads are named `scale1`, `scale2`, … and `fusion12`, `fusion123`, … (the first two scales, the
first three). A run's manifest has one more head, the fine-tuned plain backbone, which an export
leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BACKBONE_HEAD",
    "BOX_OUTPUT",
    "CLOSEST_BOX_OUTPUT",
    "EVIDENCE_BIAS_OUTPUT",
    "FIRST_EVIDENCE_BIAS_OUTPUT",
    "FIRST_EVIDENCE_OUTPUT",
    "FIRST_OOD_SCORE_OUTPUT",
    "OOD_SCORE_OUTPUT",
    "PROBABILITY_OUTPUT",
    "SOURCE_INPUT",
    "box_outputs",
    "evidence_outputs",
    "fusion_head",
    "head_names",
    "probability_outputs",
    "scale_head",
]

SOURCE_INPUT = "source"
PROBABILITY_OUTPUT = "probabilities_{head}"
BOX_OUTPUT = "box_scale{scale}"

# Models before this name keep the older word for the out-of-distribution score.
OOD_SCORE_OUTPUT = "strangeness"
FIRST_OOD_SCORE_OUTPUT = "strangeness_scale1"

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


def fusion_head(scales: int) -> str:
    """The name of the head that fuses the first `scales` scales.

    >>> fusion_head(3)
    'fusion123'
    """
    return "fusion" + "".join(str(scale) for scale in range(1, scales + 1))


def head_names(scales: int) -> tuple[str, ...]:
    """The names of all heads of a network with this many scales, the last fusion last.

    >>> head_names(2)
    ('scale1', 'scale2', 'fusion12')
    """
    scale_heads = [scale_head(scale) for scale in range(1, scales + 1)]
    fusion_heads = [fusion_head(fused) for fused in range(2, scales + 1)]
    return (*scale_heads, *fusion_heads)


def probability_outputs(heads: Iterable[str]) -> list[str]:
    """The names of the outputs with the heads' probabilities [N, L]."""
    return [PROBABILITY_OUTPUT.format(head=head) for head in heads]


def box_outputs(scales: int) -> list[str]:
    """The names of the outputs with the scales' boxes [N, 4], coarsest first."""
    return [BOX_OUTPUT.format(scale=scale) for scale in range(1, scales + 1)]


def evidence_outputs(scales: int) -> list[str]:
    """The names of the outputs with evidence.

    The scales' maps [N, L, h, w], their bias [N, L], and the box of the closest look [N, 4].
    """
    names = [EVIDENCE_OUTPUT.format(scale=scale) for scale in range(1, scales + 1)]
    return [*names, EVIDENCE_BIAS_OUTPUT, CLOSEST_BOX_OUTPUT]
