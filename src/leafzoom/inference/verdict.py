"""From a network's outputs to an answer that may be given: a diagnosis, `unsure`, or `not_a_leaf`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leafzoom.inference.network import NetworkArrays
from leafzoom.labels import Decision, answer_confidence, decide
from leafzoom.manifest import Manifest

__all__ = ["Judgement", "Verdict", "judge"]

Verdict = Literal["diagnosis", "unsure", "not_a_leaf"]

_SURE = 0.5


@dataclass(frozen=True)
class Judgement:
    """What is to be said of one photo.

    `answer`: the best combination of labels, [L], 0 or 1, whatever the verdict. `confidence`: its calibrated
    probability among all combinations that occur. `strangeness`: above 1 for a picture that is not like the leaves
    that the model was made with; None from a model that cannot tell.
    """

    verdict: Verdict
    answer: NDArray[np.uint8]
    confidence: float
    strangeness: float | None


def judge(
    arrays: NetworkArrays, manifest: Manifest, decisions: Mapping[str, Decision] | None = None, *, head: str = ""
) -> list[Judgement]:
    """A judgement for each of the N photos that a network was given.

    `not_a_leaf`: its strangeness is above 1. `unsure`: the answer is more likely wrong than right (a calibrated
    probability below one half), or no scale by itself gives it. Otherwise it is a diagnosis.

    Args:
        arrays: the network's outputs.
        manifest: of the model.
        decisions: in place of the manifest's; what a user's thresholds make of the probabilities is their own
            calibration.
        head: whose answer it is; by default the fusion of all scales.
    """
    decisions = decisions or manifest.decisions
    head = head or manifest.head
    labels, fused = manifest.labels, arrays.probabilities[head]
    answers = decide(fused, decisions[head], labels)
    confidences = answer_confidence(fused, answers, decisions[head], labels)
    supported = np.zeros(len(answers), bool)
    for scale in range(1, len(arrays.boxes) + 1):
        own = f"scale{scale}"
        supported |= (decide(arrays.probabilities[own], decisions[own], labels) == answers).all(axis=1)
    judgements = []
    for row, answer in enumerate(answers):
        confidence = float(confidences[row])
        strangeness = None if arrays.strangeness is None else float(arrays.strangeness[row])
        verdict: Verdict = "diagnosis"
        if strangeness is not None and not strangeness <= 1:  # also where it is no number
            verdict = "not_a_leaf"
            strangeness = strangeness if np.isfinite(strangeness) else None
        elif confidence < _SURE or not supported[row]:
            verdict = "unsure"
        judgements.append(Judgement(verdict, answer, confidence, strangeness))
    return judgements
