"""The calibration of sets, beside MAPIE's, and the coverage that it is for."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.regression import SplitConformalRegressor
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from leafzoom.fitting.conformal import _round_down, fit_conformal
from leafzoom.fitting.out_of_fold import OutOfFoldAnswers, out_of_fold_answers
from leafzoom.labels import LabelSet

LABELS = LabelSet(("a", "b", "c", "d"), ((0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0)))
COMBINATIONS = np.array(LABELS.combinations, np.uint8)
COVERAGES = (0.9, 0.95, 0.99)

Array = NDArray[np.float64]


class GivenProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are the probabilities."""

    def fit(self, inputs: Array, classes: Array) -> GivenProbabilities:
        self.classes_ = np.arange(inputs.shape[1])
        return self

    def predict_proba(self, inputs: Array) -> Array:
        return inputs

    def predict(self, inputs: Array) -> Array:
        return inputs.argmax(axis=1)


class Zero(RegressorMixin, BaseEstimator):
    """Predicts 0, so that what it is wrong by is the value itself."""

    def fit(self, inputs: Array, values: Array) -> Zero:
        self.fitted_ = True
        return self

    def predict(self, inputs: Array) -> Array:
        return np.zeros(len(inputs))


def draw(count: int, seed: int) -> tuple[Array, NDArray[np.intp]]:
    """Probabilities [n, 4], and the classes [n] that they are right about."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.35] * 4, count)
    classes = np.array([random.choice(4, p=row) for row in probabilities], np.intp)
    return probabilities, classes


def given_answers(probabilities: Array) -> OutOfFoldAnswers:
    return OutOfFoldAnswers(probabilities, probabilities.argmax(axis=1))


@pytest.mark.parametrize("coverage", COVERAGES)
@pytest.mark.parametrize("count", [150, 500])
def test_sets_are_those_of_mapie(count: int, coverage: float) -> None:
    """MAPIE's LAC: the same wherever the answer is above the threshold anyway."""
    probabilities, classes = draw(count, seed=count)
    new_probabilities, _ = draw(400, seed=1)
    calibration = fit_conformal(given_answers(probabilities), COMBINATIONS[classes], LABELS)
    assert calibration is not None
    least = calibration.least_probability(coverage)
    assert 0 < least < 0.25  # the answer's probability is never below 1/4

    model = GivenProbabilities().fit(probabilities, classes)
    mapie = SplitConformalClassifier(
        model, confidence_level=coverage, prefit=True, conformity_score="lac"
    )
    mapie.conformalize(probabilities, classes)
    _, expected = mapie.predict_set(new_probabilities)

    np.testing.assert_array_equal(new_probabilities >= least, expected[:, :, 0])


@pytest.mark.parametrize("coverage", [*COVERAGES, 0.6, 0.8])
def test_the_quantile_is_that_of_mapie_for_any_score(coverage: float) -> None:
    """As residuals of a regression, where right answers score 0."""
    probabilities, classes = draw(300, seed=2)
    answers = given_answers(probabilities)
    calibration = fit_conformal(answers, COMBINATIONS[classes], LABELS)
    assert calibration is not None

    scores = 1 - probabilities[np.arange(300), classes]
    scores[answers.answers == classes] = 0
    inputs = np.zeros((300, 1))
    model = Zero().fit(inputs, scores)
    mapie = SplitConformalRegressor(model, confidence_level=coverage, prefit=True)
    mapie.conformalize(inputs, scores)
    _, intervals = mapie.predict_interval(inputs[:1])
    quantile = float(intervals[0, 1, 0])

    least = calibration.least_probability(coverage)
    expected = np.inf if quantile == 0 else 1 - quantile
    assert least == pytest.approx(expected, rel=2e-3)  # rounded down to four digits
    assert least <= expected


def test_new_photographs_are_covered() -> None:
    """At every coverage, on average over calibrations, and hardly more than asked for."""
    for coverage in COVERAGES:
        shares = []
        for seed in range(40):
            probabilities, classes = draw(400, seed=10 + seed)
            calibration = fit_conformal(given_answers(probabilities), COMBINATIONS[classes], LABELS)
            assert calibration is not None
            new_probabilities, new_classes = draw(2000, seed=1000 + seed)
            least = calibration.least_probability(coverage)
            is_answer = new_probabilities.argmax(axis=1) == new_classes
            of_truth = new_probabilities[np.arange(2000), new_classes]
            shares.append(((of_truth >= least) | is_answer).mean())
        standard_error = np.std(shares) / np.sqrt(len(shares))
        assert np.mean(shares) > coverage - 3 * standard_error
        assert np.mean(shares) < coverage + 0.01


def test_an_unknown_combination_is_never_covered() -> None:
    targets = np.array([[1, 0, 0, 0], [1, 1, 0, 0]], np.uint8)
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]])

    calibration = fit_conformal(given_answers(probabilities), targets, LABELS)

    assert calibration is not None
    assert calibration.probabilities == (0.0,)
    assert fit_conformal(given_answers(probabilities[:0]), targets[:0], LABELS) is None


def test_rounding_never_makes_a_set_smaller() -> None:
    for probability in (0.0, 1e-9, 0.00123456, 0.1, 0.3, 0.99999, 1.0):
        rounded = _round_down(probability)
        assert rounded <= probability
        assert rounded >= probability * (1 - 1.1e-3)


def test_no_answer_knows_its_own_photograph() -> None:
    """Noise can be learnt by heart, but not out of fold."""
    random = np.random.default_rng(0)
    targets = COMBINATIONS[random.integers(0, 4, 60)]
    logits = random.normal(size=targets.shape)

    answers = out_of_fold_answers(logits, targets, LABELS)

    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1)
    assert (COMBINATIONS[answers.answers] == targets).all(axis=1).mean() < 0.45
    alone = out_of_fold_answers(logits[:1], targets[:1], LABELS)
    np.testing.assert_allclose(alone.probabilities.sum(axis=1), 1)
