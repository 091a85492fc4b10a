"""Shares of leaves are corrected for what the model confuses."""

from __future__ import annotations

import numpy as np
import pytest

from leafzoom.labels import LabelSet
from leafzoom.model_file.confusion import Confusion
from leafzoom.orchard import prevalence
from leafzoom.orchard.prevalence import GroupAnswers, estimate_shares

LABELS = LabelSet(("healthy", "scab"), ((0, 1), (1, 0)))  # combinations: scab, healthy
CONFUSION = Confusion.from_matrix(np.array([[8000, 2000, 0, 0], [1000, 9000, 0, 0]]))


def answers(*counts: int) -> GroupAnswers:
    return GroupAnswers(np.array(counts, np.int64))


def test_one_disease_is_the_estimator_of_rogan_and_gladen() -> None:
    """(apparent + specificity - 1) / (sensitivity + specificity - 1)."""
    _, scab = estimate_shares(answers(310, 690, 0, 0), LABELS, CONFUSION)

    assert scab.value is not None
    assert scab.value == pytest.approx((0.31 + 0.9 - 1) / (0.8 + 0.9 - 1), abs=1e-3)
    assert scab.low < scab.value < scab.high
    assert scab.labelled == 310


def test_shares_stay_within_0_and_1() -> None:
    _, none = estimate_shares(answers(2, 98, 0, 0), LABELS, CONFUSION)
    _, all_ = estimate_shares(answers(98, 2, 0, 0), LABELS, CONFUSION)

    # One more leaf counts, of which about half is scab.
    assert none.value == pytest.approx(0, abs=0.01)
    assert none.low >= 0
    assert all_.value == pytest.approx(1, abs=0.01)
    assert all_.high <= 1


def test_one_unsure_leaf_leaves_everything_open() -> None:
    """A fifth of one class and a tenth of the other get `unsure`: it cannot decide between them."""
    confusion = Confusion.from_matrix(np.array([[160, 0, 40, 0], [0, 180, 20, 0]]))
    healthy, scab = estimate_shares(answers(0, 0, 1, 0), LABELS, confusion)

    for share in (healthy, scab):
        assert share.value is not None
        assert 0.2 < share.value < 0.8
        assert share.low < 0.2
        assert share.high > 0.8
        assert share.more_leaves is None


def test_a_rare_class_that_is_answered_otherwise_takes_no_share() -> None:
    """Of 8 photographs, few are not enough to say that it gets another class's answer oftener."""
    labels = LabelSet(("a", "b", "c"), ((1, 0, 0), (0, 1, 0), (1, 0, 1)))
    matrix = np.array([[80, 20, 0, 40, 0], [10, 600, 0, 20, 0], [3, 2, 0, 3, 0]])
    *_, rare = estimate_shares(answers(30, 0, 0, 0, 0), labels, Confusion.from_matrix(matrix))
    assert rare.high < 0.5


def test_interval_widths_are_those_of_both_variances() -> None:
    """The delta method, where counts are large."""
    n, validation = 1000, 500
    confusion = Confusion.from_matrix(np.array([[400, 100, 0, 0], [50, 450, 0, 0]]))
    _, scab = estimate_shares(answers(450, 550, 0, 0), LABELS, confusion, draws=4000)
    assert scab.value is not None

    apparent, sensitivity, specificity = 0.45, 0.8, 0.9
    youden = sensitivity + specificity - 1
    share = (apparent + specificity - 1) / youden
    variance = apparent * (1 - apparent) / n
    variance += share**2 * sensitivity * (1 - sensitivity) / validation
    variance += (1 - share) ** 2 * specificity * (1 - specificity) / validation
    assert scab.high - scab.low == pytest.approx(2 * 1.96 * variance**0.5 / youden, rel=0.08)


def test_unsure_speaks_for_what_it_is_often_given_to() -> None:
    confusion = Confusion.from_matrix(np.array([[500, 0, 500, 0], [0, 1000, 0, 0]]))
    _, scab = estimate_shares(answers(20, 60, 20, 0), LABELS, confusion)
    assert scab.value == pytest.approx(0.4, abs=0.01)


def test_leaves_that_are_taken_for_no_leaf_are_made_up_for() -> None:
    """Half of the scabby leaves are; other pictures that are no leaves change nothing."""
    confusion = Confusion.from_matrix(np.array([[5000, 0, 0, 5000], [0, 10000, 0, 0]]))
    _, scab = estimate_shares(answers(20, 60, 0, 20), LABELS, confusion)
    assert scab.value == pytest.approx(40 / 100, abs=0.01)
    _, same = estimate_shares(answers(20, 60, 0, 2000), LABELS, confusion)
    assert same == scab


def test_so_many_more_leaves_halve_the_interval() -> None:
    _, scab = estimate_shares(answers(40, 60, 0, 0), LABELS, CONFUSION, draws=4000)
    assert scab.more_leaves is not None
    assert 280 < scab.more_leaves < 420

    factor = (100 + scab.more_leaves) / 100
    more = answers(round(40 * factor), round(60 * factor), 0, 0)
    _, later = estimate_shares(more, LABELS, CONFUSION, draws=4000)
    assert (later.high - later.low) / (scab.high - scab.low) == pytest.approx(0.5, abs=0.03)


def test_a_confusion_of_few_photographs_is_what_limits() -> None:
    confusion = Confusion.from_matrix(np.array([[8, 2, 0, 0], [1, 9, 0, 0]]))
    _, scab = estimate_shares(answers(400, 600, 0, 0), LABELS, confusion)
    assert scab.more_leaves is None


def test_without_a_confusion_shares_are_of_the_diagnosed() -> None:
    _, scab = estimate_shares(answers(30, 70, 900, 5), LABELS, None)
    assert scab.value == 0.3
    assert scab.low == pytest.approx(0.217, abs=0.012)  # Jeffreys: beta.ppf(.025, 30.5, 70.5)
    assert scab.high == pytest.approx(0.394, abs=0.012)
    assert scab.more_leaves == pytest.approx(300, abs=5)


@pytest.mark.parametrize("confusion", [CONFUSION, None])
def test_a_group_without_a_leaf_has_no_share(confusion: Confusion | None) -> None:
    for share in estimate_shares(answers(0, 0, 0, 3), LABELS, confusion):
        assert share.value is None
        assert share.more_leaves is None


def test_draws_are_solved_as_by_many_more_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """They start near the solution, so few rounds are enough."""
    random = np.random.default_rng(0)
    labels = LabelSet(("a", "b", "c"), ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)))
    matrix = random.multinomial(60, [0.1, 0.1, 0.1, 0.6, 0.07, 0.03], 4)
    matrix[np.arange(4), np.arange(4)] += 200
    counts = answers(40, 30, 0, 7, 3, 1)

    few = estimate_shares(counts, labels, Confusion.from_matrix(matrix), plan=False)
    monkeypatch.setattr(prevalence, "_DRAW_ROUNDS", 2000)
    many = estimate_shares(counts, labels, Confusion.from_matrix(matrix), plan=False)
    for a, b in zip(few, many, strict=True):
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=0.004)
