"""From a network's outputs to a verdict: a diagnosis, `unsure`, or `not_a_leaf`.

In the field's words: classification with a reject option (selective prediction).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leafzoom.inference.network import NetworkArrays
from leafzoom.labels import Decision, answer_confidence, decide
from leafzoom.model_file.confusion import MAX_OOD_SCORE, MIN_CONFIDENCE
from leafzoom.model_file.manifest import Manifest

__all__ = ["SelectivePrediction", "Verdict", "selective_predictions"]

Verdict = Literal["diagnosis", "unsure", "not_a_leaf"]


@dataclass(frozen=True)
class SelectivePrediction:
    """The best answer for one photo, and the verdict that says whether to give it.

    Attributes:
        verdict: `diagnosis` if the answer may be given.
        label_vector: the best combination of labels, [L], 0 or 1, whatever the verdict.
        confidence: its calibrated probability among all combinations that occur.
        ood_score: above 1 for a picture unlike the leaves that the model was trained on; None from
            a model without an out-of-distribution detector.
    """

    verdict: Verdict
    label_vector: NDArray[np.uint8]
    confidence: float
    ood_score: float | None


def selective_predictions(
    arrays: NetworkArrays,
    manifest: Manifest,
    decisions: Mapping[str, Decision] | None = None,
    *,
    head: str | None = None,
) -> list[SelectivePrediction]:
    """The answer and the verdict for each of N photos.

    `not_a_leaf`: the out-of-distribution score is above 1. `unsure`: the answer is more likely
    wrong than right (a calibrated probability below one half), or no scale by itself gives it.
    `diagnosis`: everything else.

    Args:
        arrays: the network's outputs for the N photos.
        manifest: of the model.
        decisions: in place of the manifest's. Thresholds that a user sets change the confidences
            too, which are then no longer calibrated.
        head: the head that answers; by default the fusion of all scales.
    """
    decisions = decisions or manifest.decisions
    head = head or manifest.head
    labels = manifest.labels

    # The best combination of labels, and how likely it is to be right.
    probabilities = arrays.probabilities[head]
    label_vectors = decide(probabilities, decisions[head], labels)
    confidences = answer_confidence(probabilities, label_vectors, decisions[head], labels)

    # A fused answer that no scale gives by itself is too uncertain for a diagnosis.
    is_supported = _supported_by_a_scale(arrays, manifest, decisions, label_vectors)

    predictions = []
    for row, label_vector in enumerate(label_vectors):
        confidence = float(confidences[row])
        ood_score = None if arrays.ood_score is None else float(arrays.ood_score[row])
        verdict = _verdict(confidence, ood_score, is_supported=bool(is_supported[row]))
        if ood_score is not None and not np.isfinite(ood_score):
            ood_score = None  # JSON has no infinity

        predictions.append(SelectivePrediction(verdict, label_vector, confidence, ood_score))
    return predictions


def _supported_by_a_scale(
    arrays: NetworkArrays,
    manifest: Manifest,
    decisions: Mapping[str, Decision],
    label_vectors: NDArray[np.uint8],
) -> NDArray[np.bool_]:
    """Whether at least one look by itself gives the same answer: [N]."""
    is_supported = np.zeros(len(label_vectors), bool)
    for head in manifest.look_heads[: len(arrays.boxes)]:
        scale_answers = decide(arrays.probabilities[head], decisions[head], manifest.labels)
        is_supported |= (scale_answers == label_vectors).all(axis=1)
    return is_supported


def _verdict(confidence: float, ood_score: float | None, *, is_supported: bool) -> Verdict:
    # A NaN score fails the comparison and so is no leaf either.
    if ood_score is not None and not ood_score <= MAX_OOD_SCORE:
        return "not_a_leaf"
    if confidence < MIN_CONFIDENCE or not is_supported:
        return "unsure"
    return "diagnosis"
