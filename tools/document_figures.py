"""Draw the documents' own figures: python -m tools.document_figures

Writes docs/experiments/looks.svg (does looking closer pay, from results/) and docs/racnn.svg (how
an RA-CNN looks closer). Takes two seconds; needs `leafzoom[train]`.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from experiments.publishing import new_figure, save_figure, style_axes
from tools.provenance import ROOT

__all__ = ["draw_looks", "draw_racnn", "main", "parser"]

_BLUE = "#0072b2"
_ORANGE = "#e69f00"
_GREY = "#666666"
_PALE = "#e8f1f7"


def main() -> int:
    """Draw both; returns the exit status."""
    parser().parse_args()
    draw_looks()
    draw_racnn()
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return argparse.ArgumentParser(
        prog="python -m tools.document_figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def draw_looks() -> None:
    """Exact match by the number of looks, on photographs and on rendered leaves."""
    figure = new_figure(7.2, 2.9)
    photographs, leaves = figure.subplots(1, 2, sharey=True)
    style_axes([photographs, leaves], grid="y")
    photographs.set_ylim(40, 100)
    photographs.set_ylabel("all labels right, %")

    metrics = _result("shipped")["metrics"]
    heads = {"one look": "scale1", "two looks": "fusion12", "three looks": "fusion123"}
    for place, head in enumerate(heads.values()):
        value = 100 * metrics["heads_fitted"][head]["exact_match"]
        low, high = metrics["intervals"]["heads_fitted"][head]["exact_match"]
        photographs.vlines(place, 100 * low, 100 * high, color=_BLUE, linewidth=2)
        _point(photographs, place, value)
    _name_places(photographs, list(heads), "apple leaves, the shipped model")

    arms = _result("experiments/leaves")["arms"]
    looks = {
        "one look": arms["leaves-centre"]["exact_match_by_seed"]["scale1"],
        "zooms at\nthe centre": arms["leaves-centre"]["exact_match_by_seed"]["fusion123"],
        "learned\nzooms": arms["leaves-activation-twice"]["exact_match_by_seed"]["fusion123"],
    }
    for place, values in enumerate(looks.values()):
        for value in values:
            leaves.plot(place, 100 * value, "o", color=_BLUE, alpha=0.35, markersize=5)
        _point(leaves, place, 100 * sum(values) / len(values))
    _name_places(leaves, list(looks), "rendered leaves: only detail tells")
    save_figure(figure, "looks")


def draw_racnn() -> None:
    """Three looks: boxes, zooms, what each contributes."""
    figure = new_figure(7.6, 3.3)
    axes = figure.add_subplot()
    axes.set_xlim(0, 15.2)
    axes.set_ylim(0, 6.6)
    axes.set_aspect("equal")
    axes.axis("off")

    # The photo, with the boxes of both zooms, and the three views.
    for index, name in enumerate(("scale 1: the whole leaf", "scale 2", "scale 3")):
        left = 0.3 + 3.5 * index
        _view(axes, left, 1 + index)
        axes.text(left + 1.2, 6.2, name, ha="center", fontsize=8)
        _block(axes, (left, 1.9), f"CNN {index + 1}", _PALE)
        _arrow(axes, (left + 1.2, 3.35), (left + 1.2, 2.75))
        _arrow(axes, (left + 1.2, 1.9), (left + 1.2, 0.95))
        if index < 2:
            _arrow(axes, (left + 2.45, 2.3), (left + 3.45, 3.9), colour=_ORANGE)
            axes.text(left + 2.5, 3.05, "APN:\na box", ha="left", fontsize=7, color="#a06a00")

    axes.add_patch(
        FancyBboxPatch((0.3, 0.25), 9.4, 0.6, boxstyle="round,pad=0.05", fc=_PALE, ec=_BLUE)
    )
    axes.text(5, 0.55, "fusion: one linear layer reads all three", ha="center", va="center")
    _arrow(axes, (9.85, 0.55), (10.9, 0.55))
    axes.text(11.05, 0.55, "probability of each label", va="center", fontsize=9)
    axes.text(
        11.05,
        3.4,
        "Each zoom is cut from the photo,\nso it shows real detail.\n\n"
        "Learned boxes: attention\nproposal networks (APN)\nchoose where to look.",
        va="center",
        fontsize=8,
        color=_GREY,
    )
    figure.savefig(ROOT / "docs" / "racnn.svg", metadata={"Date": None})


def _view(axes: Axes, left: float, scale: int) -> None:
    """A view of a leaf: larger at finer scales, with the box of the next one."""
    bottom = 3.45
    side = 2.4
    frame = Rectangle((left, bottom), side, side, fc="white", ec=_GREY, lw=1)
    axes.add_patch(frame)

    # The leaf's outline and spots in the photo's coordinates, then in the view's.
    span = {1: (0.0, 1.0), 2: (0.38, 0.62), 3: (0.52, 0.4)}[scale]
    start, length = span
    size = side / length
    for x, y, radius in ((0.62, 0.66, 0.035), (0.72, 0.74, 0.04), (0.78, 0.62, 0.03)):
        for share, colour in ((1.0, "#b8a070"), (0.55, "#422c1e")):
            spot = _circle(
                left + (x - start) * size, bottom + (y - start) * size, share * radius * size
            )
            spot.update({"facecolor": colour, "zorder": 3})
            axes.add_patch(spot)
            spot.set_clip_path(frame)
    leaf = _leaf(left - start * size, bottom - start * size, size)
    axes.add_patch(leaf)
    leaf.set_clip_path(frame)

    if scale < 3:
        next_start, next_length = {1: (0.38, 0.62), 2: (0.52, 0.4)}[scale]
        corner = (left + (next_start - start) * size, bottom + (next_start - start) * size)
        box = Rectangle(corner, next_length * size, next_length * size, fill=False)
        box.update({"edgecolor": _ORANGE, "linewidth": 1.8, "zorder": 4})
        axes.add_patch(box)


def _leaf(left: float, bottom: float, size: float) -> Any:
    """A leaf that fills a square, from one corner to the other."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points = [(0.05, 0.05), (0.05, 0.75), (0.5, 0.95), (0.95, 0.95), (0.95, 0.45), (0.6, 0.05)]
    placed = [(left + x * size, bottom + y * size) for x, y in [*points, points[0]]]
    codes = [Path.MOVETO, *[Path.CURVE4] * 6]
    return PathPatch(Path(placed, codes), fc="#7fa650", ec="#4f6f2c", lw=1, zorder=2)


def _circle(x: float, y: float, radius: float) -> Any:
    from matplotlib.patches import Circle

    return Circle((x, y), radius, lw=0)


def _block(axes: Axes, corner: tuple[float, float], text: str, colour: str) -> None:
    patch = FancyBboxPatch(corner, 2.4, 0.75, boxstyle="round,pad=0.02", fc=colour, ec=_BLUE)
    axes.add_patch(patch)
    axes.text(corner[0] + 1.2, corner[1] + 0.37, text, ha="center", va="center", fontsize=9)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = _GREY
) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=colour))


def _point(axes: Axes, place: int, value: float) -> None:
    """A mean with its figure."""
    axes.plot(place, value, "o", color=_BLUE, markersize=8)
    axes.annotate(
        f"{value:.1f}", (place, value), xytext=(9, -3), textcoords="offset points", fontsize=9
    )


def _name_places(axes: Axes, names: list[str], title: str) -> None:
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.4, len(names) - 0.4)
    axes.set_title(title, fontsize=10)


def _result(name: str) -> Any:
    return json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
