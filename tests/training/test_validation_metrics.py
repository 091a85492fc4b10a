"""What is logged after an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from leafzoom.training.validation_metrics import validation_metrics


def test_a_collapsed_apn_shows() -> None:
    targets = np.array([[1, 0], [0, 1]], np.uint8)
    logits = (np.array([[2.0, -2.0], [-2.0, 2.0]], np.float32),) * 2
    whole = np.full((2, 3), 48, np.float32)
    collapsed = np.array([[40, 40, 20], [40, 40, 20]], np.float32)

    metrics = validation_metrics(logits, (whole, collapsed), targets)

    assert metrics["exact_match_scale1"] == metrics["micro_f1_scale2"] == 1
    assert metrics["box2_x_spread"] == metrics["box2_half_side_spread"] == 0
    assert metrics["box2_x_mean"] == pytest.approx(40 / 96)
    assert metrics["loss_scale1"] == pytest.approx(np.log1p(np.exp(-2)))


def test_the_ranking_loss_has_the_recipes_margin_and_labels() -> None:
    targets = np.array([[1, 0], [0, 1]], np.uint8)
    logits = (np.array([[2.0, -2.0], [-2.0, 2.0]], np.float32),) * 2
    boxes = (np.full((2, 3), 48, np.float32),) * 2

    narrow = validation_metrics(logits, boxes, targets)
    assert narrow["ranking_loss12"] == pytest.approx(0.05)

    wide = validation_metrics(logits, boxes, targets, margin=0.2, ranking_labels="all")
    assert wide["ranking_loss12"] == pytest.approx(0.4)  # the margin, for each of the two labels


def test_the_selection_loss_ignores_how_confident_a_network_is() -> None:
    """It is the loss after the best temperature, so a factor on the logits changes nothing."""
    random = np.random.default_rng(0)
    targets = (random.random((400, 3)) < 0.4).astype(np.uint8)
    logits = (random.normal(size=(400, 3)) + 2 * targets - 1).astype(np.float32)

    plain = validation_metrics((logits, logits), (), targets)
    confident = validation_metrics((9 * logits, logits), (), targets)
    assert confident["loss_scale1"] > 1.1 * plain["loss_scale1"]
    assert confident["loss"] == pytest.approx(plain["loss"], rel=1e-4)
    assert plain["loss"] <= plain["loss_scale1"] + plain["loss_scale2"]

    worse = validation_metrics((logits[::-1].copy(), logits), (), targets)
    assert worse["loss"] > plain["loss"]
