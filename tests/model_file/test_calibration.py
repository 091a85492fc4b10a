"""What a model file keeps for sets of possible answers and for drift."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from leafzoom.errors import ModelError, UsageError
from leafzoom.model_file.calibration import (
    AnswerHistograms,
    ConformalCalibration,
    Reference,
    check_coverage,
)
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.manifest import Manifest

REFERENCE = Reference(
    ood_edges=(0.5, 1.0),
    confidence_edges=(0.6,),
    answers=(
        AnswerHistograms(("scab",), (7, 2, 1), (3, 6)),
        AnswerHistograms((), (1, 0, 0), (0, 1)),
    ),
)
CONFORMAL = ConformalCalibration(11, (0.0, 0.01, 0.3))


def slow_least_probability(scores: list[float], coverage: float) -> float:
    """One minus the smallest score that enough of the n + 1 photographs have at most, or infinity.

    Counted one by one; all combinations where not even the last score is enough.
    """
    for score in sorted(scores):
        covered = sum(other <= score for other in scores)
        if covered >= (len(scores) + 1) * coverage - 1e-9:
            return math.inf if score == 0 else 1 - score
    return 0.0


@pytest.mark.parametrize("photographs", [1, 4, 19, 60, 333])
@pytest.mark.parametrize("wrong_share", [0.0, 0.1, 0.5, 1.0])
def test_the_quantile_is_that_of_a_slow_count(photographs: int, wrong_share: float) -> None:
    random = np.random.default_rng(photographs)
    wrong = random.uniform(0.001, 0.999, int(photographs * wrong_share))
    probabilities = sorted(np.round(wrong, 6).tolist())
    calibration = ConformalCalibration(photographs, tuple(probabilities))
    scores = [1 - p for p in probabilities] + [0.0] * (photographs - len(probabilities))

    for coverage in (0.5, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999):
        expected = slow_least_probability(scores, coverage)
        assert calibration.least_probability(coverage) == pytest.approx(expected, abs=1e-12)


def test_more_than_the_photographs_can_guarantee_is_everything() -> None:
    calibration = ConformalCalibration(19, (0.1,))

    assert calibration.greatest_coverage == 0.95
    assert calibration.least_probability(0.95) == 0.1
    assert calibration.least_probability(0.951) == 0


@pytest.mark.parametrize("coverage", [0.499, 0.9991, -1, 2, math.nan, math.inf])
def test_a_coverage_has_to_make_sense(coverage: float) -> None:
    with pytest.raises(UsageError, match=r"between 0\.5 and 0\.999, not"):
        check_coverage(coverage)


@pytest.mark.parametrize(
    ("photographs", "probabilities"),
    [(0, ()), (1, (0.1, 0.2)), (5, (0.2, 0.1)), (5, (0.2, 1.1)), (5, (math.nan,))],
)
def test_damaged_calibrations_are_refused(
    photographs: int, probabilities: tuple[float, ...]
) -> None:
    with pytest.raises(ModelError, match="a conformal calibration has at least one photograph"):
        ConformalCalibration(photographs, probabilities)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ood_edges": (1.0, 0.5)}, "edges have to ascend"),
        ({"confidence_edges": (0.5, 0.6)}, "has to have 3 counts"),
        ({"ood_edges": ()}, "has to have 0 counts"),
        ({"answers": ()}, "has no photograph"),
        ({"answers": (AnswerHistograms((), (1, -1, 0), (0, 1)),)}, "has to have 3 counts"),
    ],
)
def test_damaged_references_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(REFERENCE, **change)  # type: ignore[arg-type]


def test_both_come_back_from_json() -> None:
    assert REFERENCE.photographs == 11
    assert Reference.from_json(json.loads(json.dumps(asdict(REFERENCE)))) == REFERENCE
    content = json.loads(json.dumps(asdict(CONFORMAL)))
    assert ConformalCalibration.from_json(content) == CONFORMAL


def test_a_training_writes_both_into_the_manifest(trained: Path) -> None:
    manifest = load_checkpoint(trained / "model.safetensors").manifest

    assert manifest.conformal is not None
    assert manifest.conformal.photographs == manifest.data["selected_on"]
    assert manifest.reference is not None
    assert manifest.reference.photographs == manifest.data["selected_on"]
    assert Manifest.from_json(manifest.to_json(), "here") == manifest


def test_older_files_have_neither_and_damaged_ones_are_named(trained: Path) -> None:
    manifest = load_checkpoint(trained / "model.safetensors").manifest
    content = json.loads(manifest.to_json())
    older = {key: content[key] for key in content if key not in ("conformal", "reference")}

    read = Manifest.from_json(json.dumps(older), "here")
    assert read.conformal is None
    assert read.reference is None

    content["conformal"]["photographs"] = 0
    with pytest.raises(ModelError, match="here has damaged metadata"):
        Manifest.from_json(json.dumps(content), "here")
    content["conformal"] = {}
    with pytest.raises(ModelError, match="here has incomplete metadata"):
        Manifest.from_json(json.dumps(content), "here")
