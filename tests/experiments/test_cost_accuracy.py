"""The published points of cost and accuracy are whole, and of the runs that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import cost_accuracy
from leafzoom.fitting.early_exit import MAX_LOSS, greatest_loss

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))
    return content


POINTS = read("experiments/cost-accuracy.json")["points"]


def test_every_network_has_a_point_and_a_label() -> None:
    plain = {
        f"{name}{mirrored}" for name in cost_accuracy._PLAIN for mirrored in ("", ", mirrored")
    }
    assert set(POINTS) == plain | set(cost_accuracy._LABEL_OFFSETS)


@pytest.mark.parametrize("name", ["plain Lite0", "plain Lite2", "one look", "three looks"])
def test_a_mirror_image_doubles_the_work(name: str) -> None:
    once = POINTS[name]["multiply_adds"]
    twice = POINTS[f"{name}, mirrored"]["multiply_adds"]
    assert twice == pytest.approx(2 * once, rel=0.01)


def test_three_looks_cost_three() -> None:
    one = POINTS["one look"]["multiply_adds"]
    assert POINTS["three looks"]["multiply_adds"] == pytest.approx(3 * one, rel=0.06)
    assert POINTS["plain Lite0"]["multiply_adds"] == pytest.approx(one, rel=0.01)


def test_int8_and_early_exit_are_of_their_results() -> None:
    full = POINTS[read("experiments/cost-accuracy.json")["shipped"]]
    exported = read("variants.json")["exported"]
    change = POINTS["three looks, int8"]["exact_match"] - full["exact_match"]
    assert change == pytest.approx(exported["change"], abs=1e-4)

    fitted = read("experiments/early-exit.json")["fitted"]
    change = POINTS["three looks, early exit"]["exact_match"] - full["exact_match"]
    assert change == pytest.approx(fitted["change"], abs=2e-4)


def test_whether_an_early_exit_may_be_the_default_follows_from_cost_and_bound() -> None:
    result = read("experiments/early-exit.json")
    fitted = result["fitted"]
    bound = greatest_loss(fitted["losses"], result["photographs"])
    assert fitted["greatest_loss"] == pytest.approx(bound, abs=1e-5)
    assert result["may_be_the_default"] is (fitted["cost"] <= 0.5 and bound <= MAX_LOSS)
