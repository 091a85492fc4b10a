"""The sweep over few photographs: what it draws, its figures, and what is published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from conftest import numbered_table
from experiments.few_photographs import draw
from experiments.few_photographs_report import Judged, arm_rows

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "results" / "experiments" / "few-photographs.json"
ROUNDING = 5e-5  # published figures have four digits


def test_every_label_is_drawn_as_often_as_asked() -> None:
    table = numbered_table(400, [("scab",), ("rust",), ("scab", "rust"), ("healthy",)])
    for size in (2, 5, 20):
        rows = table.take(draw(table, size, 0)).rows
        for label in ("scab", "rust", "healthy"):
            assert sum(label in row.labels for row in rows) >= size
        assert len(rows) <= 3 * size


def test_more_photographs_hold_all_of_fewer() -> None:
    table = numbered_table(400, [("scab",), ("rust",), ("scab", "rust")])
    assert set(draw(table, 5, 1)) < set(draw(table, 20, 1))
    assert draw(table, 5, 1) != draw(table, 5, 2)

    # A label gives all that it has.
    assert len(draw(numbered_table(6, [("a",), ("b",)]), 50, 0)) == 6


def judged(seed: int, fused: float, scale: float, confidence: float) -> Judged:
    """A training whose heads are right on these shares of 1,000 photographs."""
    random = np.random.default_rng(seed)
    hits = {
        "scale1": random.random(1000) < scale / 2,
        "scale2": random.random(1000) < scale,
        "fusion12": random.random(1000) < fused,
    }
    return Judged(
        seed=seed,
        photographs=12,
        seconds=1.0,
        head="fusion12",
        correct=hits,
        confidence={head: np.full(1000, confidence) for head in hits},
    )


def test_the_fused_answer_is_compared_with_the_best_scale() -> None:
    (row,) = arm_rows({2: [judged(seed, 0.9, 0.6, 0.7) for seed in range(3)]})
    assert row["photographs_a_label"] == 2
    assert row["best_scale"] == "scale2"
    assert row["against_best_scale"]["interval"][0] > 0.2
    assert np.allclose(row["calibration_error"], 0.2, atol=0.05)
    assert row["mean_confidence"] == [0.7, 0.7, 0.7]


def test_the_published_curve_keeps_what_the_recipe_promises() -> None:
    """The fused answer is not worse than the best scale beyond chance, nor surer than it is right.

    From 20 photographs a label on the calibration error of diseases that the start knows is at most
    five points, the mean over seeds.
    """
    arms = json.loads(PUBLISHED.read_text())["arms"]
    assert set(arms) == {"known", "imagenet", "new"}
    for arm, rows in arms.items():
        for row in rows:
            assert row["against_best_scale"]["interval"][1] >= 0, (arm, row)
            overconfidence = np.mean(row["mean_confidence"]) - np.mean(row["exact_match_by_seed"])
            assert overconfidence < 0.05, (arm, row)
            fewest = min(row["photographs"])
            if arm == "known" and row["photographs_a_label"] >= 20:
                assert np.mean(row["calibration_error"]) <= 0.05
            earned = (max(row["photographs"]) + 1) / (fewest + 2)
            assert max(row["greatest_confidence"]) <= earned + ROUNDING

    text = (ROOT / "docs" / "findings" / "few-photographs.md").read_text(encoding="utf-8")
    assert "<!-- few_photographs few-photographs -->" in text
    assert "experiments/few-photographs.svg" in text
