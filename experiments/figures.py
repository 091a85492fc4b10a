"""Draw the paper's figures 7, 8, 11 and 12 over runs: python -m experiments.figures RUN...

Writes the metrics of the validation part after every epoch of the alternation to
results/experiments/paper-curves.json, and docs/experiments/paper-curves.svg.
`leafzoom compare RUN... --out DIR` draws the same runs as a page, with the training part and all
figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes

from experiments.publishing import new_figure, save_figure, style_axes, write_result
from leafzoom.evaluation.run_record import RunRecord, read_run

__all__ = ["main"]

_PANELS = (
    ("exact match of scale 1", "exact_match_scale1"),
    ("exact match of scale 2 (figure 7)", "exact_match_scale2"),
    ("exact match of scale 3 (figure 8)", "exact_match_scale3"),
    ("classifier loss of scale 3 (figure 11)", "loss_scale3"),
    ("ranking loss of scales 2, 3 (figure 12)", "ranking_loss23"),
    ("half side of scale 3's box", "box3_half_side_mean"),
)
_COLOURS = ("#000000", "#0072B2", "#56B4E9", "#E69F00", "#009E73", "#D55E00")
_NAME = "paper-curves"

Points = list[tuple[int, float]]
Curves = dict[str, dict[str, Points]]


def main() -> None:
    """Read, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()

    runs = [read_run(folder) for folder in arguments.runs]
    curves = {run.name: _run_curves(run) for run in runs}
    folders = " ".join(f"RUNS/{run.name}" for run in runs)
    command = f"python -m experiments.figures {folders}"
    write_result(_NAME, {"name": _NAME, "command": command, "curves": curves})
    _draw(curves)


def _run_curves(run: RunRecord) -> dict[str, Points]:
    """(epoch, value) of every panel's metric on the validation part."""
    curves = {}
    for _, metric in _PANELS:
        points = run.log.get(("alternation", f"select_{metric}"), [])
        curves[metric] = [(epoch, round(value, 5)) for epoch, value in points]
    return curves


def _draw(curves: Curves) -> None:
    """A panel a metric, a line a run."""
    figure = new_figure(10, 6)
    panels = list(figure.subplots(2, 3).flat)
    for axes, (title, metric) in zip(panels, _PANELS, strict=True):
        axes.set_title(title, fontsize=9)
        _draw_panel(axes, curves, metric)

    # All panels show the same runs, so one legend serves them all.
    style_axes(panels)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, _NAME)


def _draw_panel(axes: Axes, curves: Curves, metric: str) -> None:
    """Runs of fewer epochs are drawn over the same width."""
    for (name, by_metric), colour in zip(curves.items(), _COLOURS, strict=False):
        points = by_metric[metric]  # none of a scale that the run lacks
        epochs = [epoch for epoch, _ in points]
        shares = [epoch / epochs[-1] for epoch in epochs]
        values = [value for _, value in points]
        axes.plot(shares, values, "o-", color=colour, ms=3, lw=1.4, label=name)

    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of the training", fontsize=8)


if __name__ == "__main__":
    main()
