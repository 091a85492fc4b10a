"""Decisions about one label, and the table of its errors, on simulated probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from experiments.complex_decisions import (
    DECISIONS,
    CostSensitive,
    f1_of,
    stacked_posterior,
)
from experiments.complex_label import confusions, measure
from experiments.head_logits import HeadLogits
from experiments.unseen_answers import combination_indices
from leafzoom.labels import LabelSet
from tools.complex_tables import complex_confusions, complex_decisions, complex_heads

COMBINATIONS = ((0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0))
LABELS = LabelSet(("complex", "rust", "scab"), COMBINATIONS)
ROWS = np.array(COMBINATIONS, np.uint8)
PHOTOGRAPHS = 600


def simulate(noise: float = 1.0, tta: int = 2) -> HeadLogits:
    """Logits of three heads around the true combination, with the given noise."""
    random = np.random.default_rng(0)
    targets = ROWS[random.integers(0, len(COMBINATIONS), PHOTOGRAPHS)]

    def logits() -> np.ndarray:
        return np.asarray((2.0 * targets - 1) * 2 + random.normal(0, 2 * noise, targets.shape))

    heads = ("scale1", "scale2", "fusion12")
    return HeadLogits(
        targets, {head: logits() for head in heads}, {head: logits() for head in heads}, tta
    )


def test_f1_is_that_of_each_label() -> None:
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]], np.uint8)
    answers = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0]], np.uint8)
    assert f1_of(targets, answers).tolist() == pytest.approx([2 / 3, 4 / 5, 0.0])


@pytest.mark.parametrize("title", DECISIONS)
def test_sure_probabilities_are_answered_alike_by_all_decisions(title: str) -> None:
    targets = ROWS[np.arange(60) % len(COMBINATIONS)]
    posterior = np.eye(len(COMBINATIONS))[combination_indices(targets, LABELS)]
    answers = DECISIONS[title](posterior, targets, LABELS)
    np.testing.assert_array_equal(answers, targets)


def test_decisions_differ_where_the_probabilities_are_spread() -> None:
    # complex 0.34, complex + rust 0.22: complex is likely; rust has 0.22 + 0.14.
    posterior = np.tile([0.3, 0.14, 0.0, 0.34, 0.22], (10, 1))
    targets = np.tile(ROWS[0], (10, 1))
    probable = DECISIONS["most probable combination"](posterior, targets, LABELS)
    assert probable[0].tolist() == [1, 0, 0]
    by_label = DECISIONS["each label above one half"](posterior, targets, LABELS)
    assert by_label[0].tolist() == [1, 0, 0]

    # The expected F1 of {complex, rust} is 0.22 + (0.34 + 0.14) * 2/3 = 0.54.
    expected = DECISIONS["greatest expected F1"](posterior, targets, LABELS)
    assert expected[0].tolist() == [1, 1, 0]
    posterior[:, 0] = 0.8
    assert DECISIONS["greatest expected F1"](posterior, targets, LABELS)[0].tolist() == [0, 0, 1]


def test_the_cost_raises_a_label_that_is_answered_too_rarely() -> None:
    # complex always has 0.4 against rust's 0.6, and is right every second time.
    targets = np.where(np.arange(100)[:, None] % 2, ROWS[1], ROWS[3])
    posterior = np.tile([0.0, 0.6, 0.0, 0.4, 0.0], (100, 1))
    probable = DECISIONS["most probable combination"](posterior, targets, LABELS)
    assert not probable[:, 0].any()
    assert CostSensitive("complex")(posterior, targets, LABELS)[:, 0].all()


def test_thresholds_come_from_other_photographs() -> None:
    # A label of random probabilities: its own photographs' best threshold does not help it.
    random = np.random.default_rng(0)
    posterior = random.dirichlet(np.ones(len(COMBINATIONS)), PHOTOGRAPHS)
    targets = ROWS[random.integers(0, len(COMBINATIONS), PHOTOGRAPHS)]
    decide = DECISIONS["each label above its best threshold"]
    answers = decide(posterior, targets, LABELS)

    # A changed target changes no answer of its own fold.
    changed = targets.copy()
    changed[0] = 1 - changed[0]
    np.testing.assert_array_equal(decide(posterior, changed, LABELS)[0], answers[0])


def test_one_softmax_learns_what_single_labels_cannot_show() -> None:
    # complex + rust shows as a third input alone; no label's own logit has it.
    random = np.random.default_rng(0)
    targets = ROWS[random.integers(0, len(COMBINATIONS), PHOTOGRAPHS)]
    given = combination_indices(targets, LABELS)
    inputs = np.eye(len(COMBINATIONS))[given] + random.normal(0, 0.2, (PHOTOGRAPHS, 5))
    posterior = stacked_posterior(inputs, targets, LABELS)
    assert posterior.sum(axis=1) == pytest.approx(np.ones(PHOTOGRAPHS))
    assert (posterior.argmax(axis=1) == given).mean() > 0.95

    # Out of fold: noise as input is not learned by heart.
    noise = random.normal(size=(PHOTOGRAPHS, 40))
    assert (stacked_posterior(noise, targets, LABELS).argmax(axis=1) == given).mean() < 0.35


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """What the simulated logits give."""
    measured = measure(simulate(), LABELS, "complex")
    return {"command": "python -m experiments.complex_label DATA", **measured}


def test_heads_are_compared_with_the_shipped_answers(result: dict[str, Any]) -> None:
    assert result["with_the_label"] == int(simulate().targets[:, 0].sum())
    shipped = result["heads"]["fusion12, mirrored"]
    assert shipped["label_f1"]["difference"] == 0.0
    assert shipped["label_f1"]["interval"] == [0.0, 0.0]

    scale_1 = result["heads"]["scale1, plain"]["exact_match"]
    low, high = scale_1["interval"]
    assert low < scale_1["difference"] < high


def test_what_ships_looks_at_mirror_images_or_not() -> None:
    logits = simulate(tta=1)
    assert logits.as_predicted is logits.plain
    assert simulate().as_predicted.keys() == logits.mirrored.keys()

    measured = measure(logits, LABELS, "complex")
    assert measured["shipped"] == "fusion12, plain"
    assert measured["heads"]["fusion12, plain"]["exact_match"]["difference"] == 0.0


def test_decisions_are_as_good_as_they_can_be(result: dict[str, Any]) -> None:
    exact = {name: entry["exact_match"]["value"] for name, entry in result["decisions"].items()}
    assert exact["most probable combination"] > max(exact[name] for name in DECISIONS) - 0.03
    assert exact["one softmax over combinations"] > exact["most probable combination"]


def test_tables_show_every_head_and_decision(result: dict[str, Any]) -> None:
    heads = complex_heads(result)
    assert len(heads) == 2 + 6 + 2
    assert "`scale1`, mean over mirror images" in heads[3]

    decisions = complex_decisions(result)
    assert decisions[-2].startswith("| complex weighted by its cost |")
    assert complex_confusions(result)[-1].startswith("| others |")


def test_confusions_are_those_of_one_label() -> None:
    targets = ROWS[[3, 3, 3, 1, 0]]
    answers = ROWS[[1, 1, 3, 4, 1]]
    assert confusions(targets, answers, LABELS, "complex") == [
        {"given": "complex", "answered": "rust", "photographs": 2},
        {"given": "rust", "answered": "complex + rust", "photographs": 1},
    ]


def test_noise_lowers_the_scores() -> None:
    good = measure(simulate(0.3), LABELS, "complex")["heads"]["scale1, plain"]
    bad = measure(simulate(2.0), LABELS, "complex")["heads"]["scale1, plain"]
    assert good["label_f1"]["value"] > bad["label_f1"]["value"] + 0.2
