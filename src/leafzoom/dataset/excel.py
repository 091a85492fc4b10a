"""The cells of an Excel file, read by openpyxl where it is installed."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from leafzoom.errors import DataError, MissingExtraError, needs_extra

__all__ = ["ExcelSheet", "read_excel"]

_MAX_UNPACKED_BYTES = 2**28
_MAX_ROWS = 1_000_000
_MAX_COLUMNS = 1000


@dataclass(frozen=True)
class ExcelSheet:
    """The rows of a sheet, (number, cells) each, and which sheet it is."""

    rows: tuple[tuple[int, tuple[str, ...]], ...]
    description: str


def read_excel(path: Path, content: bytes) -> ExcelSheet:
    """The first sheet of an Excel file that has any text.

    Args:
        path: of the file, for messages.
        content: of the file, a ZIP archive.

    Raises:
        DataError: the file is damaged, no Excel file, or far too large.
        MissingExtraError: openpyxl is not installed.
    """
    try:
        with needs_extra("excel", f"reading {path}"):
            from openpyxl import load_workbook
    except MissingExtraError as error:
        raise MissingExtraError(f"{error}; or save it as CSV UTF-8") from None

    # The library has no limits of its own, and a small archive can hold gigabytes.
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise _damaged(path, error) from error
    if size > _MAX_UNPACKED_BYTES:
        raise DataError(
            f"the table {path} unpacks to {size} bytes and at most {_MAX_UNPACKED_BYTES} are read: "
            "save it as CSV UTF-8"
        )

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
            return _first_filled(book.worksheets)
    except DataError:
        raise
    except Exception as error:  # a damaged file ends the library in many ways
        raise _damaged(path, error) from error


def _first_filled(sheets: Sequence[Any]) -> ExcelSheet:
    """The first sheet that has any text; an empty one without."""
    for sheet in sheets:
        # The size that a file states is often wrong.
        sheet.reset_dimensions()
        rows = tuple(_filled_rows(sheet))
        if rows:
            place = f"the first filled sheet of {len(sheets)}, " if len(sheets) > 1 else ""
            return ExcelSheet(rows, f"an Excel file ({place}{sheet.title!r})")
    return ExcelSheet((), "an Excel file without any text")


def _filled_rows(sheet: Any) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The rows of a sheet that have any text, with their numbers."""
    rows = sheet.iter_rows(values_only=True, max_col=_MAX_COLUMNS)
    for number, values in enumerate(rows, start=1):
        if number > _MAX_ROWS:
            raise DataError(f"the sheet {sheet.title!r} has more than {_MAX_ROWS} rows")

        cells = tuple(_text(value) for value in values)
        if any(cells):
            yield number, cells


def _text(value: object) -> str:
    """A cell as a CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"the table {path} is no Excel file or is damaged ({reason[:100]}): save it again, or as "
        "CSV UTF-8"
    )
