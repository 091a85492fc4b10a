"""Scores equal scikit-learn's own report; the decision fit gains what it says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import classification_report, f1_score

from leafzoom.evaluation.bootstrap import interval, resample_scores
from leafzoom.labels import Decision, LabelSet, combination_probabilities, decide
from leafzoom.metrics import score
from leafzoom.training.decision_fit import fit_decision

NAMES = ("complex", "healthy", "rust", "scab")


def tables(kind: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    targets = (random.random((50, 4)) < 0.4).astype(np.uint8)
    answers = np.where(random.random((50, 4)) < 0.8, targets, 1 - targets).astype(np.uint8)
    if kind == "single class":
        targets[:] = 0
        targets[:, 2] = 1
    if kind == "nothing true":
        targets[:] = 0
    if kind == "nothing said":
        answers[:] = 0
    if kind == "nothing at all":
        targets[:], answers[:] = 0, 0
    if kind == "one photograph":
        targets, answers = targets[:1], answers[:1]
    return targets, answers


@pytest.mark.parametrize(
    "kind", ["random", "single class", "nothing true", "nothing said", "nothing at all", "one photograph"]
)
def test_scores_equal_scikit_learns_report(kind: str) -> None:
    targets, answers = tables(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = score(targets, answers, answers.astype(float), NAMES)
    report = classification_report(targets, answers, target_names=NAMES, output_dict=True, zero_division=0)
    rows = {**scored.per_label, "micro avg": scored.micro, "macro avg": scored.macro,
            "weighted avg": scored.weighted, "samples avg": scored.samples}  # fmt: skip
    assert set(rows) == set(report)
    for name, row in rows.items():
        wanted = report[name]
        assert (row.precision, row.recall, row.f1) == pytest.approx(
            (wanted["precision"], wanted["recall"], wanted["f1-score"])
        ), name
        assert row.support == wanted["support"]
    assert scored.exact_match == pytest.approx((targets == answers).all(axis=1).mean())


def test_no_photograph_scores_zero() -> None:
    scored = score(np.zeros((0, 4)).astype(int), np.zeros((0, 4)).astype(int), np.zeros((0, 4)), NAMES)
    assert scored.exact_match == scored.map == scored.micro.f1 == 0
    assert set(scored.per_label) == set(NAMES)


def test_one_label() -> None:
    targets, answers = np.array([[1], [0], [1]]), np.array([[1], [1], [0]])
    scored = score(targets, answers, answers.astype(float), ("scab",))
    assert scored.micro.f1 == scored.per_label["scab"].f1 == pytest.approx(0.5)
    assert scored.exact_match == pytest.approx(1 / 3)


def test_map_is_the_mean_over_labels_that_occur() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    p = np.array([[0.9, 0.5], [0.8, 0.5], [0.1, 0.5]])
    assert score(targets, p > 0.5, p, ("a", "b")).map == pytest.approx((1 + 2 / 3) / 2)


def test_fitted_decision_beats_one_half_and_calibrates() -> None:
    """Logits that are too low for label 1 and three times too sure of themselves."""
    random = np.random.default_rng(0)
    labels = LabelSet(("a", "b", "c"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)))
    rows = np.array(labels.combinations, np.uint8)[random.integers(0, 4, 2000)]
    true_logits = (rows * 2.0 - 1) * 1.5 + random.normal(size=rows.shape)
    logits = 3 * true_logits - np.array([0, 6.0, 0])
    decision = fit_decision(logits, rows, labels)
    p = 1 / (1 + np.exp(-logits))
    fitted = (decide(p, decision, labels) == rows).all(axis=1).mean()
    plain = (decide(p, Decision((0.5,) * 3), labels) == rows).all(axis=1).mean()
    assert fitted > plain + 0.02
    assert decision.thresholds[1] < 0.3
    assert abs(decision.thresholds[0] - 0.5) < 0.3
    assert 0.8 < decision.temperature < 3.0
    # Calibrated: what is said with p per cent is right that often.
    shares = combination_probabilities(p, decision, labels)
    sure = shares.max(axis=1)
    right = (np.array(labels.combinations)[shares.argmax(axis=1)] == rows).all(axis=1)
    for low, high in ((0.4, 0.7), (0.7, 0.9), (0.9, 1.0)):
        within = (sure > low) & (sure <= high)
        assert abs(right[within].mean() - sure[within].mean()) < 0.06


def test_labels_that_hold_together_are_told_together() -> None:
    """Where a is seen, c nearly always is, though c's own evidence is faint: the interaction knows."""
    random = np.random.default_rng(1)
    labels = LabelSet(("a", "b", "c"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1)))
    rows = np.array(labels.combinations, np.uint8)[random.choice(4, 3000, p=[0.03, 0.45, 0.07, 0.45])]
    logits = (rows * 2.0 - 1) * np.array([2, 2, 0.4]) + random.normal(size=rows.shape)
    decision = fit_decision(logits[:1500], rows[:1500], labels)
    p = 1 / (1 + np.exp(-logits[1500:]))
    thresholds_alone = Decision(decision.thresholds, decision.temperature)
    fitted = (decide(p, decision, labels) == rows[1500:]).all(axis=1).mean()
    assert fitted > (decide(p, thresholds_alone, labels) == rows[1500:]).all(axis=1).mean() + 0.02
    assert decision.interactions[3] > decision.interactions[0] + 1


def test_few_photographs_move_a_decision_little() -> None:
    labels = LabelSet(("a", "b"), ((1, 0), (0, 1)))
    decision = fit_decision(np.array([[3.0, -3.0]]), np.array([[0, 1]]), labels)
    assert max(abs(t - 0.5) for t in decision.thresholds) < 0.35
    assert max(map(abs, decision.interactions)) < 0.7
    nothing = fit_decision(np.zeros((2, 2)), np.array([[1, 1], [0, 0]]), labels)
    assert nothing == Decision((0.5, 0.5), 1.0, (0.0, 0.0))


def test_an_answer_that_is_partly_right_counts() -> None:
    """0.40 a, 0.35 a and b, 0.25 b: a is the likeliest, a and b the best answer."""
    labels = LabelSet(("a", "b"), ((1, 0), (1, 1), (0, 1)))
    wanted = np.array([0.40, 0.35, 0.25])
    decision = Decision((0.5, 0.5), 1.0, tuple(np.log(wanted)))
    p = np.array([[0.5, 0.5]])
    np.testing.assert_allclose(combination_probabilities(p, decision, labels)[0], wanted)
    assert decide(p, decision, labels).tolist() == [[1, 1]]
    surer = Decision((0.5, 0.5), 1.0, tuple(np.log([0.7, 0.2, 0.1])))
    assert decide(p, surer, labels).tolist() == [[1, 0]]


def test_bootstrap_intervals_are_the_binomials_and_differences_are_paired() -> None:
    random = np.random.default_rng(0)
    targets = (random.random((400, 3)) > 0.5).astype(np.uint8)
    wrong = np.arange(400) < 100
    spoilt = targets.copy()
    spoilt[wrong, 0] ^= 1
    worse = spoilt.copy()
    worse[100:110, 1] ^= 1
    scores = resample_scores(targets, {"right": targets, "spoilt": spoilt, "worse": worse})
    low, high = interval(scores["spoilt"].exact_match)
    half = 1.96 * (0.75 * 0.25 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.006)
    assert interval(scores["right"].exact_match - scores["right"].micro_f1) == [0, 0]
    # Ten photographs of 400 separate the two heads, whatever the hundred that both get wrong do.
    low, high = interval(scores["spoilt"].exact_match - scores["worse"].exact_match)
    half = 1.96 * (0.025 * 0.975 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.025 - half, 0.025 + half), abs=0.003)
    ours = scores["worse"]
    assert ours.macro_f1 == pytest.approx(ours.per_label_f1.mean(axis=1))
    for place in range(3):
        point = f1_score(targets[:, place], worse[:, place])
        assert float(ours.per_label_f1[:, place].mean()) == pytest.approx(point, abs=0.005)
    point = f1_score(targets, worse, average="micro")
    assert float(ours.micro_f1.mean()) == pytest.approx(point, abs=0.003)
