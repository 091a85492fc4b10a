"""Sets of possible answers: what is in them, their order, and when there is none."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from leafzoom.errors import ModelError, UsageError
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import Network, NetworkArrays
from leafzoom.inference.prediction import Prediction
from leafzoom.inference.prediction_sets import coverage_note, possible_answers
from leafzoom.inference.predictor import DecodedPhoto, Predictor
from leafzoom.labels import Decision, LabelSet, combination_probabilities
from leafzoom.model_file.calibration import ConformalCalibration
from leafzoom.model_file.manifest import Manifest
from leafzoom.photo import Source

LABELS = LabelSet(("a", "b", "c"), ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1)))
DECISION = Decision((0.4, 0.5, 0.6), 1.3, (0.1, 0.0, -0.2, 0.5))


@pytest.fixture(scope="module")
def network(trained: Path) -> Network:
    return open_network(str(trained))


@pytest.fixture
def leaf(leaves: Path) -> Path:
    return leaves / "train_images" / "leaf-00001.jpg"


def calibrated(network: Network, photographs: int, *probabilities: float) -> Network:
    """The same network with another calibration."""
    calibration = ConformalCalibration(photographs, probabilities)
    return _Changed(network, replace(network.manifest, conformal=calibration))


class _Changed:
    """A network with another manifest, and perhaps another score."""

    def __init__(
        self, network: Network, manifest: Manifest, ood_score: float | None = None
    ) -> None:
        self.network = network
        self.manifest = manifest
        self.source_sizes = network.source_sizes
        self.has_evidence = network.has_evidence
        self.device_name = network.device_name
        self.ood_score = ood_score

    def __call__(self, sources: np.ndarray, *, evidence: bool = False) -> NetworkArrays:
        arrays = self.network(sources)
        if self.ood_score is None:
            return arrays
        return replace(arrays, ood_score=np.full(len(sources), self.ood_score, np.float32))

    def first_look(self, sources: np.ndarray, *, evidence: bool = False) -> None:
        return None


def test_a_set_is_what_is_probable_enough_and_the_answer() -> None:
    random = np.random.default_rng(0)
    combinations = np.array(LABELS.combinations, np.uint8)

    for _ in range(50):
        probabilities = random.uniform(size=3)
        answer = combinations[random.integers(4)]
        least = random.choice([0.0, 0.05, 0.3, np.inf])
        posterior = combination_probabilities(probabilities[None], DECISION, LABELS)[0]

        possible = possible_answers(probabilities, answer, DECISION, LABELS, least)

        expected = {
            tuple(LABELS.decode(row))
            for row, probability in zip(combinations, posterior, strict=True)
            if probability >= least or (row == answer).all()
        }
        assert set(possible) == expected
        assert len(possible) == len(expected) >= 1
        of = {
            tuple(LABELS.decode(row)): probability
            for row, probability in zip(combinations, posterior, strict=True)
        }
        ranked = [of[labels] for labels in possible]
        assert ranked == sorted(ranked, reverse=True)


def test_a_greater_coverage_never_has_a_smaller_set(network: Network, leaf: Path) -> None:
    predictor = Predictor(calibrated(network, 999, 0.001, 0.01, 0.1, 0.2, 0.3))

    sets = [
        set(predictor.predict(leaf, coverage=coverage).possible or ())
        for coverage in (0.5, 0.99, 0.995, 0.997, 0.998, 0.999)
    ]

    for smaller, larger in pairwise(sets):
        assert smaller <= larger
    assert len(sets[0]) == 1
    assert len(sets[-1]) > 1


def test_the_answer_is_always_possible(network: Network, leaves: Path) -> None:
    predictor = Predictor(network)

    for result in predictor.predict_many(leaves / "train_images", coverage=0.7):
        assert isinstance(result, Prediction)
        assert result.possible
        assert result.likely in result.possible
        assert Prediction.from_dict(result.to_dict()).possible == result.possible


def test_without_a_coverage_there_is_no_set(network: Network, leaf: Path) -> None:
    prediction = Predictor(network).predict(leaf)

    assert prediction.possible is None
    assert "possible" not in prediction.to_dict()


def test_what_is_no_leaf_has_no_possible_answer(network: Network, leaf: Path) -> None:
    for score, verdict_is_leaf in ((2.0, False), (0.5, True)):
        changed = _Changed(network, network.manifest, ood_score=score)
        prediction = Predictor(changed).predict(leaf, coverage=0.7)
        assert (prediction.verdict != "not_a_leaf") == verdict_is_leaf
        assert bool(prediction.possible) == verdict_is_leaf
        assert prediction.to_dict()["possible"] is not None


def test_photos_of_one_batch_may_have_other_coverages(network: Network) -> None:
    predictor = Predictor(calibrated(network, 99, 0.0001))
    side = network.manifest.source_size
    source = Source(np.full((side, side, 3), 90, np.uint8), (side, side))

    predictions = predictor.predict_decoded(
        [DecodedPhoto("x", source, coverage=coverage) for coverage in (None, 0.5, 0.995)]
    )

    sizes = [None if p.possible is None else len(p.possible) for p in predictions]
    assert sizes == [None, 1, len(network.manifest.labels.combinations)]


def test_a_model_without_a_calibration_says_what_to_do(network: Network, leaf: Path) -> None:
    older = _Changed(network, replace(network.manifest, conformal=None))

    with pytest.raises(ModelError, match=r"has no calibration for a coverage.*train the model"):
        Predictor(older).predict(leaf, coverage=0.9)
    with pytest.raises(ModelError, match="has no calibration"):
        Predictor(older).predict_many([leaf], coverage=0.9)


def test_a_coverage_is_of_the_fitted_answer(network: Network, leaf: Path) -> None:
    predictor = Predictor(network, thresholds={"healthy": 0.3})

    with pytest.raises(UsageError, match="leave out thresholds of your own"):
        predictor.predict(leaf, coverage=0.7)
    with pytest.raises(UsageError, match=r"between 0\.5 and 0\.999"):
        Predictor(network).predict(leaf, coverage=0.3)
    with pytest.raises(UsageError, match=r"between 0\.5 and 0\.999"):
        Predictor(network).predict_many([leaf], coverage=1)


def test_a_coverage_and_an_early_exit_exclude_each_other(early_exit_run: Path, leaf: Path) -> None:
    predictor = Predictor(open_network(str(early_exit_run)), early_exit=True)

    with pytest.raises(UsageError, match="leave out the early exit"):
        predictor.predict(leaf, coverage=0.7)


def test_the_note_names_what_the_photographs_can_guarantee(network: Network) -> None:
    manifest = calibrated(network, 9, 0.1).manifest

    assert coverage_note(manifest, 0.9) is None
    note = coverage_note(manifest, 0.95)
    assert note is not None
    assert "0.95 is more than 9 calibration photographs can guarantee" in note
