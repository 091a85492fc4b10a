"""The measurement with one class a photograph, on rendered leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import HEADS, TINY
from experiments.single_label import ARMS, Arm, measure_arm
from leafzoom.dataset.synthetic import SYNTHETIC_LABELS
from leafzoom.recipe import load_recipe
from network_helpers import model_digest

_TINY_ARM = Arm(
    "ra-cnn", (*TINY, "fusion.epochs=2", "warm_up.epochs=1"), train=36, validation=12, test=12
)


@pytest.mark.parametrize("name", ARMS)
def test_the_arms_have_classes(name: str) -> None:
    arm = ARMS[name]
    assert load_recipe(arm.recipe, arm.changes).single_label
    for count in (arm.train, arm.validation, arm.test):
        assert count % len(SYNTHETIC_LABELS) == 0  # parts are balanced


@pytest.mark.slow
def test_an_arm_is_trained_judged_and_exported(tmp_path: Path) -> None:
    result = measure_arm(_TINY_ARM, tmp_path, seed=0)
    assert list(result["heads"]) == list(HEADS)
    for scores in result["heads"].values():
        confusion = np.array(scores["confusion"])
        assert confusion.sum(axis=1).tolist() == [4, 4, 4]
        assert scores["top1"] == pytest.approx(confusion.trace() / 12)
        low, high = scores["interval"]
        assert low <= scores["top1"] <= high
    assert result["export"]["probability"] < 1e-4
    assert (tmp_path / "model.onnx").is_file()

    # A finished training is judged again, not repeated.
    digest = model_digest(tmp_path / "run")
    again = measure_arm(_TINY_ARM, tmp_path, seed=0)
    assert model_digest(tmp_path / "run") == digest
    assert again["heads"] == result["heads"]
