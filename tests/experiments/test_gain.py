"""Predicting which box gains: what the map shows is learned, and noise is not."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import gain

COUNT = 120
GRID = np.array([[x, y, 0.25] for y in (0.25, 0.5, 0.75) for x in (0.25, 0.5, 0.75)])


def test_a_boxs_feature_is_the_maps_mean_over_it() -> None:
    cells = np.arange(16.0).reshape(4, 4)
    features = gain.box_features(cells[None, None], np.zeros((1, 1)), GRID[None])

    # Features are less their mean over the boxes, so that differences between boxes remain.
    difference = features[0, 0, 0] - features[0, 8, 0]
    assert difference == pytest.approx(cells[:2, :2].mean() - cells[2:, 2:].mean())


def test_a_gain_that_the_map_shows_is_learned() -> None:
    random = np.random.default_rng(0)

    # The nearer a box is to a random cell, the lower its loss; a second channel is noise.
    maps = np.zeros((COUNT, 2, 4, 4), np.float32)
    spot = random.integers(0, 4, (COUNT, 2))
    maps[np.arange(COUNT), 0, spot[:, 1], spot[:, 0]] = 1.0
    maps[:, 1] = random.normal(size=(COUNT, 4, 4))
    boxes = np.broadcast_to(GRID, (COUNT, 9, 3))
    features = gain.box_features(maps, np.zeros((COUNT, 1), np.float32), boxes)
    assert features.shape == (COUNT, 9, 2 + 9 * 2)

    losses = -features[..., 0].astype(np.float64)
    predicted, explained = gain.cross_validated(features, losses)
    assert explained > 0.9

    best = losses.min(axis=1)
    chosen = np.take_along_axis(losses, predicted.argmin(axis=1)[:, None], axis=1)[:, 0]
    assert (chosen - best).mean() < 0.1 * (losses.mean(axis=1) - best).mean()


def test_noise_is_not_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    monkeypatch.setattr(gain, "_PENALTIES", (1e-3,))

    # More features than boxes: a fit explains all photographs that it has seen, and no others.
    features = random.normal(size=(30, 9, 400)).astype(np.float32)
    noise = random.normal(size=(30, 9))
    noise -= noise.mean(axis=1, keepdims=True)
    residual = gain.fit_ridge(features, noise)(features) - noise
    assert np.square(residual).mean() < 0.1 * np.square(noise).mean()

    _, explained = gain.cross_validated(features, noise)
    assert explained < 0
