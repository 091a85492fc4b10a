"""Draw the boxes of arms on rendered leaves.

    python -m experiments.boxes LEAVES RUNS OUT.webp ARM-SEED...

A row of leaves with spots for every run that python -m experiments.run measured: the box of scale
2, that of scale 3, and the spots' boxes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from PIL import Image

from experiments.measured_runs import MeasuredRun, cached_sources
from leafzoom.dataset.lesions import read_lesions
from leafzoom.dataset.table import Table, read_table

__all__ = ["main"]

_LEAF_COUNT = 7
_LEAF_INCHES = 1.35
_TITLE_INCHES = 0.22
_LEGEND_INCHES = 0.35
_DPI = 110
_WEBP_QUALITY = 70

_SPOT_COLOUR = "#FF2020"
_SPOT_LINE_WIDTH = 1.4
_BOX_LINE_WIDTH = 1.6
_BOXES = (("box2", "scale 2", "#F0E442"), ("box3", "scale 3", "#56B4E9"))


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("leaves", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("arms", nargs="+", metavar="ARM-SEED")
    arguments = parser.parse_args()

    # A row of leaves for each arm, under the arm's name.
    table = read_table(arguments.leaves)
    rows = len(arguments.arms)
    width = _LEAF_INCHES * _LEAF_COUNT
    height = (_LEAF_INCHES + _TITLE_INCHES) * rows + _LEGEND_INCHES
    figure = Figure(figsize=(width, height), layout="constrained", dpi=_DPI)

    grid = figure.subplots(rows, _LEAF_COUNT, squeeze=False)
    for row_axes, arm in zip(grid, arguments.arms, strict=True):
        row_axes[0].set_title(arm.rpartition("-")[0], loc="left", fontsize=9)
        _draw_arm(list(row_axes), MeasuredRun(arguments.runs / arm), arguments.leaves, table)

    _draw_legend(figure)
    _save(figure, arguments.out)
    print(arguments.out, f"{arguments.out.stat().st_size / 1024:.0f} KB")


def _draw_arm(row_axes: list[Axes], run: MeasuredRun, leaves: Path, table: Table) -> None:
    """The first leaves with spots that a run was measured on, and its boxes there."""
    # The leaves that have spots, in the order in which the run was measured.
    cache = cached_sources(leaves, table, run.source_size)
    lesions = read_lesions(leaves, cache)
    arrays = run.arrays()
    positions = [
        position for position, row in enumerate(arrays["rows"]) if table.image_names[row] in lesions
    ]

    # The axes go from 0 to 1, whatever the pictures' size in pixels.
    for axes, position in zip(row_axes, positions[:_LEAF_COUNT], strict=True):
        row = arrays["rows"][position]
        axes.imshow(cache.sources[row], extent=(0, 1, 1, 0))
        axes.set_axis_off()

        # The boxes are in pixels of the source, the spots in pixels of the photo.
        for key, _, colour in _BOXES:
            x, y, half_side = arrays[key][position] / run.source_size
            corners = np.array([x - half_side, y - half_side, x + half_side, y + half_side])
            _draw_box(axes, corners, colour, _BOX_LINE_WIDTH)

        photo_sides = np.tile(cache.photo_sizes[row], 2)
        for corners in lesions[table.image_names[row]] / photo_sides:
            _draw_box(axes, corners, _SPOT_COLOUR, _SPOT_LINE_WIDTH)


def _draw_box(axes: Axes, corners: NDArray[np.floating], colour: str, line_width: float) -> None:
    """A box x0, y0, x1, y1 in shares of the leaf's sides."""
    x0, y0, x1, y1 = (float(corner) for corner in corners)
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=line_width))


def _draw_legend(figure: Figure) -> None:
    """What the colours are, above the leaves."""
    handles = [
        Patch(fc="none", ec=colour, lw=_BOX_LINE_WIDTH, label=name) for _, name, colour in _BOXES
    ]
    handles.append(Patch(fc="none", ec=_SPOT_COLOUR, lw=_SPOT_LINE_WIDTH, label="the spots"))
    figure.legend(
        handles=handles,
        loc="outside upper right",
        ncols=len(handles),
        frameon=False,
        fontsize=9,
    )


def _save(figure: Figure, path: Path) -> None:
    """Write a figure as WebP."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "WEBP", quality=_WEBP_QUALITY, method=6)


if __name__ == "__main__":
    main()
