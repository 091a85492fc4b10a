"""Rendered pictures without a leaf."""

from __future__ import annotations

import numpy as np

from tools.scenes import render_scenes


def test_scenes_are_the_same_in_every_call_and_differ_from_each_other() -> None:
    first = np.stack(list(render_scenes(12, 64)))
    second = np.stack(list(render_scenes(12, 64)))
    assert first.shape == (12, 64, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)
    assert len({scene.tobytes() for scene in first}) == 12
