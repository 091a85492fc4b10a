"""An orchard report for other programs: groups.csv, and map.geojson for QGIS."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

from leafzoom.inference.formats import spreadsheet_cell
from leafzoom.orchard.prevalence import Share
from leafzoom.orchard.report import GroupShares, OrchardReport

__all__ = ["GROUP_COLUMNS", "group_rows", "groups_csv", "map_geojson"]

GROUP_COLUMNS = (
    "by",
    "group",
    "photos",
    "leaves",
    "unsure",
    "not_a_leaf",
    "failed",
    "label",
    "labelled",
    "share",
    "low",
    "high",
    "more_leaves",
    "corrected",
)
"""Of groups.csv: a row a group and label; `low` and `high` are of the 95 % interval."""

_DIGITS = 4

Cell = str | int | float | None


def group_rows(report: OrchardReport) -> Iterator[tuple[Cell, ...]]:
    """The rows of groups.csv, of all groupings."""
    for group in report.groups:
        for share in group.shares:
            yield _row(group, share, corrected=not report.uncorrected)


def _row(group: GroupShares, share: Share, *, corrected: bool) -> tuple[Cell, ...]:
    known = share.value is not None
    return (
        group.by,
        group.name,
        len(group.photos),
        group.leaves,
        len(group.having("unsure")),
        len(group.having("not_a_leaf")),
        len(group.having("failed")),
        share.label,
        share.labelled,
        None if share.value is None else round(share.value, _DIGITS),
        round(share.low, _DIGITS) if known else None,
        round(share.high, _DIGITS) if known else None,
        share.more_leaves,
        "yes" if corrected else "no",
    )


def groups_csv(report: OrchardReport) -> str:
    """The text of groups.csv; an empty cell is unknown."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(GROUP_COLUMNS)
    for row in group_rows(report):
        writer.writerow([spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return file.getvalue()


def map_geojson(report: OrchardReport) -> str | None:
    """The text of map.geojson (RFC 7946): a point a photo; None if no photo has a place."""
    features = []
    for photo in report.photos:
        place = [photo.exif.longitude, photo.exif.latitude]
        if None in place:
            continue

        properties = {
            "photo": photo.name,
            "taken": photo.exif.taken,
            "verdict": photo.verdict,
            "labels": " ".join(photo.labels),
            "confidence": photo.confidence,
            **dict(zip(report.groupings, photo.groups, strict=True)),
            "picture": photo.picture,
        }
        geometry = {"type": "Point", "coordinates": place}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})

    if not features:
        return None
    collection = {"type": "FeatureCollection", "name": "photos", "features": features}
    return json.dumps(collection, ensure_ascii=False) + "\n"
