"""The histograms that later answers are compared with."""

from __future__ import annotations

import numpy as np

from leafzoom.fitting.out_of_fold import OutOfFoldAnswers
from leafzoom.fitting.reference import fit_reference
from leafzoom.labels import LabelSet

LABELS = LabelSet(("healthy", "scab"), ((0, 1), (1, 0)))
RANDOM = np.random.default_rng(0)
COUNT = 400

# Answers alternate; one in ten of the scores is beyond the limit.
CONFIDENCE = RANDOM.uniform(0.5, 1, COUNT)
ANSWERS = OutOfFoldAnswers(
    np.where(
        (np.arange(COUNT) % 2 == 0)[:, None],
        np.stack([CONFIDENCE, 1 - CONFIDENCE], axis=1),
        np.stack([1 - CONFIDENCE, CONFIDENCE], axis=1),
    ),
    np.arange(COUNT) % 2,
)
SCORES = np.where(np.arange(COUNT) % 10 == 0, 1.5, RANDOM.uniform(0.1, 0.9, COUNT))


def test_counts_are_those_of_a_slow_loop() -> None:
    reference = fit_reference(ANSWERS, SCORES, LABELS)
    assert reference is not None
    assert [answer.labels for answer in reference.answers] == [("scab",), ("healthy",)]
    assert reference.photographs == COUNT

    for index, histograms in enumerate(reference.answers):
        ood_score = [0] * (len(reference.ood_edges) + 1)
        confidence = [0] * (len(reference.confidence_edges) + 1)
        for row in range(index, COUNT, 2):
            ood_score[sum(edge < SCORES[row] for edge in reference.ood_edges)] += 1
            if SCORES[row] <= 1:
                sure = sum(edge < CONFIDENCE[row] for edge in reference.confidence_edges)
                confidence[sure] += 1
        assert histograms.ood_score == tuple(ood_score)
        assert histograms.confidence == tuple(confidence)


def test_the_limit_is_an_edge_and_bins_are_about_as_full() -> None:
    reference = fit_reference(ANSWERS, SCORES, LABELS)
    assert reference is not None
    assert 1.0 in reference.ood_edges
    assert 0.5 in reference.confidence_edges

    counts = np.sum([answer.confidence for answer in reference.answers], axis=0)
    assert counts.max() < 0.08 * COUNT


def test_without_a_detector_there_are_confidences_alone() -> None:
    reference = fit_reference(ANSWERS, None, LABELS)
    assert reference is not None
    assert reference.ood_edges == ()
    assert reference.photographs == COUNT

    nothing = OutOfFoldAnswers(np.zeros((0, 2)), np.zeros(0, np.intp))
    assert fit_reference(nothing, None, LABELS) is None
