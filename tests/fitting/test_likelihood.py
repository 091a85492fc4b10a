"""Probabilities and losses of logits against slow loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leafzoom.fitting.likelihood import label_probabilities, photograph_losses

LOGITS = np.random.default_rng(0).normal(size=(3, 7)).T * 3  # not contiguous
TARGETS = np.eye(3, dtype=np.uint8)[[0, 2, 1, 1, 0, 2, 2]]


@pytest.mark.parametrize("single_label", [False, True])
def test_values_by_a_slow_loop(single_label: bool) -> None:
    probabilities = label_probabilities(LOGITS, single_label=single_label)
    losses = photograph_losses(LOGITS, TARGETS, single_label=single_label)
    for photo, row in enumerate(LOGITS.tolist()):
        if single_label:
            total = sum(math.exp(value) for value in row)
            expected = [math.exp(value) / total for value in row]
            loss = -math.log(expected[int(TARGETS[photo].argmax())])
        else:
            expected = [1 / (1 + math.exp(-value)) for value in row]
            terms = [
                math.log(p if target else 1 - p)
                for p, target in zip(expected, TARGETS[photo], strict=True)
            ]
            loss = -sum(terms) / 3
        assert probabilities[photo].tolist() == pytest.approx(expected)
        assert losses[photo] == pytest.approx(loss)


@pytest.mark.parametrize("single_label", [False, True])
def test_large_logits_do_not_overflow_and_nan_stays(single_label: bool) -> None:
    logits = np.array([[1000.0, -1000.0, 0.0], [np.nan, 0.0, 0.0]])
    losses = photograph_losses(logits, TARGETS[:2], single_label=single_label)
    assert losses[0] == pytest.approx(0.0 if single_label else math.log(2) / 3)
    assert np.isnan(losses[1])
    assert np.isfinite(label_probabilities(logits[:1], single_label=single_label)).all()
