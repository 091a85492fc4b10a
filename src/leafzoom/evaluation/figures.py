"""The report's figures, as SVG elements for a page.

The colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve

from leafzoom.evaluation.bootstrap import Interval
from leafzoom.evaluation.figure_fonts import use_installed_fonts
from leafzoom.labels import LabelSet

__all__ = [
    "CalibrationBins",
    "Curve",
    "bars",
    "calibration",
    "calibration_bins",
    "confusion",
    "curves",
    "most_missed",
    "precision_recall",
    "zoom_value_bars",
]

_KindOfBox = TypeVar("_KindOfBox", bound=str)

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
_CALIBRATION_BINS = 10
_MAX_BARS = 40
_MAX_PANEL_COLUMNS = 3
_WHITE_TEXT_FROM = 0.55  # share of a cell of the confusion matrix, on a dark blue
_NORMAL_95_PERCENT = 1.96  # half width of a 95 % interval in standard deviations


@dataclass(frozen=True)
class Curve:
    """One line over epochs, raw and smoothed; `colour`: an index into the figure's colours."""

    name: str
    epochs: list[int]
    raw: list[float]
    smooth: list[float]
    colour: int
    dashed: bool


@dataclass(frozen=True)
class CalibrationBins:
    """Photographs in bins by the confidence of their answers.

    `confidence`, `accuracy`: the mean of each bin, [K]. `sizes`: photographs of each bin, [K].
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    sizes: NDArray[np.int64]

    @property
    def mean_gap(self) -> float:
        """The expected calibration error: the mean gap between confidence and accuracy."""
        gaps = np.abs(self.confidence - self.accuracy)
        return float(np.average(gaps, weights=self.sizes))


def calibration_bins(
    confidence: NDArray[np.floating], is_correct: NDArray[np.bool_]
) -> CalibrationBins:
    """Sort answers [N] by confidence into ten bins of equally many photographs."""
    order = np.argsort(confidence, kind="stable")
    bins = [rows for rows in np.array_split(order, _CALIBRATION_BINS) if len(rows)]
    return CalibrationBins(
        confidence=np.array([confidence[rows].mean() for rows in bins]),
        accuracy=np.array([is_correct[rows].mean() for rows in bins]),
        sizes=np.array([len(rows) for rows in bins]),
    )


def calibration(bins: CalibrationBins) -> str:
    """How often answers are right against their confidence, with 95 % intervals of the shares."""
    accuracy = bins.accuracy

    # The normal interval of a share, cut off at 0 and 1.
    variance = np.maximum(accuracy * (1 - accuracy), 1e-9) / bins.sizes
    half_width = _NORMAL_95_PERCENT * np.sqrt(variance)
    below = np.minimum(half_width, accuracy)
    above = np.minimum(half_width, 1 - accuracy)

    # The dashed diagonal is where a well calibrated model's points lie.
    with _figure(4.2, 3.8) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#aaa", linewidth=1, linestyle="--")
        axes.errorbar(
            bins.confidence,
            accuracy,
            yerr=[below, above],
            fmt="o-",
            color=_COLOURS[0],
            capsize=3,
            linewidth=1.4,
        )
        axes.set(
            xlim=(0, 1.02),
            ylim=(0, 1.02),
            xlabel="confidence",
            ylabel="accuracy",
        )
        return _svg(figure, "Calibration of the answer")


def bars(counts: Mapping[str, int], title: str) -> str:
    """A horizontal bar with its count for each name, in the given order from the top.

    Of more than 40 names, the last bar stands for all others.
    """
    counts = _limit_bars(counts)
    names = [_plain_text(name) for name in counts]

    with _figure(5.6, 0.7 + 0.3 * len(names)) as figure:
        axes = figure.add_subplot()
        bar_patches = axes.barh(
            range(len(names)), list(counts.values()), color=_COLOURS[0], height=0.72
        )

        # Counts at the bars' ends.
        texts = [f"{count:,}" for count in counts.values()]
        axes.bar_label(bar_patches, texts, padding=4, fontsize=9, color="#333")

        # The first name at the top; no axis of counts, which stand at the bars.
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.14)
        axes.set_title(title, fontsize=10, loc="left", color="#333")
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        return _svg(figure, title)


def most_missed(
    targets: NDArray[np.integer], answers: NDArray[np.integer], most: int
) -> NDArray[np.intp]:
    """The labels with the most wrong answers (missed, or given in place of another), ascending.

    Args:
        targets, answers: [N, L], 0 or 1.
        most: how many labels at most; with no more there are all of them.

    >>> most_missed(np.eye(3, dtype=int), np.eye(3, dtype=int)[[0, 2, 1]], 2).tolist()
    [1, 2]
    """
    errors = (np.asarray(targets) != np.asarray(answers)).sum(axis=0)
    return np.sort(np.argsort(-errors, kind="stable")[:most])


def precision_recall(
    targets: NDArray[np.integer],
    probabilities: Mapping[str, NDArray[np.floating]],
    labels: Sequence[str],
) -> str:
    """Precision against recall: a panel a label, a line a head, average precision as legend."""
    columns = min(_MAX_PANEL_COLUMNS, len(labels))
    rows = -(-len(labels) // columns)

    with _figure(3.3 * columns, 3.0 * rows) as figure:
        for index, label in enumerate(labels):
            axes = figure.add_subplot(rows, columns, index + 1)
            label_targets = targets[:, index]
            axes.set_title(f"{_plain_text(label)} ({int(label_targets.sum())})", fontsize=10)
            axes.set(xlim=(0, 1.01), ylim=(0, 1.01))

            # Only the outer panels name their axes.
            axes.set_xlabel("recall" if index >= len(labels) - columns else "")
            axes.set_ylabel("precision" if index % columns == 0 else "")

            label_probabilities = {head: values[:, index] for head, values in probabilities.items()}
            _draw_precision_recall(axes, label_targets, label_probabilities)
        return _svg(figure, "Precision-recall curves of every label")


def confusion(targets: NDArray[np.integer], answers: NDArray[np.integer], labels: LabelSet) -> str:
    """How often each combination of labels (row) gets which answer (column).

    Combinations that do not occur are left out, the others sorted by their frequency. Targets that
    are no known combination are in a row of their own.
    """
    # Labels and answers that are no known combination come last.
    counts = _confusion_counts(targets, answers, labels)
    names = [_combination_name(labels, combination) for combination in labels.combinations]
    names.append("another")

    # Known combinations that are only predicted are shown too, at the end.
    row_sums = counts.sum(axis=1)
    occurs = row_sums > 0
    occurs[:-1] |= counts[:, :-1].sum(axis=0) > 0
    order = sorted(np.flatnonzero(occurs), key=lambda index: -row_sums[index])
    counts = counts[np.ix_(order, order)]
    names = [names[index] for index in order]

    with _figure(1.6 + 0.62 * len(order), 1.9 + 0.5 * len(order)) as figure:
        axes = figure.add_subplot()
        _draw_confusion(axes, counts)

        # Each row says how many photographs it stands for.
        ticks = range(len(order))
        row_totals = counts.sum(axis=1)
        row_names = [f"{name} ({total})" for name, total in zip(names, row_totals, strict=True)]
        axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, row_names)
        axes.set(xlabel="prediction", ylabel="label")
        axes.spines[:].set_visible(False)
        return _svg(figure, "Confusion matrix of the combinations of labels")


def zoom_value_bars(
    scores: Mapping[_KindOfBox, Mapping[str, float]],
    intervals: Mapping[_KindOfBox, Mapping[str, Interval]],
    value: str,
    title: str = "The same classifiers given other boxes",
) -> str:
    """A group of bars a head, a bar a kind of box.

    Args:
        scores: {kind: {head: score}}.
        intervals: {kind: {head: interval}}.
        value: the name of the scores.
        title: of the figure, for screen readers.
    """
    # A group takes 0.8 of the distance between two heads, the rest is the gap.
    kinds = list(scores)
    heads = list(scores[kinds[0]])
    width = 0.8 / len(kinds)

    with _figure(1.8 + 1.5 * len(heads), 3.4) as figure:
        axes = figure.add_subplot()
        lowest = 1.0
        for index, (kind, colour) in enumerate(zip(kinds, _COLOURS, strict=False)):
            # The bars of a group stand side by side, centred on the head's tick.
            x = np.arange(len(heads)) + (index - (len(kinds) - 1) / 2) * width
            y = np.array([scores[kind][head] for head in heads])
            low = np.array([intervals[kind][head].low for head in heads])
            high = np.array([intervals[kind][head].high for head in heads])

            axes.bar(x, y, width * 0.92, color=colour, label=kind)
            errors = [y - low, high - y]
            axes.errorbar(x, y, yerr=errors, fmt="none", ecolor="#333", capsize=2, linewidth=1)
            lowest = min(lowest, low.min())

        # The axis starts a little below the lowest interval, at a tenth.
        axes.set_ylim(max(0.0, np.floor(10 * (lowest - 0.03)) / 10), 1)
        axes.set_xticks(range(len(heads)), heads)
        axes.set_ylabel(value)
        axes.legend(fontsize=8.5, frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, 1.2))
        return _svg(figure, title)


def curves(drawn: Sequence[Curve], title: str, x_label: str) -> str:
    """Values over epochs: raw ones faint, smoothed ones strong."""
    with _figure(5.6, 3.4) as figure:
        axes = figure.add_subplot()
        for curve in drawn:
            colour = _COLOURS[curve.colour % len(_COLOURS)]
            axes.plot(
                curve.epochs, curve.raw, "o-", color=colour, alpha=0.3, linewidth=1, markersize=3
            )
            line = "--" if curve.dashed else "-"
            axes.plot(
                curve.epochs, curve.smooth, line, color=colour, linewidth=1.8, label=curve.name
            )

        # Epochs are whole numbers.
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8, frameon=False)
        return _svg(figure, title)


def _limit_bars(counts: Mapping[str, int]) -> Mapping[str, int]:
    """The counts, the last ones summed up where there are more than _MAX_BARS."""
    if len(counts) <= _MAX_BARS:
        return counts

    first_counts = dict(list(counts.items())[: _MAX_BARS - 1])
    remaining = sum(counts.values()) - sum(first_counts.values())
    return {**first_counts, f"{len(counts) - len(first_counts)} others": remaining}


def _draw_precision_recall(
    axes: Axes, targets: NDArray[np.integer], probabilities: Mapping[str, NDArray[np.floating]]
) -> None:
    """One label's curves: targets [N], {head: probabilities [N]}."""
    # Without a photograph that has the label, there is no recall.
    if not targets.any():
        axes.text(0.5, 0.5, "no photograph has it", ha="center", color="#777")
        return

    for (head, values), colour in zip(probabilities.items(), _COLOURS, strict=False):
        precision, recall, _ = precision_recall_curve(targets, values)
        area = average_precision_score(targets, values)
        axes.plot(recall, precision, color=colour, linewidth=1.6, label=f"{head} {area:.3f}")
    axes.legend(loc="lower left", fontsize=7.5, frameon=False)


def _confusion_counts(
    targets: NDArray[np.integer], answers: NDArray[np.integer], labels: LabelSet
) -> NDArray[np.int64]:
    """Counts [C + 1, C + 1] of (target, answer) combinations; the last: no known combination."""
    unknown = len(labels.combinations)
    index_by_combination = {
        combination: index for index, combination in enumerate(labels.combinations)
    }

    counts = np.zeros((unknown + 1, unknown + 1), np.int64)
    for target, answer in zip(targets.tolist(), answers.tolist(), strict=True):
        row = index_by_combination.get(tuple(target), unknown)
        column = index_by_combination.get(tuple(answer), unknown)
        counts[row, column] += 1
    return counts


def _combination_name(labels: LabelSet, combination: Sequence[int]) -> str:
    """A combination's labels with plus signs, or "none"."""
    names = [_plain_text(label) for label in labels.decode(np.array(combination))]
    return " + ".join(names) or "none"


def _draw_confusion(axes: Axes, counts: NDArray[np.int64]) -> None:
    """Shares of each row as shades, with the counts."""
    # Shades are shares of a row, so that rare combinations can be read too.
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")

    for row, column in np.argwhere(counts > 0):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            color="white" if shares[row, column] > _WHITE_TEXT_FROM else "#222",
            fontsize=9,
        )


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A figure in the report's style; width and height in inches."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def _svg(figure: Figure, title: str) -> str:
    """A figure as an SVG element, with its title for screen readers."""
    use_installed_fonts(figure)

    # Without the date, so that files do not differ, and without the XML header, to stand in HTML.
    content = io.StringIO()
    metadata = {"Date": None, "Title": title}
    figure.savefig(content, format="svg", metadata=metadata, transparent=True)
    document = content.getvalue()
    svg = document[document.index("<svg") :]

    # A page holds several figures, whose ids must differ.
    prefix = re.sub(r"\W+", "-", title.lower())
    svg = re.sub(r'(id="|xlink:href="#|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _plain_text(label: str) -> str:
    """A label for matplotlib, which reads formulas between dollars."""
    return label.replace("_", " ").replace("$", r"\$")
