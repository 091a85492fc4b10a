"""Suspect labels: cleanlab's scores, and the loss beside them."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from leafzoom.errors import MissingExtraError
from leafzoom.review.ranking import QUALITY_METHODS, label_issues, label_quality, plain_loss


def confident_table(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the probabilities of a good model, the last ten labels turned round."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, (count, 3)).astype(np.uint8)
    probabilities = np.where(targets == 1, 0.9, 0.1) + random.uniform(-0.08, 0.08, (count, 3))
    targets[-10:] = 1 - targets[-10:]
    return targets, probabilities


@pytest.mark.parametrize("method", QUALITY_METHODS)
def test_wrong_labels_have_the_lowest_quality(method: str) -> None:
    targets, probabilities = confident_table()

    order = np.argsort(label_quality(targets, probabilities, method))  # type: ignore[arg-type]

    assert set(order[:10].tolist()) == set(range(190, 200))


def test_issues_are_the_wrong_labels() -> None:
    targets, probabilities = confident_table()
    assert np.flatnonzero(label_issues(targets, probabilities)).tolist() == list(range(190, 200))


def test_photographs_without_labels_have_a_quality() -> None:
    targets, probabilities = confident_table()
    targets[0] = 0
    quality = label_quality(targets, probabilities)
    assert np.isfinite(quality).all()


def test_the_loss_is_the_cross_entropy_of_all_labels() -> None:
    random = np.random.default_rng(1)
    targets = random.integers(0, 2, (5, 4)).astype(np.uint8)
    probabilities = random.uniform(0.01, 0.99, (5, 4))

    for row, loss in enumerate(plain_loss(targets, probabilities)):
        expected = 0.0
        for target, p in zip(targets[row], probabilities[row], strict=True):
            expected -= math.log(p) if target else math.log(1 - p)
        assert loss == pytest.approx(expected, rel=1e-12)


def test_without_cleanlab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.multilabel_classification.rank", None)
    targets, probabilities = confident_table()
    with pytest.raises(MissingExtraError, match=r"leafzoom\[clean\]"):
        label_quality(targets, probabilities)
