"""An orchard report as an Excel file, written by openpyxl where it is installed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from leafzoom.errors import needs_extra
from leafzoom.orchard.exports import GROUP_COLUMNS, group_rows
from leafzoom.orchard.report import OrchardReport
from leafzoom.storage import replacing

__all__ = ["write_workbook"]

_PHOTO_COLUMNS = ("photo", "verdict", "labels", "confidence", "taken", "camera")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_MAX_CELL_LENGTH = 32_767
_MAX_ROWS = 1_048_575  # below the header
_PERCENT_COLUMNS = ("share", "low", "high", "confidence")
_WIDTH = 18


def write_workbook(path: Path, report: OrchardReport) -> None:
    """Write a sheet of groups and one of photos, without places.

    Texts are cells of text, so that no name becomes a formula.

    Raises:
        MissingExtraError: openpyxl is not installed.
        LeafzoomError: the file cannot be written.
    """
    with needs_extra("office", f"writing {path.name}"):
        from openpyxl import Workbook

    book = Workbook(write_only=True)
    _add_sheet(book, "Groups", GROUP_COLUMNS, group_rows(report))
    photos = (
        (
            *(photo.name, photo.verdict, " ".join(photo.labels), photo.confidence),
            *(photo.exif.taken, photo.exif.camera, *photo.groups),
        )
        for photo in report.photos
    )
    columns = (*_PHOTO_COLUMNS, *report.groupings)
    _add_sheet(book, "Photos", columns, photos)
    with replacing(path) as temporary:
        book.save(temporary)


def _add_sheet(
    book: Any, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """A sheet with a heading that stays in view."""
    from openpyxl.utils import get_column_letter

    sheet = book.create_sheet(title)
    sheet.freeze_panes = "A2"
    for number in range(1, len(columns) + 1):
        sheet.column_dimensions[get_column_letter(number)].width = _WIDTH

    sheet.append([_cell(sheet, column, "") for column in columns])
    for count, row in enumerate(rows):
        if count == _MAX_ROWS:
            break
        sheet.append(
            [_cell(sheet, value, column) for value, column in zip(row, columns, strict=True)]
        )


def _cell(sheet: Any, value: object, column: str) -> Any:
    """A cell; a text is one of the type string, also where it starts like a formula."""
    from openpyxl.cell import WriteOnlyCell

    if not isinstance(value, str):
        cell = WriteOnlyCell(sheet, value)
        if column in _PERCENT_COLUMNS:
            cell.number_format = "0.0%"
        return cell

    text = _CONTROL_CHARACTERS.sub("?", value)[:_MAX_CELL_LENGTH]
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"
    cell.quotePrefix = True  # a later edit of the cell makes no formula of it either
    return cell
