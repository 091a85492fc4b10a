"""An exported model as a network, and the arrays that a network returns."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from leafzoom.errors import ModelError
from leafzoom.inference.network import NetworkArrays, OnnxNetwork
from model_file.tampering import Content, refusal, with_manifest

PROBABILITIES = np.full((2, 3), 0.5, np.float32)
BOXES = np.zeros((2, 4), np.float32)
SCORES = np.ones(2, np.float32)


def test_a_first_look_sees_the_whole_source() -> None:
    arrays = NetworkArrays.of_first_look(PROBABILITIES, SCORES, 96)
    assert list(arrays.probabilities) == ["scale1"]
    (boxes,) = arrays.boxes
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 96, 96], [0, 0, 96, 96]]


@pytest.mark.parametrize(
    ("probabilities", "boxes", "scores", "expected"),
    [
        (PROBABILITIES[0], BOXES, SCORES, r"probabilities of scale1 have to be \[N, L\]"),
        (PROBABILITIES, BOXES[:, :3], SCORES, r"boxes have to be \[N, 4\], not \(2, 3\)"),
        (PROBABILITIES, BOXES, SCORES[:, None], r"scores have to be \[N\], not \(2, 1\)"),
        (PROBABILITIES, BOXES[:1], SCORES, "different numbers of sources: 1, 2"),
        (PROBABILITIES, BOXES, SCORES[:1], "different numbers of sources: 1, 2"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(
    probabilities: np.ndarray, boxes: np.ndarray, scores: np.ndarray, expected: str
) -> None:
    with pytest.raises(ModelError, match=expected):
        NetworkArrays({"scale1": probabilities}, (boxes,), scores)


def test_sources_of_another_shape_are_refused(trained: Path) -> None:
    network = OnnxNetwork(trained / "model.onnx")
    with pytest.raises(ModelError, match=r"uint8 \[N, S, S, 3\] .*, not float32 \(1, 96, 96, 3\)"):
        network(np.zeros((1, 96, 96, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"S = 96 to 1024, not uint8 \(1, 64, 64, 3\)"):
        network(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(ModelError, match=r"not uint8 \(1, 96, 128, 3\)"):
        network(np.zeros((1, 96, 128, 3), np.uint8))


def test_a_graph_for_other_labels_is_refused(trained: Path, tmp_path: Path) -> None:
    """Metadata that fit together, but not the graph."""

    def use_four_labels(content: Content) -> None:
        content["labels"] = {"names": ["a", "b", "c", "d"], "combinations": [[1, 0, 0, 0]]}
        for decision in content["decisions"].values():
            decision.update(thresholds=[0.5] * 4, interactions=[0.0])
        del content["confusion"]

    assert "4 labels" in refusal(with_manifest(trained, tmp_path / "m.onnx", use_four_labels))


def test_a_model_that_was_moved_is_the_same(trained: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.onnx"
    shutil.copy(trained / "model.onnx", moved)
    assert OnnxNetwork(moved).manifest == OnnxNetwork(trained / "model.onnx").manifest
