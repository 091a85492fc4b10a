"""The report's tables and figure of what boxes hold of known lesions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from leafzoom.drawing import draw_box, zoom_tiles
from leafzoom.evaluation import figures
from leafzoom.evaluation.bootstrap import Interval
from leafzoom.evaluation.gallery import data_uri
from leafzoom.evaluation.lesion_coverage import BoxCoverage, LesionCoverage, LesionExample
from leafzoom.photo import read_photo

__all__ = ["ExampleItem", "LesionTables", "lesion_tables"]

_KIND_NAMES = {
    "activation": "around the first look's maximum",
    "evidence": "around the last look's maximum",
}
_TILE_HEIGHT_PX = 200
_LINE_PX = 3
_LESION_COLOUR = "#ffffff"


@dataclass(frozen=True)
class LesionTables:
    """What the report shows: rows of cells, and the figure as SVG; see `LesionCoverage`."""

    photographs: int
    lesions: int
    left_out: int
    rows: tuple[tuple[str, ...], ...]
    label_rows: tuple[tuple[str, ...], ...]
    figure: str
    examples: tuple[ExampleItem, ...]


@dataclass(frozen=True)
class ExampleItem:
    """A photograph: data URIs of it with its lesions and boxes, then of every look."""

    image_name: str
    answer: str
    images: tuple[str, ...]


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
        examples=tuple(_example_item(example) for example in coverage.examples),
    )


def _example_item(example: LesionExample) -> ExampleItem:
    """A photograph with its known lesions and the boxes, then every look."""
    prediction = example.prediction
    assert prediction.original is not None
    assert prediction.evidence is not None
    image = read_photo(prediction.original)
    for box in example.lesions.tolist():
        draw_box(image, box, _LESION_COLOUR, max(1, image.height // _TILE_HEIGHT_PX))

    boxes = [scale.box for scale in prediction.scales[1:]]
    if prediction.evidence.closest_box is not None:
        boxes.append(prediction.evidence.closest_box)
    tiles = zoom_tiles(image, boxes, height=_TILE_HEIGHT_PX, line_px=_LINE_PX)
    name = PurePath(prediction.photo).name
    return ExampleItem(name, prediction.summary, tuple(data_uri(tile) for tile in tiles))


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
