"""What boxes hold of known lesions, counted on predictions whose boxes are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.lesions import Lesions, read_labelled_lesions
from leafzoom.evaluation.lesion_coverage import measure_lesion_coverage
from leafzoom.evaluation.lesion_tables import lesion_tables
from leafzoom.inference.evidence import Evidence
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.prediction import Prediction, ScalePrediction
from leafzoom.inference.predictor import Predictor

WHOLE = (0.0, 0.0, 96.0, 96.0)


class GivenPredictor:
    """A predictor that zooms into the upper left, with evidence at the lower right."""

    def predict(self, path: Path, *, maps: bool) -> Prediction:
        assert maps
        label_map = np.zeros((4, 4), np.float32)
        label_map[3, 3] = 1.0
        evidence = Evidence(({"rust": label_map},) * 2, {"rust": 0.0}, (0.0, 0.0, 24.0, 24.0))
        scales = (
            ScalePrediction(1, WHOLE, {"rust": 1.0}),
            ScalePrediction(2, (0.0, 0.0, 48.0, 48.0), {"rust": 1.0}),
        )
        return Prediction(
            photo=str(path),
            labels=("rust",),
            probabilities={"rust": 1.0},
            scales=scales,
            verdict="diagnosis",
            likely=("rust",),
            confidence=1.0,
            ood_score=None,
            model="given",
            evidence=evidence,
        )


def test_boxes_are_counted(cache: Cache) -> None:
    table = cache.table.take(cache.table.image_names[:3])
    first, second, third = table.image_names
    lesions = {
        # One lesion in the closest look, on its centre; one outside of everything.
        first: Lesions(np.array([[10, 10, 14, 14], [80, 80, 90, 90]], float), ("rust", "scab")),
        # One in the zoom alone, partly in the closest look; a whole leaf.
        second: Lesions(np.array([[20, 20, 30, 30], [0, 0, 96, 96]], float), ("rust", "rust")),
        # Nothing but a whole leaf.
        third: Lesions(np.array([[0, 0, 96, 96]], float), ("scab",)),
    }
    coverage = measure_lesion_coverage(GivenPredictor(), table, lesions)  # type: ignore[arg-type]
    assert coverage is not None
    assert (coverage.photographs, coverage.lesions, coverage.left_out) == (2, 3, 2)

    zoom = coverage.looks["scale2"]
    assert zoom["learned"].area == pytest.approx(0.25)
    assert zoom["learned"].lesions_inside == pytest.approx(2 / 3)
    assert zoom["learned"].any_inside == 1
    assert zoom["learned"].centre_hits == pytest.approx(0.5)  # 24, 24 lies on the second's lesion
    assert zoom["activation"].any_inside == pytest.approx(0.5)
    assert 0 < zoom["random"].any_inside < 1

    closest = coverage.looks["closest"]["learned"]
    assert closest.area == pytest.approx(1 / 16)
    assert closest.lesions_inside == pytest.approx(1 / 3)
    assert closest.centre_hits == pytest.approx(0.5)  # 12, 12 lies on the first's lesion
    assert coverage.looks["closest"]["activation"].centre_hits == pytest.approx(0.5)

    assert coverage.by_label["scab"]["scale2"].any_inside == 0
    assert coverage.by_label["rust"]["scale2"].any_inside == 1


def test_the_tables_have_a_row_for_each_look_and_kind(
    trained: Path, leaves: Path, cache: Cache
) -> None:
    predictor = Predictor(OnnxNetwork(trained / "model.onnx"))
    table = cache.table.take(cache.table.image_names[:6])
    coverage = measure_lesion_coverage(predictor, table, read_labelled_lesions(leaves, cache))
    assert coverage is not None

    tables = lesion_tables(coverage)
    assert len(tables.rows) == 3 * 5
    assert [len(item.images) for item in tables.examples] == [4] * len(coverage.examples)
    assert coverage.examples
    assert "examples" not in coverage.to_dict()
    assert tables.figure.startswith("<svg")
    assert measure_lesion_coverage(predictor, table, {}) is None
