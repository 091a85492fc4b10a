"""Label sets, and the decision among the combinations that occur."""

from __future__ import annotations

import numpy as np
import pytest

from leafzoom.errors import DataError, ModelError
from leafzoom.labels import (
    Decision,
    LabelSet,
    answer_confidence,
    combination_probabilities,
    decide,
    plain_answers,
)


def test_decision_is_a_combination_that_occurs() -> None:
    labels = LabelSet(("complex", "healthy", "scab"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)))
    probabilities = np.array([[0.1, 0.2, 0.3], [0.9, 0.8, 0.1], [0.7, 0.6, 0.8], [0.55, 0.1, 0.9]])
    half = Decision((0.5, 0.5, 0.5))
    answers = decide(probabilities, half, labels)
    assert answers.tolist() == [[0, 0, 1], [1, 0, 0], [1, 0, 1], [1, 0, 1]]

    stricter = Decision((0.6, 0.5, 0.5))
    assert decide(probabilities, stricter, labels)[3].tolist() == [0, 0, 1]


def test_the_answer_is_empty_only_where_the_data_has_it() -> None:
    labels = LabelSet(("a", "b"), ((0, 0), (1, 0)))
    answers = decide(np.array([[0.4, 0.9]]), Decision((0.5, 0.5)), labels)
    assert answers.tolist() == [[0, 0]]


def test_an_answer_that_is_partly_right_counts() -> None:
    """0.40 a, 0.35 a and b, 0.25 b: a is the most probable, a and b the best answer."""
    labels = LabelSet(("a", "b"), ((1, 0), (1, 1), (0, 1)))
    expected = np.array([0.40, 0.35, 0.25])
    decision = Decision((0.5, 0.5), 1.0, tuple(np.log(expected)))
    half = np.array([[0.5, 0.5]])
    posterior = combination_probabilities(half, decision, labels)
    np.testing.assert_allclose(posterior[0], expected)
    assert decide(half, decision, labels).tolist() == [[1, 1]]

    clearer = Decision((0.5, 0.5), 1.0, tuple(np.log([0.7, 0.2, 0.1])))
    assert decide(half, clearer, labels).tolist() == [[1, 0]]


def test_unknown_labels_are_refused() -> None:
    labels = LabelSet(("complex", "scab"), ((1, 0), (0, 1)))
    with pytest.raises(DataError, match="unknown label 'blotch': the labels are complex, scab"):
        labels.encode(["blotch"])


def test_combination_probabilities_are_a_softmax_of_the_labels_log_odds() -> None:
    labels = LabelSet(
        ("healthy", "ring_spot", "solid_spot"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1))
    )
    probabilities = np.array([[0.2, 0.8, 0.6]])
    evidence = np.log(probabilities / (1 - probabilities))[0]

    # Without interactions the thresholds are the answer's alone.
    decision = Decision(thresholds=(0.5, 0.9, 0.5), temperature=2.0)
    scores = np.append(evidence, evidence[1] + evidence[2]) / 2
    posterior = combination_probabilities(probabilities, decision, labels)[0]
    np.testing.assert_allclose(posterior, np.exp(scores) / np.exp(scores).sum())

    # With them, evidence counts from the thresholds.
    decision = Decision((0.5, 0.9, 0.5), 2.0, interactions=(0.0, 0.0, 0.3, -1.0))
    shifted = evidence - np.log([1, 9, 1])
    scores = np.append(shifted, shifted[1] + shifted[2]) / 2 + [0, 0, 0.3, -1]
    posterior = combination_probabilities(probabilities, decision, labels)[0]
    np.testing.assert_allclose(posterior, np.exp(scores) / np.exp(scores).sum())


def test_a_lapse_rate_bounds_the_confidence_but_not_the_answer() -> None:
    labels = LabelSet(("a", "b"), ((1, 0), (0, 1)))
    probabilities = np.array([[0.9999, 0.0001], [0.2, 0.7]])
    sure = Decision((0.5, 0.5), 1.0, (0.0, 0.0))
    careful = Decision((0.5, 0.5), 1.0, (0.0, 0.0), lapse_rate=0.2)

    posterior = combination_probabilities(probabilities, careful, labels)
    expected = 0.8 * combination_probabilities(probabilities, sure, labels) + 0.1
    np.testing.assert_allclose(posterior, expected)
    assert posterior.max() <= 0.9

    blind = Decision((0.5, 0.5), 1.0, (0.0, 0.0), lapse_rate=1.0)
    assert decide(probabilities, blind, labels).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("lapse_rate", [-0.1, 1.1, float("nan")])
def test_a_lapse_rate_is_a_share(lapse_rate: float) -> None:
    with pytest.raises(ModelError, match="a lapse rate has to be between 0 and 1"):
        Decision((0.5,), lapse_rate=lapse_rate)


def test_possible_combinations_hold_all_that_occur() -> None:
    occurring = ((0, 0, 0), (1, 0, 0), (0, 1, 1))
    labels = LabelSet(("healthy", "rust", "scab"), occurring)
    possible = labels.with_possible_combinations(["healthy"]).combinations
    assert set(possible) == {*occurring, (0, 1, 0), (0, 0, 1)}
    assert (1, 1, 0) not in possible

    # `healthy` occurs with rust, so it excludes nothing.
    labels = LabelSet(labels.names, ((1, 1, 0), (0, 0, 1)))
    assert (1, 0, 1) in labels.with_possible_combinations(["healthy"]).combinations


def test_many_labels_have_fewer_possible_combinations() -> None:
    names = tuple(f"label{index:02d}" for index in range(24))
    rows = tuple(tuple(int(a == b) for a in range(24)) for b in range(24))
    possible = LabelSet(names, rows).with_possible_combinations([])
    sizes = {sum(row) for row in possible.combinations}
    assert sizes == {1, 2}
    assert len(possible.combinations) == 24 + 24 * 23 // 2


CLASSES = LabelSet.of_classes(("finch", "heron", "wren"))


def test_of_one_class_a_photograph_the_most_probable_is_the_answer() -> None:
    """Also where no class is above one half, and whatever the temperature."""
    probabilities = np.array([[0.3, 0.36, 0.34], [0.98, 0.01, 0.01]], np.float32)
    for temperature in (0.2, 1.0, 5.0):
        answers = decide(probabilities, Decision((), temperature), CLASSES)
        assert answers.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert plain_answers(probabilities, CLASSES).tolist() == answers.astype(bool).tolist()


def test_classes_have_the_softmax_of_their_logarithms_over_the_temperature() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    calibrated = combination_probabilities(probabilities, Decision((), 2.0), CLASSES)
    powers = np.sqrt(probabilities[0])
    np.testing.assert_allclose(calibrated[0], powers / powers.sum(), rtol=1e-12)
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)
    assert np.isfinite(calibrated).all()

    # Without a temperature they are the network's, up to the lapse rate.
    plain = combination_probabilities(probabilities, Decision((), 1.0), CLASSES)
    np.testing.assert_allclose(plain, probabilities, atol=1e-12)
    careful = Decision((), 1.0, (), 0.3)
    answers = decide(probabilities, careful, CLASSES)
    confidence = answer_confidence(probabilities, answers, careful, CLASSES)
    np.testing.assert_allclose(confidence, [0.7 * 0.5 + 0.1, 0.7 * 1.0 + 0.1])


def test_a_combination_of_several_labels_is_no_class() -> None:
    with pytest.raises(DataError, match="each combination is one class"):
        LabelSet(("a", "b"), ((1, 1),), single_label=True)
    with pytest.raises(DataError, match="each combination is one class"):
        LabelSet(("a", "b"), ((0, 0),), single_label=True)
