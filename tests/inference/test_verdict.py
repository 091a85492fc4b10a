"""When an answer is a diagnosis, when it is unsure, and what is no leaf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from leafzoom.inference.network import NetworkArrays
from leafzoom.inference.verdict import selective_predictions
from leafzoom.labels import Decision, LabelSet
from leafzoom.model_file.manifest import Manifest

LABELS = LabelSet(("healthy", "rust", "scab"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1)))
DECISION = Decision((0.5, 0.5, 0.5), 1.0, (0.0, 0.0, 0.0, 0.0))
MANIFEST = Manifest(
    labels=LABELS,
    source_size=96,
    input_size=64,
    scales=2,
    decisions={"scale1": DECISION, "scale2": DECISION, "fusion12": DECISION},
    recipe={},
)
SCAB = (0.02, 0.03, 0.97)
RUST = (0.02, 0.97, 0.03)


def arrays(
    scale1: Sequence[float],
    scale2: Sequence[float],
    fused: Sequence[float],
    ood_score: float | None = None,
) -> NetworkArrays:
    """A network's outputs for one photo."""
    probabilities = {"scale1": scale1, "scale2": scale2, "fusion12": fused}
    box = np.zeros((1, 4), np.float32)
    return NetworkArrays(
        {head: np.array([row], np.float32) for head, row in probabilities.items()},
        (box, box),
        None if ood_score is None else np.array([ood_score], np.float32),
    )


def test_a_confident_answer_that_a_scale_supports_is_a_diagnosis() -> None:
    (prediction,) = selective_predictions(arrays(RUST, SCAB, SCAB, 0.7), MANIFEST)

    assert prediction.verdict == "diagnosis"
    assert LABELS.decode(prediction.label_vector) == ["scab"]
    assert prediction.confidence > 0.9
    assert prediction.ood_score == pytest.approx(0.7)


def test_a_model_without_a_detector_gives_diagnoses() -> None:
    (prediction,) = selective_predictions(arrays(RUST, SCAB, SCAB), MANIFEST)

    assert prediction.verdict == "diagnosis"
    assert prediction.ood_score is None


def test_below_an_even_chance_the_answer_is_unsure() -> None:
    """Rust, scab, and both at once: none of them more likely than the others together."""
    (prediction,) = selective_predictions(arrays(SCAB, SCAB, (0.05, 0.5, 0.55)), MANIFEST)

    assert prediction.verdict == "unsure"
    assert prediction.confidence < 0.5
    assert prediction.label_vector.any()


def test_a_fused_answer_that_no_scale_supports_is_unsure() -> None:
    (prediction,) = selective_predictions(arrays(RUST, RUST, SCAB), MANIFEST)

    assert prediction.verdict == "unsure"


@pytest.mark.parametrize("ood_score", [1.01, 40.0, float("inf"), float("nan")])
def test_out_of_distribution_is_no_leaf_however_confident_the_labels(ood_score: float) -> None:
    (prediction,) = selective_predictions(arrays(SCAB, SCAB, SCAB, ood_score), MANIFEST)

    assert prediction.verdict == "not_a_leaf"
    if np.isfinite(ood_score):
        assert prediction.ood_score == pytest.approx(ood_score)
    else:
        assert prediction.ood_score is None, "JSON has no such number"


def test_a_changed_threshold_moves_the_scales_too() -> None:
    """Otherwise no scale would support the answer that the user's threshold makes."""
    outputs = arrays((0.01, 0.45, 0.3), (0.01, 0.4, 0.3), (0.01, 0.4, 0.3))
    low_for_rust = replace(DECISION, thresholds=(0.5, 0.02, 0.9))
    decisions = dict.fromkeys(MANIFEST.decisions, low_for_rust)

    (prediction,) = selective_predictions(outputs, MANIFEST, decisions)

    assert prediction.verdict == "diagnosis"
    assert LABELS.decode(prediction.label_vector) == ["rust"]


def test_another_head_may_answer() -> None:
    (prediction,) = selective_predictions(arrays(RUST, SCAB, SCAB), MANIFEST, head="scale1")

    assert LABELS.decode(prediction.label_vector) == ["rust"]
