"""The figures draw the numbers that they name."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.untrained import LABELS
from leafzoom.evaluation.figures import bars, calibration_bins, confusion


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
