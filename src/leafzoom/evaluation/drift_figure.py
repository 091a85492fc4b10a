"""The comparison of a season's answers with the reference as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leafzoom.evaluation.drift import DriftReport, LabelShare, Shift
from leafzoom.evaluation.drift_text import conclusion, shift_name
from leafzoom.evaluation.figure_fonts import use_installed_fonts
from leafzoom.storage import replacing

__all__ = ["draw_drift"]

_EXPECTED = "#888888"
_OBSERVED = {"trust": "#0072B2", "check": "#E69F00", "distrust": "#D55E00", "too_few": "#0072B2"}
_AXIS_NAMES = {"ood_score": "out-of-distribution score", "confidence": "confidence"}
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}
_SIZE_INCHES = (12, 4.6)
_DPI = 120
_WORDS_WIDTH = 130  # characters of a line of the conclusion


def draw_drift(report: DriftReport, path: Path) -> None:
    """Write the picture: both distributions beside the expected ones, and the labels' shares.

    Args:
        report: of the comparison.
        path: of a `.png` or `.svg` file.

    Raises:
        LeafzoomError: the file cannot be written.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI)
        panels = figure.subplots(1, len(report.shifts) + 1, squeeze=False)[0]
        for axes, shift in zip(panels, report.shifts, strict=False):
            _draw_shift(axes, shift)
        _draw_labels(panels[-1], report.labels)

        figure.suptitle(fill(conclusion(report), _WORDS_WIDTH), x=0.01, ha="left", fontsize=10)
        use_installed_fonts(figure)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix.removeprefix("."))


def _draw_shift(axes: Axes, shift: Shift) -> None:
    """The share of answers at or below each value, expected and observed."""
    edges = np.array(shift.edges)
    colour = _OBSERVED[shift.judgement]
    for name, shares, line_colour, style in (
        ("expected", shift.expected, _EXPECTED, "--"),
        ("here", shift.observed, colour, "-"),
    ):
        cumulative = 100 * np.cumsum(shares)[:-1]
        axes.plot(edges, cumulative, style, color=line_colour, marker=".", label=name)

    # Where the distance is greatest.
    place = shift.edges.index(shift.edge)
    expected = 100 * sum(shift.expected[: place + 1])
    observed = 100 * sum(shift.observed[: place + 1])
    axes.vlines(shift.edge, expected, observed, color=colour, lw=4, alpha=0.4)

    axes.set_ylim(-3, 103)
    axes.set_xlabel(_AXIS_NAMES[shift.name])
    axes.set_ylabel("answers up to here, %")
    title = f"{100 * shift.distance:.0f} points more: {shift_name(shift)}"
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False)


def _draw_labels(axes: Axes, labels: Sequence[LabelShare]) -> None:
    """The labels' shares, expected and observed."""
    rows = np.arange(len(labels))
    height = 0.38
    expected = [100 * share.expected for share in labels]
    observed = [100 * share.observed for share in labels]
    axes.barh(rows - height / 2, expected, height, color=_EXPECTED, label="training")
    axes.barh(rows + height / 2, observed, height, color=_OBSERVED["trust"], label="here")

    axes.set_yticks(rows, [share.label.replace("_", " ") for share in labels])
    axes.invert_yaxis()
    axes.set_xlabel("answers with the label, %")
    axes.set_title("for information: fields differ", fontsize=10)
    axes.legend(frameon=False)
