"""The report's figures, as SVG to stand in a page; colours (Okabe and Ito's) that colour-blind people tell apart."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from leafzoom.labels import LabelSet

__all__ = ["Curve", "bars", "calibration", "confusion", "curves", "precision_recall", "zoom_value_bars"]

_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#56B4E9", "#D55E00")
_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888",
    "axes.labelcolor": "#333",
    "xtick.color": "#555",
    "ytick.color": "#555",
    "svg.fonttype": "path",
    "svg.hashsalt": "leafzoom",
    "figure.constrained_layout.use": True,
}
_BINS = 10
_MOST_BARS = 40


@dataclass(frozen=True)
class Curve:
    """One line of a figure over epochs: raw and smoothed values, which colour, and whether it is dashed."""

    name: str
    epochs: list[int]
    raw: list[float]
    smooth: list[float]
    colour: int
    dashed: bool


def bars(counts: Mapping[str, int], title: str) -> str:
    """A bar a name, with its count at its end, in the order given from the top; after 40 one for all others."""
    if len(counts) > _MOST_BARS:
        first = list(counts.items())[: _MOST_BARS - 1]
        counts = dict(first) | {f"{len(counts) - len(first)} others": sum(counts.values()) - sum(c for _, c in first)}
    names = [_words(name) for name in counts]
    with _figure(5.6, 0.7 + 0.3 * len(names)) as figure:
        axes = figure.add_subplot()
        drawn = axes.barh(range(len(names)), list(counts.values()), color=_COLOURS[0], height=0.72)
        axes.bar_label(drawn, [f"{count:,}" for count in counts.values()], padding=4, fontsize=9, color="#333")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.14)
        axes.set_title(title, fontsize=10, loc="left", color="#333")
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return _svg(figure, title)


def precision_recall(
    targets: NDArray[np.integer], probabilities: dict[str, NDArray[np.floating]], labels: Sequence[str]
) -> str:
    """Precision against recall, a panel a label, a line a head; average precision in the legend of each panel."""
    columns = min(3, len(labels))
    rows = -(-len(labels) // columns)
    with _figure(3.3 * columns, 3.0 * rows) as figure:
        for place, label in enumerate(labels):
            axes = figure.add_subplot(rows, columns, place + 1)
            true = targets[:, place]
            axes.set_title(f"{_words(label)} ({int(true.sum())})", fontsize=10)
            axes.set(xlim=(0, 1.01), ylim=(0, 1.01))
            axes.set_xlabel("recall" if place >= len(labels) - columns else "")
            axes.set_ylabel("precision" if place % columns == 0 else "")
            if not true.any():
                axes.text(0.5, 0.5, "no photograph has it", ha="center", color="#777")
                continue
            for head, colour in zip(probabilities, _COLOURS, strict=False):
                values = probabilities[head][:, place]
                precision, recall, _ = precision_recall_curve(true, values)
                area = average_precision_score(true, values)
                axes.plot(recall, precision, color=colour, linewidth=1.6, label=f"{head} {area:.3f}")
            axes.legend(loc="lower left", fontsize=7.5, frameon=False)
        return _svg(figure, "Precision-recall curves of every label")


def confusion(targets: NDArray[np.integer], answers: NDArray[np.integer], labels: LabelSet) -> str:
    """What is said (columns) of photographs that are something else (rows), by combination of labels."""
    combinations = np.array(labels.combinations)
    size = len(combinations)
    place = {tuple(row): index for index, row in enumerate(combinations.tolist())}
    counts = np.zeros((size + 1, size + 1), int)
    for true, said in zip(targets.tolist(), answers.tolist(), strict=True):
        counts[place.get(tuple(true), size), place.get(tuple(said), size)] += 1
    used = [i for i in range(size + 1) if counts[i].sum() or (i < size and counts[:, i].sum())]
    order = sorted(used, key=lambda index: -counts[index].sum())
    counts = counts[np.ix_(order, order)]
    names = [
        "another" if i == size else " + ".join(map(_words, labels.decode(combinations[i]))) or "none" for i in order
    ]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with _figure(1.6 + 0.62 * len(order), 1.9 + 0.5 * len(order)) as figure:
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for row in range(len(order)):
            for column in range(len(order)):
                if counts[row, column]:
                    shade = "white" if shares[row, column] > 0.55 else "#222"
                    axes.text(
                        column, row, str(counts[row, column]), ha="center", va="center", color=shade, fontsize=9
                    )
        axes.set_xticks(range(len(order)), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(order)), [f"{n} ({c})" for n, c in zip(names, counts.sum(axis=1), strict=True)])
        axes.set(xlabel="said", ylabel="given label")
        axes.spines[:].set_visible(False)
        return _svg(figure, "Which combination of labels is said for which")


def calibration(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> tuple[str, float]:
    """How often an answer is right against how sure it says it is, in bins of equally many photographs.

    Returns:
        The figure, and the expected calibration error: the mean gap over the bins.
    """
    order = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, _BINS) if len(part)]
    said = np.array([confidence[part].mean() for part in bins])
    true = np.array([right[part].mean() for part in bins])
    size = np.array([len(part) for part in bins])
    error = float(np.average(np.abs(said - true), weights=size))
    half = 1.96 * np.sqrt(np.maximum(true * (1 - true), 1e-9) / size)
    with _figure(4.2, 3.8) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#aaa", linewidth=1, linestyle="--")
        low, high = np.minimum(half, true), np.minimum(half, 1 - true)
        axes.errorbar(said, true, yerr=[low, high], fmt="o-", color=_COLOURS[0], capsize=3, linewidth=1.4)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence said", ylabel="share that is right")
        return _svg(figure, "Calibration of the answer"), error


def zoom_value_bars(
    scores: dict[str, dict[str, float]], intervals: dict[str, dict[str, list[float]]], value: str
) -> str:
    """A group of bars a head, a bar a kind of box: {kind: {head: score}} with {kind: {head: [low, high]}}."""
    kinds = list(scores)
    heads = list(scores[kinds[0]])
    width = 0.8 / len(kinds)
    with _figure(1.8 + 1.5 * len(heads), 3.4) as figure:
        axes = figure.add_subplot()
        for place, (kind, colour) in enumerate(zip(kinds, _COLOURS, strict=False)):
            x = np.arange(len(heads)) + (place - (len(kinds) - 1) / 2) * width
            y = np.array([scores[kind][head] for head in heads])
            bounds = np.array([intervals[kind][head] for head in heads]).T
            axes.bar(x, y, width * 0.92, color=colour, label=kind)
            axes.errorbar(
                x, y, yerr=[y - bounds[0], bounds[1] - y], fmt="none", ecolor="#333", capsize=2, linewidth=1
            )
        floor = min(bounds[0] for kind in kinds for bounds in intervals[kind].values())
        axes.set_ylim(max(0.0, np.floor(10 * (floor - 0.03)) / 10), 1)
        axes.set_xticks(range(len(heads)), heads)
        axes.set_ylabel(value)
        axes.legend(fontsize=8.5, frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, 1.2))
        return _svg(figure, "The same classifiers given other boxes")


def curves(drawn: Sequence[Curve], title: str, along: str) -> str:
    """Values over epochs: raw ones faint, smoothed ones strong."""
    with _figure(5.6, 3.4) as figure:
        axes = figure.add_subplot()
        for curve in drawn:
            colour, line = _COLOURS[curve.colour % len(_COLOURS)], "--" if curve.dashed else "-"
            axes.plot(curve.epochs, curve.raw, "o-", color=colour, alpha=0.3, linewidth=1, markersize=3)
            axes.plot(curve.epochs, curve.smooth, line, color=colour, linewidth=1.8, label=curve.name)
        axes.set_xlabel(along)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8, frameon=False)
        return _svg(figure, title)


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches in the report's style."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def _svg(figure: Figure, title: str) -> str:
    """A figure as an SVG element, which says what it shows to those who do not see it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Title": title}, transparent=True)
    # Several figures stand in one page: their ids must differ.
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    svg = re.sub(r'(id="|xlink:href="#|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _words(label: str) -> str:
    return label.replace("_", " ").replace("$", r"\$")  # matplotlib reads formulas between dollars
