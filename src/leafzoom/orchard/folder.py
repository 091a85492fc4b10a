"""An orchard report in the folder of the results."""

from __future__ import annotations

from pathlib import Path

from leafzoom.errors import MissingExtraError
from leafzoom.orchard.exports import groups_csv, map_geojson
from leafzoom.orchard.page import orchard_page
from leafzoom.orchard.report import OrchardReport
from leafzoom.orchard.workbook import write_workbook
from leafzoom.storage import write_text

__all__ = ["remove_report", "write_report"]

_PAGE = "orchard.html"
_GROUPS = "groups.csv"
_WORKBOOK = "report.xlsx"
_MAP = "map.geojson"


def remove_report(folder: Path) -> bool:
    """Remove the report of earlier results, which may show places that are now left out.

    Args:
        folder: of the results. Without orchard.html in it, nothing is removed.

    Returns:
        Whether there was one.
    """
    if not (folder / _PAGE).is_file():
        return False
    for name in (_GROUPS, _WORKBOOK, _MAP, _PAGE):
        (folder / name).unlink(missing_ok=True)
    return True


def write_report(folder: Path, report: OrchardReport, *, location: bool) -> list[str]:
    """Write orchard.html, groups.csv, report.xlsx, and map.geojson where photos have a place.

    A map or a workbook of earlier results is removed: it is not of these photos.

    Args:
        folder: of the results.
        report: what is written.
        location: whether places are kept: without, there is no map.

    Returns:
        Lines for people: what was written, and what was not.

    Raises:
        LeafzoomError: a file cannot be written.
    """
    write_text(folder / _PAGE, orchard_page(report, draw_map=location))
    write_text(folder / _GROUPS, groups_csv(report))
    written = [_PAGE, _GROUPS]
    missing = []

    places = map_geojson(report) if location else None
    if places is not None:
        write_text(folder / _MAP, places)
        written.append(_MAP)
    else:
        (folder / _MAP).unlink(missing_ok=True)

    try:
        write_workbook(folder / _WORKBOOK, report)
        written.append(_WORKBOOK)
    except MissingExtraError as error:
        (folder / _WORKBOOK).unlink(missing_ok=True)
        missing.append(f"no {_WORKBOOK}: {error}")
    return [f"{folder}: {', '.join(written)}", *missing]
