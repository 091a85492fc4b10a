"""The rows of the report's tables, with their numbers as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leafzoom.evaluation.bootstrap import Difference, Interval
from leafzoom.evaluation.box_kinds import BoxKind
from leafzoom.evaluation.evaluate import Evaluation, verdict_counts
from leafzoom.evaluation.group_scores import GroupScores
from leafzoom.evaluation.other_pictures import OtherPictures
from leafzoom.evaluation.pointing import PointingGame
from leafzoom.evaluation.uncertainty import Uncertainty
from leafzoom.evaluation.zoom_value import ZoomValue
from leafzoom.metrics import HeadMetrics, Score

__all__ = [
    "Card",
    "DifferenceRow",
    "GroupTable",
    "HeadRow",
    "LabelRow",
    "LabelTable",
    "OtherPictureRow",
    "PointingRow",
    "VerdictRow",
    "ZoomRow",
    "ZoomTables",
    "cards",
    "difference_rows",
    "group_table",
    "head_rows",
    "label_tables",
    "other_picture_rows",
    "verdict_rows",
    "zoom_tables",
]

_AVERAGES = ("micro", "macro", "weighted", "samples")


@dataclass(frozen=True)
class Card:
    """A score in large type: its name with the interval, its value, and what it means."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class HeadRow:
    """A head's scores at threshold 0.5, then with the decision of `predict`."""

    head: str
    exact: str
    exact_interval: str
    micro: str
    macro: str
    map: str
    exact_fitted: str
    exact_fitted_interval: str
    micro_fitted: str
    macro_fitted: str


@dataclass(frozen=True)
class DifferenceRow:
    """The difference of two heads' exact matches, at threshold 0.5 and as `predict` decides."""

    pair: str
    plain: str
    plain_interval: str
    fitted: str
    fitted_interval: str


@dataclass(frozen=True)
class VerdictRow:
    """How many photographs get a verdict, their share, and the exact match of their answers."""

    verdict: str
    photographs: str
    share: str
    exact_match: str


@dataclass(frozen=True)
class OtherPictureRow:
    """A kind of other pictures: how many there are, and the share of every verdict."""

    kind: str
    pictures: str
    not_a_leaf: str
    unsure: str
    diagnosed: str


@dataclass(frozen=True)
class GroupTable:
    """The scores by group: the column, the interval over groups, and a row of cells a group."""

    column: str
    interval: str
    mean: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class LabelRow:
    """A label's scores (or an average's): both decisions, the interval of F1, the support."""

    name: str
    is_average: bool
    cells: tuple[str, ...]


@dataclass(frozen=True)
class LabelTable:
    """A head's scores by label: tables 1-6 of the paper."""

    head: str
    rows: tuple[LabelRow, ...]


@dataclass(frozen=True)
class ZoomRow:
    """The gain of learned boxes over one other kind, a cell a head."""

    kind: BoxKind
    cells: tuple[str, ...]


@dataclass(frozen=True)
class PointingRow:
    """The hit rates of one kind of box and the gain over it, a pair a scale."""

    kind: BoxKind
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ZoomTables:
    """The tables of the zoom value and of the pointing game.

    `rows` have a cell for each of `heads`, `pointing_rows` one for each of `scales`.
    """

    photographs: int
    heads: tuple[str, ...]
    rows: tuple[ZoomRow, ...]
    pointing_photographs: int
    scales: tuple[str, ...]
    pointing_rows: tuple[PointingRow, ...]


def cards(evaluation: Evaluation, uncertainty: Uncertainty) -> list[Card]:
    """The scores of the report's head with the decision of `predict`."""
    metrics = evaluation.heads_fitted[evaluation.head]
    intervals = uncertainty.heads_fitted.intervals[evaluation.head]
    if metrics.top1 is not None:
        return [
            Card(
                f"top-1 accuracy ({_interval(intervals.exact_match)})",
                f"{metrics.top1:.3f}",
                "the most probable class is right",
            ),
            Card(
                f"macro F1 ({_interval(intervals.macro_f1)})",
                f"{metrics.macro.f1:.3f}",
                "the classes' mean, rare ones alike",
            ),
        ]
    return [
        Card(
            f"exact match ({_interval(intervals.exact_match)})",
            f"{metrics.exact_match:.3f}",
            "all labels of a photograph right",
        ),
        Card(
            f"micro F1 ({_interval(intervals.micro_f1)})",
            f"{metrics.micro.f1:.3f}",
            "over all labels, given or predicted",
        ),
        Card(
            f"macro F1 ({_interval(intervals.macro_f1)})",
            f"{metrics.macro.f1:.3f}",
            "the labels' mean, rare ones alike",
        ),
    ]


def head_rows(evaluation: Evaluation, uncertainty: Uncertainty) -> list[HeadRow]:
    """A row a head."""
    rows = []
    for head, plain in evaluation.heads.items():
        fitted = evaluation.heads_fitted[head]
        plain_intervals = uncertainty.heads.intervals[head]
        fitted_intervals = uncertainty.heads_fitted.intervals[head]

        row = HeadRow(
            head=head,
            exact=f"{plain.exact_match:.3f}",
            exact_interval=_interval(plain_intervals.exact_match),
            micro=f"{plain.micro.f1:.3f}",
            macro=f"{plain.macro.f1:.3f}",
            map=f"{plain.map:.3f}",
            exact_fitted=f"{fitted.exact_match:.3f}",
            exact_fitted_interval=_interval(fitted_intervals.exact_match),
            micro_fitted=f"{fitted.micro.f1:.3f}",
            macro_fitted=f"{fitted.macro.f1:.3f}",
        )
        rows.append(row)
    return rows


def difference_rows(evaluation: Evaluation, uncertainty: Uncertainty) -> list[DifferenceRow]:
    """The report's head against every head before it, the others against the first scale."""
    rows = []
    both = zip(uncertainty.heads.differences, uncertainty.heads_fitted.differences, strict=True)
    for plain, fitted in both:
        if plain.head != evaluation.head and plain.reference != "scale1":
            continue

        row = DifferenceRow(
            pair=f"{plain.head} \N{MINUS SIGN} {plain.reference}",
            plain=f"{plain.exact_match.value:+.3f}",
            plain_interval=_interval(plain.exact_match.interval, "+"),
            fitted=f"{fitted.exact_match.value:+.3f}",
            fitted_interval=_interval(fitted.exact_match.interval, "+"),
        )
        rows.append(row)

    # The report's head against the finest scales and fusions comes first.
    return rows[::-1]


def verdict_rows(evaluation: Evaluation) -> list[VerdictRow]:
    """A row a verdict."""
    rows = []
    for verdict, count in verdict_counts(evaluation).items():
        share = count.photographs / len(evaluation.image_names)
        exact_match = "" if count.exact_match is None else f"{count.exact_match:.1%}"
        rows.append(
            VerdictRow(
                verdict.replace("_", " "), str(count.photographs), f"{share:.1%}", exact_match
            )
        )
    return rows


def other_picture_rows(others: Sequence[OtherPictures]) -> list[OtherPictureRow]:
    """A row a kind of picture."""
    rows = []
    for other in others:
        counts = (other.not_a_leaf, other.unsure, other.diagnosed)
        shares = [f"{count / other.pictures:.1%}" if other.pictures else "" for count in counts]
        rows.append(OtherPictureRow(other.kind, str(other.pictures), *shares))
    return rows


def group_table(scores: GroupScores) -> GroupTable:
    """A row a group, the worst first."""
    by_score = sorted(scores.groups.items(), key=lambda item: (item[1].exact_match, item[0]))
    rows = []
    for name, group in by_score:
        values = (group.exact_match, group.micro_f1, group.macro_f1)
        rows.append((name, str(group.photographs), *(f"{value:.3f}" for value in values)))
    return GroupTable(
        column=scores.column,
        interval=_interval(scores.interval) if scores.interval else "",
        mean=f"{scores.mean_exact_match:.3f}",
        rows=tuple(rows),
    )


def label_tables(evaluation: Evaluation, uncertainty: Uncertainty) -> list[LabelTable]:
    """A table a head."""
    tables = []
    for head, plain in evaluation.heads.items():
        fitted = evaluation.heads_fitted[head]
        intervals = uncertainty.heads_fitted.intervals[head].per_label_f1
        rows = _label_rows(plain, fitted, intervals) + _average_rows(plain, fitted)
        tables.append(LabelTable(head, tuple(rows)))
    return tables


def zoom_tables(zoom_value: ZoomValue) -> ZoomTables:
    """The gains of learned boxes, and the pointing game where lesions are known."""
    # A row a kind of box: how much better the learned boxes score, head by head.
    heads = tuple(zoom_value.exact_match["learned"])
    rows = []
    for kind, gain in zoom_value.gain.items():
        cells = tuple(_difference(gain[head]) for head in heads)
        rows.append(ZoomRow(kind, cells))

    # The pointing game; empty without known lesions.
    pointing = zoom_value.pointing
    return ZoomTables(
        photographs=zoom_value.photographs,
        heads=heads,
        rows=tuple(rows),
        pointing_photographs=pointing.photographs,
        scales=tuple(pointing.hit_rates.get("learned", ())),
        pointing_rows=tuple(_pointing_row(pointing, kind) for kind in pointing.hit_rates),
    )


def _label_rows(
    plain: HeadMetrics, fitted: HeadMetrics, intervals: Mapping[str, Interval]
) -> list[LabelRow]:
    """A row a label."""
    rows = []
    for label, score in plain.per_label.items():
        cells = (
            *_score_cells(score),
            *_score_cells(fitted.per_label[label]),
            _interval(intervals[label]),
            str(score.support),
        )
        rows.append(LabelRow(label.replace("_", " "), False, cells))
    return rows


def _average_rows(plain: HeadMetrics, fitted: HeadMetrics) -> list[LabelRow]:
    """A row an average, without an interval."""
    rows = []
    for average in _AVERAGES:
        plain_score: Score = getattr(plain, average)
        fitted_score: Score = getattr(fitted, average)
        cells = (
            *_score_cells(plain_score),
            *_score_cells(fitted_score),
            "",
            str(plain_score.support),
        )
        rows.append(LabelRow(f"{average} average", True, cells))
    return rows


def _pointing_row(pointing: PointingGame, kind: BoxKind) -> PointingRow:
    """The hit rate and, except for learned boxes, the gain over it, of every scale."""
    cells = []
    for scale, hit_rate in pointing.hit_rates[kind].items():
        interval = _interval(pointing.intervals[kind][scale])

        # Learned boxes have no gain over themselves.
        gain = _difference(pointing.gain[kind][scale]) if kind in pointing.gain else ""
        cells.append((f"{hit_rate:.3f} ({interval})", gain))
    return PointingRow(kind, tuple(cells))


def _score_cells(score: Score) -> tuple[str, str, str]:
    return f"{score.precision:.3f}", f"{score.recall:.3f}", f"{score.f1:.3f}"


def _difference(difference: Difference) -> str:
    return f"{difference.value:+.3f} ({_interval(difference.interval, '+')})"


def _interval(interval: Interval, sign: str = "") -> str:
    return f"{interval.low:{sign}.3f} to {interval.high:{sign}.3f}"
