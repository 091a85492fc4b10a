"""Corrected intervals hold the truth where uncorrected ones do not."""

from __future__ import annotations

import numpy as np

from experiments.orchard_coverage import coverage
from leafzoom.labels import LabelSet
from leafzoom.model_file.confusion import Confusion

LABELS = LabelSet(("healthy", "rust", "scab"), ((0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0)))
CONFUSION = Confusion.from_matrix(
    np.array(
        [
            [150, 5, 15, 20, 8, 2],
            [4, 160, 20, 10, 5, 1],
            [25, 20, 40, 3, 10, 2],
            [2, 1, 0, 240, 3, 1],
        ]
    )
)


def test_coverage_is_nominal_and_better_than_without_the_correction() -> None:
    """Of 150 orchards with three labels, the standard error of the share is about 0.01."""
    shares = coverage(LABELS, CONFUSION, leaves=200, tilt=1.0, orchards=150)

    assert 0.93 <= shares["covered"] <= 0.97
    assert shares["plain_covered"] < shares["covered"] - 0.05
    assert shares["error"] < shares["plain_error"]
    assert shares["width"] > shares["plain_width"]
