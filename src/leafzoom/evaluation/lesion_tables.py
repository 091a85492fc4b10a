"""The report's tables and figure of what boxes hold of known lesions."""

from __future__ import annotations

from dataclasses import dataclass

from leafzoom.evaluation import figures
from leafzoom.evaluation.bootstrap import Interval
from leafzoom.evaluation.lesion_coverage import BoxCoverage, LesionCoverage

__all__ = ["LesionTables", "lesion_tables"]

_KIND_NAMES = {"activation": "around the activation's maximum"}


@dataclass(frozen=True)
class LesionTables:
    """What the report shows: rows of cells, and the figure as SVG; see `LesionCoverage`."""

    photographs: int
    lesions: int
    left_out: int
    rows: tuple[tuple[str, ...], ...]
    label_rows: tuple[tuple[str, ...], ...]
    figure: str


def lesion_tables(coverage: LesionCoverage) -> LesionTables:
    """The tables of what boxes hold: by look and kind of box, and by label."""
    rows = []
    for look, kinds in coverage.looks.items():
        for kind, held in kinds.items():
            rows.append((look, _KIND_NAMES.get(kind, kind), *_cells(held)))

    label_rows = []
    for label, looks in coverage.by_label.items():
        for look, held in looks.items():
            label_rows.append((label.replace("_", " "), look, *_cells(held)))
    return LesionTables(
        photographs=coverage.photographs,
        lesions=coverage.lesions,
        left_out=coverage.left_out,
        rows=tuple(rows),
        label_rows=tuple(label_rows),
        figure=_figure(coverage),
    )


def _figure(coverage: LesionCoverage) -> str:
    """Bars of the photographs with a lesion inside: a group a look, a bar a kind of box."""
    shares: dict[str, dict[str, float]] = {}
    intervals: dict[str, dict[str, Interval]] = {}
    for look, kinds in coverage.looks.items():
        for kind, held in kinds.items():
            name = f"{look} ({held.area:.0%} of the photo)"
            shares.setdefault(kind, {})[name] = held.any_inside
            intervals.setdefault(kind, {})[name] = Interval(*held.any_inside_interval)
    return figures.zoom_value_bars(
        shares, intervals, "photographs with a lesion inside", "What boxes of each look hold"
    )


def _cells(held: BoxCoverage) -> tuple[str, ...]:
    """The area, then each share with its interval."""
    return (
        f"{held.area:.1%}",
        _share(held.lesions_inside, held.lesions_inside_interval),
        _share(held.any_inside, held.any_inside_interval),
        _share(held.centre_hits, held.centre_hits_interval),
    )


def _share(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
