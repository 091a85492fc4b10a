"""The figures draw the numbers that they name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluation.untrained import LABELS
from leafzoom.evaluation.figures import bars, calibration_bins, confusion, most_missed
from leafzoom.labels import LabelSet


def test_calibration_error_is_the_mean_gap() -> None:
    confidence = np.repeat([0.55, 0.95], 100)
    is_correct = np.concatenate([np.arange(100) < 75, np.arange(100) < 85])

    # Equal confidences keep their order: the ten bins cut each hundred into five of twenty.
    gaps = []
    for start in range(0, 200, 20):
        rows = slice(start, start + 20)
        gaps.append(abs(confidence[rows].mean() - is_correct[rows].mean()))

    bins = calibration_bins(confidence, is_correct)
    assert bins.sizes.tolist() == [20] * 10
    assert bins.mean_gap == pytest.approx(np.mean(gaps))


def test_confusion_draws_known_and_unknown_combinations() -> None:
    targets = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 1]])
    answers = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1]])
    figure = confusion(targets, answers, LABELS)
    assert figure.startswith("<svg ")
    assert 'aria-label="Confusion matrix of the combinations of labels"' in figure

    # Matplotlib keeps each text as a comment: three targets, and a combination only predicted.
    for name in ("healthy (1)", "ring spot + solid spot (1)", "another (1)", "ring spot (0)"):
        assert f"<!-- {name} -->" in figure
    assert "<!-- solid spot (0) -->" not in figure


def test_bars_beyond_forty_are_summed_up() -> None:
    counts = {f"label_{number}": 2 for number in range(45)}
    figure = bars(counts, "By label")
    assert "<!-- label 38 -->" in figure
    assert "<!-- 6 others -->" in figure
    assert "<!-- 12 -->" in figure


def test_of_many_classes_those_with_the_most_errors_are_drawn() -> None:
    """Class 3 is missed twice, class 7 once; 5 and 9 are given in their place."""
    labels = LabelSet.of_classes([f"class_{number}" for number in range(12)])
    truth = np.array([0, 1, 2, 3, 3, 4, 7, 11])
    given = np.array([0, 1, 2, 5, 5, 4, 9, 11])
    targets = np.eye(12, dtype=np.uint8)[truth]
    answers = np.eye(12, dtype=np.uint8)[given]

    drawn = most_missed(targets, answers, 4)
    assert drawn.tolist() == [3, 5, 7, 9]
    shown = replace(labels, combinations=tuple(labels.combinations[index] for index in drawn))
    figure = confusion(targets, answers, shown)
    for name in ("class 3 (2)", "class 5 (0)", "class 7 (1)", "class 9 (0)", "another (5)"):
        assert f"<!-- {name} -->" in figure
    assert "<!-- class 11 (1) -->" not in figure
    assert most_missed(targets, answers, 30).tolist() == list(range(12))
