"""The fitted decision gains exact match, is calibrated, and is careful with few photographs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leafzoom.fitting.decision import fit_decision
from leafzoom.labels import Decision, LabelSet, combination_probabilities, decide

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
    assert unchanged == Decision((0.5, 0.5), 1.0, (0.0, 0.0))
