"""The frameworks that find where to look: RA-CNN, MA-CNN, CAL, attention sampling.

All give one state a look, the whole first, with `boxes`, `descriptor` and `logits`; `scales`
counts the looks. All have `backbones`, `classifier_layers`, `whole_view`, `start` and the
normalisation of pixels.
"""

from __future__ import annotations

from typing import TypeAlias

from leafzoom.model.attention_sampling import AttentionSampling
from leafzoom.model.cal import CAL
from leafzoom.model.macnn import MACNN
from leafzoom.model.racnn import RACNN

__all__ = ["AttentionNetwork"]

AttentionNetwork: TypeAlias = RACNN | MACNN | CAL | AttentionSampling
