"""The confidence from which on the first scale's answer stands for all scales'."""

from __future__ import annotations

import numpy as np

from leafzoom.fitting.early_exit import fit_early_exit
from leafzoom.labels import LabelSet

LABELS = LabelSet(("healthy", "scab"), ((1, 0), (0, 1)))
COUNT = 4000

RANDOM = np.random.default_rng(0)
IS_SCAB = RANDOM.integers(0, 2, COUNT)
TARGETS = np.stack([IS_SCAB == 0, IS_SCAB == 1], axis=1).astype(np.uint8)
SIGN = 2 * TARGETS - 1.0

ALWAYS_RIGHT = 3 * SIGN + RANDOM.normal(0, 0.1, SIGN.shape)

# Right where it is confident, a guess where it is not.
STRENGTH = RANDOM.uniform(0.05, 3, COUNT)
IS_WRONG = (STRENGTH < 0.5) & (RANDOM.uniform(size=COUNT) < 0.5)
RIGHT_IF_CONFIDENT = np.where(IS_WRONG, -STRENGTH, STRENGTH)[:, None] * SIGN

NOISE = RANDOM.normal(size=SIGN.shape) * 9


def test_the_threshold_lies_above_the_guesses() -> None:
    threshold = fit_early_exit(RIGHT_IF_CONFIDENT, ALWAYS_RIGHT, TARGETS, LABELS)

    assert threshold is not None
    assert 0.5 < threshold < 0.99


def test_a_first_scale_that_is_always_right_always_exits() -> None:
    assert fit_early_exit(ALWAYS_RIGHT, ALWAYS_RIGHT, TARGETS, LABELS) == 0.5


def test_a_first_scale_that_guesses_never_exits() -> None:
    assert fit_early_exit(NOISE, ALWAYS_RIGHT, TARGETS, LABELS) is None


def test_fewer_than_1500_photographs_cannot_rule_out_a_loss() -> None:
    for count in (1, 1499):
        logits = ALWAYS_RIGHT[:count]
        assert fit_early_exit(logits, logits, TARGETS[:count], LABELS) is None

    logits = ALWAYS_RIGHT[:1500]
    assert fit_early_exit(logits, logits, TARGETS[:1500], LABELS) == 0.5
