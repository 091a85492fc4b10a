"""The plot of a comparison: every arm's exact matches, and the differences with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from experiments.publishing import new_figure, save_figure, style_axes
from experiments.statistics import PairedDifference

__all__ = ["Pair", "draw_comparison"]

_HEAD_COLOURS = {
    "scale1": "#999999",
    "scale2": "#E69F00",
    "scale3": "#CC79A7",
    "last fusion": "#0072B2",
}
_SIGNIFICANT_COLOUR = "#0072B2"
_OTHER_COLOUR = "#999999"

ExactMatches = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Pair:
    """An arm compared with another.

    `median_moves`: by seed, how far scale 2's boxes of the two lie apart, the median of the
    photographs, a share of the source's side; empty where one of them has no boxes of its own, or
    the same ones.
    """

    arm: str
    against: str
    difference: PairedDifference
    median_moves: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        row = {"arm": self.arm, "against": self.against, **self.difference.to_dict()}
        if self.median_moves:
            row["median_move"] = list(self.median_moves)
        return row


def draw_comparison(
    name: str, control: str, exact_matches: ExactMatches, pairs: Sequence[Pair]
) -> Path:
    """Draw the arms on the left, a dot a seed, and the differences on the right.

    Args:
        name: of the comparison; the figure is docs/experiments/NAME.svg.
        control: the arm that most others are compared with.
        exact_matches: {arm: {head: a value a seed}}.
        pairs: what is compared with what.
    """
    # An oracle is so far away that no other difference would be visible.
    arms = [arm for arm in exact_matches if not arm.endswith(":oracle")]
    drawn_pairs = [pair for pair in pairs if pair.arm in arms]

    figure = new_figure(8.6, 1.1 + 0.38 * len(arms))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 2])

    # The exact match of every seed, the first arm at the top.
    heads_drawn = _draw_arms(left, arms, exact_matches)
    left.set_yticks(range(len(arms)), arms)
    left.invert_yaxis()
    left.set_xlabel("exact match, a dot a seed")

    # The differences, a row an arm as on the left.
    for pair in drawn_pairs:
        _draw_difference(right, arms.index(pair.arm), pair.difference)
    right.axvline(0, color="#444444", lw=0.8)
    one_control = {pair.against for pair in drawn_pairs} == {control}
    others = "" if one_control else "\nor the arm in the table"
    right.set_xlabel(f"points more than {control}{others}")

    style_axes((left, right), grid="x")
    figure.legend(loc="outside upper left", ncols=heads_drawn, frameon=False, fontsize=9)
    return save_figure(figure, name)


def _draw_arms(axes: Axes, arms: Sequence[str], exact_matches: ExactMatches) -> int:
    """A row of dots an arm, a colour a head; returns how many heads there are."""
    labelled: set[str] = set()
    for row, arm in enumerate(arms):
        by_seed = exact_matches[arm]
        fusions = [head for head in by_seed if head.startswith("fusion")]
        drawn = {head: by_seed[head] for head in _HEAD_COLOURS if head in by_seed}
        if fusions:
            drawn["last fusion"] = by_seed[fusions[-1]]

        # Each head is in the legend once, however many arms have it.
        for head, values in drawn.items():
            axes.plot(
                values,
                [row] * len(values),
                "o",
                color=_HEAD_COLOURS[head],
                ms=5,
                alpha=0.8,
                label=None if head in labelled else head,
            )
            labelled.add(head)
    return len(labelled)


def _draw_difference(axes: Axes, row: int, difference: PairedDifference) -> None:
    """An interval and its middle, in points."""
    colour = _SIGNIFICANT_COLOUR if difference.is_significant else _OTHER_COLOUR
    interval = [100 * bound for bound in difference.interval]
    axes.plot(interval, [row, row], "-", color=colour, lw=2)
    axes.plot([100 * difference.difference], [row], "o", color=colour, ms=6)
