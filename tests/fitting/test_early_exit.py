"""The confidence from which on the first scale's answer stands for all scales'."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from leafzoom.fitting.early_exit import MAX_LOSS, first_looks, fit_early_exit, greatest_loss
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


@pytest.mark.parametrize(("losses", "allowed"), [(0, True), (1, False)])
def test_one_loss_in_1677_is_too_many(losses: int, allowed: bool) -> None:
    """A normal bound of one loss, 0.16 points, would allow it."""
    bound = greatest_loss(losses, 1677)
    assert (bound <= MAX_LOSS) is allowed

    # So few losses, or fewer, would be a surprise (5 %) at this loss.
    assert binom.cdf(losses, 1677, bound) == pytest.approx(0.05)


def test_a_confidence_with_one_loss_is_not_fitted() -> None:
    """One sure first look is wrong, and the last one right: the threshold lies above it."""
    count = 1677
    first = ALWAYS_RIGHT[:count].copy()
    first[7] = -first[7]
    targets = TARGETS[:count]
    looks = first_looks(first, ALWAYS_RIGHT[:count], targets, LABELS)
    assert (looks.last_right & ~looks.first_right).sum() == 1

    threshold = fit_early_exit(first, ALWAYS_RIGHT[:count], targets, LABELS)
    assert threshold is None or threshold > looks.confidence[7]


def test_answers_made_right_do_not_pay_for_losses() -> None:
    count = 1677
    first = ALWAYS_RIGHT[:count].copy()
    last = ALWAYS_RIGHT[:count].copy()
    first[7] = -first[7]
    last[100:110] = -last[100:110]
    assert fit_early_exit(first, last, TARGETS[:count], LABELS) != 0.5
    assert fit_early_exit(last, last, TARGETS[:count], LABELS) == 0.5
