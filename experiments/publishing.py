"""Where results go: results/experiments/NAME.json, and docs/experiments/NAME.svg, drawn alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leafzoom.storage import write_text
from tools.provenance import ROOT

__all__ = ["figure_path", "new_figure", "result_path", "save_figure", "style_axes", "write_result"]


def result_path(name: str) -> Path:
    """The JSON file of a result."""
    return ROOT / "results" / "experiments" / f"{name}.json"


def figure_path(name: str) -> Path:
    """The figure of a result."""
    return ROOT / "docs" / "experiments" / f"{name}.svg"


def write_result(name: str, result: Mapping[str, Any]) -> Path:
    """Write a result as JSON; tables in the documents are made from it."""
    path = result_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(result, indent=1) + "\n")
    return path


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose SVG is the same whenever and wherever it is drawn."""
    mpl.rcParams["svg.fonttype"] = "path"
    mpl.rcParams["svg.hashsalt"] = "leafzoom"
    mpl.rcParams["font.family"] = "DejaVu Sans"
    return Figure(figsize=(width, height), layout="constrained")


def style_axes(all_axes: Iterable[Axes], *, grid: str = "both") -> None:
    """A light grid behind the data, and no frame at the top and on the right."""
    for axes in all_axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis=grid, color="#eeeeee")  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def save_figure(figure: Figure, name: str) -> Path:
    """Write a figure without the date, which would change the file."""
    path = figure_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return path
