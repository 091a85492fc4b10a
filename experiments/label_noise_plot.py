"""The plot of the labels' noise: what every estimate leaves, and where the noise is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from experiments.publishing import new_figure, save_figure, style_axes

__all__ = ["draw"]

_REACHED = "#999999"
_ISSUES = "#E69F00"
_CONTRADICTED = "#0072B2"
_TRIPLET = "#009E73"
_RANGE = "#dfeaf5"
_MODEL_SUFFIX = "-224-fine-tuned"  # too long for the plot


def draw(result: Mapping[str, Any], name: str) -> Path:
    """Draw the exact match that every estimate leaves, and contradicted labels by combination.

    Args:
        result: of `experiments.label_noise`.
        name: of the figure.
    """
    figure = new_figure(11.4, 5.2)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    _draw_estimates(left, result)
    _draw_combinations(right, result["by_combination"])
    style_axes((left, right), grid="x")
    return save_figure(figure, name)


def _draw_estimates(axes: Axes, result: Mapping[str, Any]) -> None:
    """A row an estimate: what models reach, then what the noise leaves."""
    rows = [
        (f"reached: {model}", values["exact_match"], _REACHED, False)
        for model, values in result["models"].items()
    ]
    rows += [
        (f"cleanlab: {model}", values["issues"]["share"], _ISSUES, True)
        for model, values in result["models"].items()
    ]
    rows.append(("cleanlab: all models", result["flagged_by_all"], _ISSUES, True))
    for kind, colour in (("contradicted", _CONTRADICTED), ("triplet", _TRIPLET)):
        for pair, values in result["agreement"].items():
            rows.append((f"{kind}: {pair}", values[kind], colour, True))

    ceiling = result["ceiling"]
    low = 100 * ceiling["low"]
    high = 100 * ceiling["high"]
    axes.axvspan(low, high, color=_RANGE, zorder=0, label="range of the ceiling")
    for index, (_, estimate, colour, is_noise) in enumerate(rows):
        value = 1 - estimate["value"] if is_noise else estimate["value"]
        bounds = [1 - b if is_noise else b for b in estimate["interval"]]
        axes.plot([100 * b for b in bounds], [index, index], "-", color=colour, lw=2)
        axes.plot([100 * value], [index], "o", color=colour, ms=6)

    titles = [row[0].replace(_MODEL_SUFFIX, "") for row in rows]
    axes.set_yticks(range(len(rows)), titles, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(80, 100)
    axes.legend(loc="lower left", frameon=False, fontsize=8)
    axes.set_xlabel("exact match in %: reached, or left by the noise (95 %)")


def _draw_combinations(axes: Axes, combinations: list[dict[str, Any]]) -> None:
    """A row a given combination: how often all models agree on another."""
    for index, row in enumerate(combinations):
        share = row["contradicted_share"]
        bounds = 100 * np.array(share["interval"])
        axes.plot(bounds, [index, index], "-", color=_CONTRADICTED, lw=2)
        axes.plot([100 * share["value"]], [index], "o", color=_CONTRADICTED, ms=6)

    titles = [f"{row['combination']} ({row['photographs']})" for row in combinations]
    axes.set_yticks(range(len(titles)), titles, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("all models agree on another, in %")
