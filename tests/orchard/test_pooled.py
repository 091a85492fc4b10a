"""The leaves of one request together, as probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leafzoom.inference.prediction import FailedPhoto, Prediction, ScalePrediction
from leafzoom.labels import combination_probabilities
from leafzoom.orchard.pooled import pool
from orchard.conftest import DECISION, LABELS, MANIFEST, entry

LOOKS = tuple(ScalePrediction(scale, (0, 0, 1, 1), {}) for scale in (1, 2))


def leaf(healthy: float, rust: float, scab: float) -> Prediction:
    prediction = entry("a.jpg", ("scab",)).result
    assert isinstance(prediction, Prediction)
    probabilities = {"healthy": healthy, "rust": rust, "scab": scab}
    return replace(prediction, probabilities=probabilities, scales=LOOKS)


def test_values_are_those_of_a_slow_loop() -> None:
    leaves = [leaf(0.1, 0.2, 0.9), replace(leaf(0.4, 0.5, 0.6), verdict="unsure")]
    other = [replace(leaf(0.1, 0.9, 0.1), verdict="not_a_leaf"), FailedPhoto("b.jpg", "broken")]

    pooled = pool([*leaves, *other], MANIFEST)

    assert pooled is not None
    assert pooled.leaves == 2
    for column, name in enumerate(LABELS.names):
        by_leaf = []
        for prediction in leaves:
            row = np.array([list(prediction.probabilities.values())])
            posterior = combination_probabilities(row, DECISION, LABELS)[0]
            having = [p for p, c in zip(posterior, LABELS.combinations, strict=True) if c[column]]
            by_leaf.append(sum(having))
        nowhere = (1 - by_leaf[0]) * (1 - by_leaf[1])
        assert pooled.share[name] == pytest.approx(sum(by_leaf) / 2, abs=1e-6)
        assert pooled.any_leaf[name] == pytest.approx(1 - nowhere, abs=1e-6)


def test_more_leaves_with_a_doubt_make_one_with_it_likelier() -> None:
    doubtful = leaf(0.5, 0.1, 0.4)
    one = pool([doubtful], MANIFEST)
    six = pool([doubtful] * 6, MANIFEST)

    assert one is not None
    assert six is not None
    assert one.share == six.share
    assert one.any_leaf == one.share
    assert six.any_leaf["scab"] == pytest.approx(1 - (1 - one.share["scab"]) ** 6, abs=1e-5)


def test_the_decision_is_that_of_the_looks_that_answered() -> None:
    softer = replace(DECISION, temperature=5.0)
    decisions = {**MANIFEST.decisions, "scale1": softer}
    early = replace(leaf(0.1, 0.1, 0.9), scales=LOOKS[:1])

    soft = pool([early], MANIFEST, decisions)
    sharp = pool([leaf(0.1, 0.1, 0.9)], MANIFEST, decisions)
    assert soft is not None
    assert sharp is not None
    assert soft.share["scab"] < sharp.share["scab"] - 0.1


def test_without_a_leaf_there_is_none() -> None:
    assert pool([FailedPhoto("b.jpg", "broken")], MANIFEST) is None
