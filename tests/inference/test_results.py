"""A list of results in a notebook: `Results` and the picture of a prediction."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import leafzoom
from leafzoom.errors import MissingExtraError
from leafzoom.inference.prediction import FailedPhoto, Prediction, ScalePrediction
from leafzoom.inference.results import Results

MODEL = Path(__file__).parents[1] / "golden" / "model-format-1.onnx"
FAILED = FailedPhoto("broken.jpg", "broken.jpg is no JPEG")
PROBABILITIES = {"error": 0.2, "scab": 0.75}
PREDICTION = Prediction(
    photo="leaf.jpg",
    labels=("scab",),
    probabilities=PROBABILITIES,
    scales=(ScalePrediction(1, (0.0, 0.0, 40.0, 30.0), PROBABILITIES),),
    verdict="diagnosis",
    likely=("scab",),
    confidence=0.8,
    ood_score=None,
    model="run",
)


def test_results_are_a_list() -> None:
    results = Results(iter([PREDICTION, FAILED]))
    assert results == [PREDICTION, FAILED]
    assert results[1:] == [FAILED]
    assert isinstance(results[:1], Results)
    results.append(PREDICTION)
    assert len(results) == 3


def test_a_table_has_a_row_a_photo() -> None:
    """A label may be called like a column."""
    table = Results([FAILED, PREDICTION]).to_pandas()

    assert list(table.columns) == [
        *("photo", "labels", "verdict", "likely", "confidence", "strangeness", "model"),
        *("probability_error", "probability_scab", "error"),
    ]
    assert list(table["photo"]) == ["broken.jpg", "leaf.jpg"]
    assert table["error"][0] == FAILED.error
    assert table["probability_scab"].isna().tolist() == [True, False]
    assert table["probability_error"][1] == 0.2
    assert table["labels"][1] == ["scab"]
    assert table["error"].isna()[1]


def test_a_table_of_possible_answers_and_one_of_nothing() -> None:
    possible = replace(PREDICTION, possible=(("scab",), ()))
    table = Results([PREDICTION, possible]).to_pandas()
    assert table["possible"][1] == [["scab"], []]


def test_a_table_without_a_readable_photo_has_the_same_first_columns() -> None:
    columns = [*PREDICTION.to_dict()]
    for key in ("probabilities", "scales"):
        columns.remove(key)
    for results in (Results(), Results([FAILED])):
        assert list(results.to_pandas().columns) == [*columns, "error"]


def test_a_table_of_a_models_answers(leaves: Path) -> None:
    model = leafzoom.load(MODEL)
    photos = sorted((leaves / "train_images").iterdir())[:4]

    table = leafzoom.Results(model.predict_many(photos)).to_pandas()
    columns = [f"probability_{label}" for label in model.labels]
    np.testing.assert_array_equal(table[columns].to_numpy(), model.predict_proba(photos))


def test_without_pandas_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r'pip install "leafzoom\[pandas\]"'):
        Results([PREDICTION]).to_pandas()


def test_importing_leafzoom_imports_no_results() -> None:
    """`leafzoom --help` starts at once; the name is there all the same."""
    script = (
        "import sys, leafzoom\n"
        "assert not any(name.startswith('leafzoom.inference') for name in sys.modules)\n"
        "assert 'numpy' not in sys.modules\n"
        "leafzoom.Results([]).append(1)\n"
        "assert not hasattr(leafzoom, 'results')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_notebook_shows_the_zooms(leaves: Path) -> None:
    model = leafzoom.load(MODEL)
    prediction = model.predict(leaves / "train_images" / "leaf-00001.jpg")

    content = prediction._repr_png_()
    assert content is not None
    shown = Image.open(io.BytesIO(content))
    assert shown.format == "PNG"
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(prediction.plot()))


def test_a_notebook_shows_no_picture_without_the_photo(tmp_path: Path) -> None:
    assert PREDICTION._repr_png_() is None
    gone = replace(PREDICTION, original=tmp_path / "gone.jpg")
    assert gone._repr_png_() is None
