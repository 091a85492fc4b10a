"""The results for one photo: what people read, and what files keep."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from leafzoom.errors import PhotoError
from leafzoom.inference.prediction import (
    FailedPhoto,
    Prediction,
    ScalePrediction,
    photo_box,
    result_from_dict,
)

PROBABILITIES = {"rust": 0.7, "frog_eye": 0.6, "healthy": 0.123456}
PREDICTION = Prediction(
    photo="leaf.jpg",
    labels=("rust",),
    probabilities=PROBABILITIES,
    scales=(
        ScalePrediction(1, (0.0, 0.0, 40.0, 30.0), PROBABILITIES),
        ScalePrediction(2, (10.25, 5.0, 30.0, 25.5), PROBABILITIES),
    ),
    verdict="diagnosis",
    likely=("rust", "frog_eye"),
    confidence=0.41,
    ood_score=0.25,
    model="apple-leaves",
)


def test_the_summary_follows_the_verdict() -> None:
    unsure = replace(PREDICTION, verdict="unsure", labels=())
    no_leaf = replace(PREDICTION, verdict="not_a_leaf", labels=())

    assert PREDICTION.summary == "rust + frog eye (41% sure)"
    assert unsure.summary == "unsure; perhaps rust + frog eye (41%)"
    assert "not a sharp picture" in no_leaf.summary
    assert replace(PREDICTION, likely=()).summary == "no label (41% sure)"


def test_a_prediction_survives_json() -> None:
    text = json.dumps(PREDICTION.to_dict())

    assert Prediction.from_dict(json.loads(text)) == PREDICTION
    assert result_from_dict(json.loads(text)) == PREDICTION
    assert json.dumps(Prediction.from_dict(json.loads(text)).to_dict()) == text


def test_a_failed_photo_survives_json() -> None:
    failed = FailedPhoto("\udcff.jpg", "no photo")
    text = json.dumps(failed.to_dict())

    assert json.loads(text) == {"photo": "\udcff.jpg", "error": "no photo"}
    assert result_from_dict(json.loads(text)) == failed


def test_the_keys_of_the_json_object() -> None:
    content = PREDICTION.to_dict()

    assert list(content) == [
        "photo", "labels", "probabilities", "scales", "verdict", "likely", "confidence",
        "strangeness", "model",
    ]  # fmt: skip
    assert content["strangeness"] == 0.25
    assert list(content["scales"][1]) == ["scale", "box", "probabilities"]
    assert content["scales"][1]["box"] == [10.25, 5.0, 30.0, 25.5]


def test_an_incomplete_object_is_refused() -> None:
    content = PREDICTION.to_dict()
    del content["likely"]

    with pytest.raises(KeyError, match="likely"):
        Prediction.from_dict(content)


def test_strangeness_is_the_former_name_of_the_ood_score() -> None:
    assert PREDICTION.strangeness == PREDICTION.ood_score == 0.25
    assert replace(PREDICTION, ood_score=None).strangeness is None


def test_a_prediction_without_its_photo_cannot_be_drawn() -> None:
    with pytest.raises(PhotoError, match=r"leaf\.jpg: this prediction was made without its photo"):
        PREDICTION.plot()


def test_a_plot_shows_the_photo_and_every_zoom() -> None:
    photo = np.full((30, 40, 3), 90, np.uint8)

    sheet = replace(PREDICTION, original=photo).plot()

    photo_width = 420 * 40 // 30
    zoom_width = round(420 * 20 / 20)  # the box in whole pixels: x 10-30, y 5-26
    assert sheet.mode == "RGB"
    assert sheet.height > 420
    assert sheet.width == pytest.approx(photo_width + zoom_width + 3 * 12, abs=25)


def test_a_caption_has_the_two_most_probable_labels() -> None:
    assert PREDICTION.scales[0].caption() == ["rust 70%", "frog eye 60%"]


def test_boxes_are_clipped_to_the_photo() -> None:
    box = np.array([-3.0, 10.0, 96.0, 97.5], np.float32)

    assert photo_box(box, 96, (192, 48)) == (0.0, 5.0, 192.0, 48.0)
