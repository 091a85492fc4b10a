"""Averages of networks, on simulated logits."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.averages import measure
from leafzoom.labels import LabelSet
from tools.complex_tables import averages

COMBINATIONS = ((0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0))
LABELS = LabelSet(("complex", "rust", "scab"), COMBINATIONS)


def test_networks_that_err_apart_are_better_together_and_those_that_err_alike_are_not() -> None:
    random = np.random.default_rng(0)
    targets = np.array(COMBINATIONS, np.uint8)[random.integers(0, len(COMBINATIONS), 600)]
    own = {name: random.normal(0, 4, targets.shape) for name in ("shipped", "Lite2", "Lite0")}
    signal = 4.0 * targets - 2

    apart = measure({name: signal + noise for name, noise in own.items()}, targets, LABELS)
    together = apart["averages"]["50 % shipped, 50 % Lite2"]["exact_match"]
    assert together["interval"][0] > 0.02

    alike = dict.fromkeys(own, signal + own["shipped"])
    result = measure(alike, targets, LABELS)
    for entry in result["averages"].values():
        assert entry["exact_match"]["difference"] == pytest.approx(0)

    lines = averages(
        {"name": "averages", "command": "python -m experiments.averages DATA", **apart}
    )
    assert len(lines) == 2 + len(apart["averages"]) + 2
    assert lines[2].startswith("| shipped | ")
