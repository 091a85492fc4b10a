"""Figures and curves of trainings on few photographs (see `few_photographs`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.publishing import new_figure, save_figure, style_axes
from experiments.statistics import paired_difference, rounded
from leafzoom.evaluation.figures import calibration_bins

__all__ = ["Judged", "arm_rows", "draw_curves"]

_COLOURS = {"known": "#0072B2", "new": "#D55E00", "imagenet": "#666666"}
_TITLES = {
    "known": "diseases that the start knows",
    "new": "another data set",
    "imagenet": "from ImageNet weights",
}

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Judged:
    """One training, judged on n photographs.

    `photographs`: that it was trained on. `seconds`: of the processor, for its fit. `head`: whose
    answer `predict` gives. `correct`: {head: [n]}, whether each answer is exact. `confidence`:
    {head: [n]}.
    """

    seed: int
    photographs: int
    seconds: float
    head: str
    correct: dict[str, NDArray[np.bool_]]
    confidence: dict[str, NDArray[np.float64]]


def arm_rows(judged: Mapping[int, Sequence[Judged]]) -> Rows:
    """A row for each number of photographs a label."""
    return [_size_row(size, runs) for size, runs in judged.items() if runs]


def _stacked_hits(runs: Sequence[Judged], name: str) -> NDArray[np.bool_]:
    """Whether a head's answers are exact, a row a run."""
    return np.stack([run.correct[name] for run in runs])


def _size_row(size: int, runs: Sequence[Judged]) -> dict[str, Any]:
    """The figures of one number of photographs a label."""
    head = runs[0].head
    scales = [name for name in runs[0].correct if name.startswith("scale")]
    hits = {name: _stacked_hits(runs, name) for name in (*scales, head)}

    # The best scale is chosen by these photographs, in its favour.
    best_scale = max(scales, key=lambda name: float(hits[name].mean()))
    against = paired_difference(hits[head], hits[best_scale])
    confidence = [run.confidence[head] for run in runs]

    return {
        "photographs_a_label": size,
        "photographs": [run.photographs for run in runs],
        "seeds": [run.seed for run in runs],
        "judged": int(hits[head].shape[1]),
        "exact_match": {name: rounded(float(hit.mean())) for name, hit in hits.items()},
        "exact_match_by_seed": [rounded(float(hit.mean())) for hit in hits[head]],
        "best_scale": best_scale,
        "against_best_scale": against.to_dict(),
        "mean_confidence": [rounded(float(values.mean())) for values in confidence],
        "greatest_confidence": [rounded(float(values.max())) for values in confidence],
        "calibration_error": [
            rounded(calibration_bins(values, hit).mean_gap)
            for values, hit in zip(confidence, hits[head], strict=True)
        ],
        "fit_seconds": [round(run.seconds, 1) for run in runs],
    }


def draw_curves(name: str, arms: Mapping[str, Rows]) -> Path:
    """Exact match on the left, the calibration error on the right, a dot a seed."""
    figure = new_figure(8.6, 3.6)
    left, right = figure.subplots(1, 2)
    for arm, rows in arms.items():
        sizes = [row["photographs_a_label"] for row in rows]
        for axes, key in ((left, "exact_match_by_seed"), (right, "calibration_error")):
            colour = _COLOURS[arm]
            means = [100 * float(np.mean(row[key])) for row in rows]
            axes.plot(sizes, means, color=colour, lw=1.5, label=_TITLES[arm])
            for row in rows:
                values = [100 * value for value in row[key]]
                places = [row["photographs_a_label"]] * len(values)
                axes.plot(places, values, "o", color=colour, ms=3)

    left.set_ylabel("exact match of the fused answer, %")
    right.set_ylabel("expected calibration error, points")
    right.axhline(5, color="#444444", lw=0.8, ls="--")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xscale("log")
        ticks = sorted({row["photographs_a_label"] for rows in arms.values() for row in rows})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("photographs a label")
    left.legend(frameon=False, fontsize=9)
    style_axes((left, right))
    return save_figure(figure, name)
