"""The confusion is counted by the verdicts that predictions get."""

from __future__ import annotations

import numpy as np

from leafzoom.fitting.confusion import fit_confusion
from leafzoom.fitting.out_of_fold import OutOfFoldAnswers, out_of_fold_answers
from leafzoom.inference.network import NetworkArrays
from leafzoom.inference.verdict import selective_predictions
from leafzoom.labels import Decision, LabelSet
from leafzoom.model_file.manifest import Manifest

LABELS = LabelSet(("healthy", "rust", "scab"), ((0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0)))
COMBINATIONS = np.array(LABELS.combinations, np.uint8)
DECISION = Decision((0.5, 0.5, 0.5), 1.0, (0.0, 0.3, -0.5, 0.0))
HEADS = ("scale1", "scale2", "fusion12")
COUNT = 300
RANDOM = np.random.default_rng(0)


def test_counts_are_those_of_a_slow_loop_over_predictions() -> None:
    """With one decision for all folds, the verdicts are those of `predict`."""
    truth = RANDOM.integers(0, 4, COUNT)
    targets = COMBINATIONS[truth]
    signal = 4.0 * targets - 2
    logits = {head: signal + RANDOM.normal(0, 2.5, signal.shape) for head in HEADS}
    scores = RANDOM.uniform(0.5, 1.1, COUNT)
    scores[7] = np.nan

    answers = {
        head: out_of_fold_answers(z, targets, LABELS, lambda *_: DECISION)
        for head, z in logits.items()
    }
    looks = [answers["scale1"], answers["scale2"]]
    confusion = fit_confusion(answers["fusion12"], looks, scores, targets, LABELS)
    assert confusion is not None

    manifest = Manifest(
        labels=LABELS,
        source_size=96,
        input_size=64,
        scales=2,
        decisions=dict.fromkeys(HEADS, DECISION),
        recipe={},
    )
    boxes = np.zeros((COUNT, 4), np.float32)
    probabilities = {head: 1 / (1 + np.exp(-z)) for head, z in logits.items()}
    arrays = NetworkArrays(probabilities, (boxes, boxes), scores)
    predictions = selective_predictions(arrays, manifest)

    expected = np.zeros((4, 6), np.int64)
    verdicts = {"unsure": 4, "not_a_leaf": 5}
    for row, prediction in enumerate(predictions):
        answer = LABELS.combinations.index(tuple(prediction.label_vector.tolist()))
        expected[truth[row], verdicts.get(prediction.verdict, answer)] += 1
    np.testing.assert_array_equal(confusion.matrix(), expected)
    assert (expected.sum(axis=0) > 0).all()


def test_photographs_of_unknown_combinations_are_left_out() -> None:
    answers = OutOfFoldAnswers(np.eye(4)[:2], np.array([0, 1]))
    targets = np.array([[0, 0, 1], [1, 1, 1]], np.uint8)

    confusion = fit_confusion(answers, [answers], None, targets, LABELS)

    assert confusion is not None
    assert confusion.counts == ((0, 0, 1),)
    assert fit_confusion(answers, [answers], None, targets[1:], LABELS) is None
