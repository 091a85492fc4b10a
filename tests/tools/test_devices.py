"""How near a device's answers are to the CPU's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.predictor import Predictor
from tools import devices
from tools.model_digest import model_digest


@pytest.fixture
def answers(trained: Path, leaves: Path) -> list[Prediction]:
    """The answers to three leaves."""
    photos = sorted(leaves.rglob("*.jpg"))[:3]
    results = Predictor(open_network(str(trained))).predict_many(photos)
    return [result for result in results if isinstance(result, Prediction)]


def test_differences_are_the_largest_ones(answers: list[Prediction]) -> None:
    first, second, third = answers
    scale = first.scales[1]
    moved = replace(scale, box=(scale.box[0] + 0.5, *scale.box[1:]))
    label = next(iter(second.probabilities))
    others = [
        replace(first, scales=(first.scales[0], moved, *first.scales[2:])),
        replace(
            second, probabilities={**second.probabilities, label: second.probabilities[label] + 0.2}
        ),
        replace(third, verdict="unsure" if third.verdict != "unsure" else "diagnosis"),
    ]
    failed = FailedPhoto("x", "is cut off")

    compared = devices.compare_answers([*answers, failed], [*others, failed])
    assert compared == {
        "photos": 3,
        "same_answers": 2,
        "max_probability_difference": pytest.approx(0.2),
        "max_box_difference_px": 0.5,
    }
    with pytest.raises(ValueError, match="no photo"):
        devices.compare_answers([failed], [failed])


def test_an_entry_is_added_to_the_result(trained: Path, leaves: Path, tmp_path: Path) -> None:
    out = tmp_path / "devices.json"
    digest = model_digest(trained / "model.onnx")
    earlier = {"name": "devices", "model_digest": digest, "openvino": {"photos": 1}}
    out.write_text(json.dumps(earlier))
    words = [str(leaves), "--device", "cpu", "--count", "2", "--model", str(trained)]
    devices.main([*words, "--out", str(out)])

    result = json.loads(out.read_text())
    assert result["openvino"] == {"photos": 1}
    assert result["model_digest"] == digest
    assert result["cpu"]["same_answers"] == result["cpu"]["photos"] == 2
    assert result["cpu"]["max_probability_difference"] == 0

    # What was measured with another model is not kept.
    out.write_text(json.dumps({**earlier, "model_digest": {}}))
    devices.main([*words, "--out", str(out)])
    assert set(json.loads(out.read_text())) == {"name", "model_digest", "cpu"}
