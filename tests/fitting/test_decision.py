"""The fitted decision gains exact match, is calibrated, and is careful with few photographs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from leafzoom.fitting.decision import combination_priors, fit_decision
from leafzoom.labels import (
    Decision,
    LabelSet,
    answer_confidence,
    combination_probabilities,
    decide,
)

LABELS = LabelSet(("a", "b", "c"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)))
COMBINATIONS = np.array(LABELS.combinations, np.uint8)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of logits."""
    return 1 / (1 + np.exp(-logits))


def exact_match(
    probabilities: NDArray[np.float64], decision: Decision, targets: NDArray[np.uint8]
) -> float:
    """The share of right answers."""
    answers = decide(probabilities, decision, LABELS)
    return float((answers == targets).all(axis=1).mean())


def test_fitted_decision_beats_one_half_and_calibrates() -> None:
    """Logits too low by 6 for label b, and three times too confident."""
    random = np.random.default_rng(0)
    targets = COMBINATIONS[random.integers(0, 4, 2000)]
    true_logits = (targets * 2.0 - 1) * 1.5 + random.normal(size=targets.shape)
    logits = 3 * true_logits - np.array([0, 6.0, 0])
    probabilities = sigmoid(logits)

    decision = fit_decision(logits, targets, LABELS)
    half = Decision((0.5, 0.5, 0.5))
    fitted_match = exact_match(probabilities, decision, targets)
    assert fitted_match > exact_match(probabilities, half, targets) + 0.02

    assert decision.thresholds[1] < 0.3
    assert abs(decision.thresholds[0] - 0.5) < 0.3
    assert 0.8 < decision.temperature < 3.0

    # Calibrated: an answer of confidence p is right with frequency p.
    posterior = combination_probabilities(probabilities, decision, LABELS)
    confidence = posterior.max(axis=1)
    is_right = (COMBINATIONS[posterior.argmax(axis=1)] == targets).all(axis=1)
    for low, high in ((0.4, 0.7), (0.7, 0.9), (0.9, 1.0)):
        within = (confidence > low) & (confidence <= high)
        assert abs(is_right[within].mean() - confidence[within].mean()) < 0.06


def test_interactions_learn_which_labels_occur_together() -> None:
    """c nearly always comes with a, and has little evidence of its own."""
    random = np.random.default_rng(1)
    targets = COMBINATIONS[random.choice(4, 3000, p=[0.03, 0.45, 0.07, 0.45])]
    evidence = (targets * 2.0 - 1) * np.array([2, 2, 0.4])
    logits = evidence + random.normal(size=targets.shape)

    decision = fit_decision(logits[:1500], targets[:1500], LABELS)
    thresholds_alone = Decision(decision.thresholds, decision.temperature)
    probabilities = sigmoid(logits[1500:])
    fitted_match = exact_match(probabilities, decision, targets[1500:])
    assert fitted_match > exact_match(probabilities, thresholds_alone, targets[1500:]) + 0.02

    # a and c together, against a alone.
    assert decision.interactions[3] > decision.interactions[0] + 1


def test_few_photographs_move_a_decision_little() -> None:
    labels = LabelSet(("a", "b"), ((1, 0), (0, 1)))
    decision = fit_decision(np.array([[3.0, -3.0]]), np.array([[0, 1]]), labels)
    assert max(abs(threshold - 0.5) for threshold in decision.thresholds) < 0.35
    assert max(map(abs, decision.interactions)) < 0.7

    # Combinations that do not occur teach nothing.
    unchanged = fit_decision(np.zeros((2, 2)), np.array([[1, 1], [0, 0]]), labels)
    assert unchanged == Decision((0.5, 0.5), 1.0, (0.0, 0.0), lapse_rate=1.0)


@pytest.mark.parametrize("count", [2, 5, 10, 40])
def test_no_confidence_is_above_what_the_photographs_allow(count: int) -> None:
    """Every photograph is right by a wide margin."""
    targets = COMBINATIONS[np.arange(count) % 3]
    logits = (targets * 2.0 - 1) * 8
    decision = fit_decision(logits, targets, LABELS)

    posterior = combination_probabilities(sigmoid(3 * logits), decision, LABELS)
    assert posterior.max() <= (count + 1) / (count + 2)
    assert (COMBINATIONS[posterior.argmax(axis=1)] == targets).all()
    np.testing.assert_allclose(posterior.sum(axis=1), 1)


@pytest.mark.parametrize(("count", "most_modest"), [(6, 0.2), (12, 0.15), (30, 0.08), (120, 0.04)])
def test_few_photographs_do_not_make_a_decision_overconfident(
    count: int, most_modest: float
) -> None:
    """On new photographs the mean confidence is below the share of right answers, not far below."""
    gaps = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        targets = COMBINATIONS[random.integers(0, 4, count + 2000)]
        logits = (targets * 2.0 - 1) * 1.2 + random.normal(size=targets.shape)
        decision = fit_decision(logits[:count], targets[:count], LABELS)

        probabilities = sigmoid(logits[count:])
        answers = decide(probabilities, decision, LABELS)
        is_right = (answers == targets[count:]).all(axis=1)
        confidence = answer_confidence(probabilities, answers, decision, LABELS)
        gaps.append(confidence.mean() - is_right.mean())
    assert -most_modest < np.mean(gaps) < 0


def test_a_label_without_a_photograph_can_still_be_the_answer() -> None:
    """c is not among the photographs, but its logit says all."""
    targets = COMBINATIONS[np.arange(20) % 2]
    logits = (targets * 2.0 - 1) * 3
    decision = fit_decision(logits, targets, LABELS)

    new = np.array([[-3.0, -3.0, 3.0]])
    assert decide(sigmoid(new), decision, LABELS).tolist() == [[0, 0, 1]]


def test_combinations_that_do_not_occur_have_a_prior_against_them() -> None:
    possible = LabelSet(LABELS.names, ((0, 0, 1), (0, 1, 0), (1, 0, 0))).with_possible_combinations(
        []
    )
    targets = np.eye(3, dtype=np.uint8)[np.arange(30) % 3]
    priors = combination_priors(possible, targets)
    unseen = np.array(possible.combinations).sum(axis=1) > 1
    assert (priors[~unseen] == 0).all()
    np.testing.assert_allclose(np.exp(priors[unseen]).sum(), np.exp(-1))

    logits = (targets * 2.0 - 1) * 3
    decision = fit_decision(logits, targets, possible, priors)
    two = sigmoid(np.array([[6.0, 6.0, -6.0], [6.0, -1.0, -6.0]]))
    assert decide(two, decision, possible).tolist() == [[1, 1, 0], [1, 0, 0]]


def test_of_classes_the_temperature_alone_is_fitted() -> None:
    """Logits four times too far apart; with many photographs the prior hardly counts."""
    random = np.random.default_rng(2)
    classes = LabelSet.of_classes(("a", "b", "c"))
    true_logits = random.normal(size=(3000, 3)) * 1.5
    powers = np.exp(true_logits)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    drawn = (random.random(3000)[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    targets = np.eye(3, dtype=np.uint8)[drawn]

    decision = fit_decision(4 * true_logits, targets, classes)
    assert decision.thresholds == ()
    assert decision.interactions == ()
    assert decision.temperature == pytest.approx(4, rel=0.1)

    # Calibrated: the mean confidence is the share of right answers.
    too_sure = np.exp(4 * true_logits - (4 * true_logits).max(axis=1, keepdims=True))
    too_sure /= too_sure.sum(axis=1, keepdims=True)
    answers = decide(too_sure, decision, classes)
    confidence = answer_confidence(too_sure, answers, decision, classes)
    right = (answers == targets).all(axis=1).mean()
    assert confidence.mean() == pytest.approx(right, abs=0.02)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_few_photographs_of_classes_allow_no_more_than_the_rule_of_succession(count: int) -> None:
    classes = LabelSet.of_classes(("a", "b", "c"))
    targets = np.eye(3, dtype=np.uint8)[np.arange(count) % 3]
    decision = fit_decision(targets * 50.0, targets, classes)
    sure = np.array([[1.0, 0.0, 0.0]])
    confidence = combination_probabilities(sure, decision, classes).max()
    assert confidence <= (count + 1) / (count + 2) + 1e-9
