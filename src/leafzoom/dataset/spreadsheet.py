"""The cells of a table as a spreadsheet writes it: CSV in its dialects, or an Excel file."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from leafzoom.dataset.excel import read_excel
from leafzoom.errors import DataError

__all__ = ["Sheet", "SheetRow", "read_sheet"]

_MAX_LINE_CHARACTERS = 100_000
_SHORTEST_HEADER = len("file,class")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SEPARATOR_LINE = re.compile(r'"?sep=(?:\\t|(.)\1*)"?[ ]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
_MARK_AT_LINE_START = re.compile("(^|[\r\n])\ufeff+")
_EXCEL_START = b"PK\x03\x04"
_OTHER_SPREADSHEETS = (".xls", ".ods", ".numbers")


@dataclass(frozen=True)
class SheetRow:
    """A row of cells as text; `line`: where it ends in the file, whose first line is 1."""

    line: int
    cells: tuple[str, ...]

    @property
    def has_text(self) -> bool:
        """Whether any cell has more than spaces."""
        return any(cell.strip() for cell in self.cells)


@dataclass(frozen=True)
class Sheet:
    """A table's cells without empty rows.

    `header`: the columns' names, without spaces around them. `dialect`: how the file is written,
    in words.
    """

    header: tuple[str, ...]
    rows: tuple[SheetRow, ...]
    dialect: str

    @classmethod
    def of_rows(cls, rows: Iterator[SheetRow], dialect: str) -> Sheet:
        """The sheet whose first row with any text is the header."""
        filled = [row for row in rows if row.has_text]
        if not filled:
            return cls((), (), dialect)

        names = [unicodedata.normalize("NFC", cell.strip()) for cell in filled[0].cells]
        while names and not names[-1]:
            names.pop()
        return cls(tuple(names), tuple(filled[1:]), dialect)


def read_sheet(path: Path, is_image_column: Callable[[str], bool]) -> Sheet:
    """The cells of a table's file.

    The text is UTF-8, with or without byte order marks, or UTF-16 with one. Cells are separated by
    what a first line `sep=` names, else by commas, semicolons, tabs or vertical bars: the one that
    gives a header with a column of photographs.

    Args:
        path: of a text, or of an Excel file (.xlsx).
        is_image_column: whether a column's name can be that of the photographs.

    Raises:
        DataError: the file cannot be read, is no text in UTF-8, has a line that is too long, or can
            be separated in two ways.
        MissingExtraError: it is an Excel file and openpyxl is not installed.
    """
    content = _read(path)
    if content.startswith(_EXCEL_START):
        book = read_excel(path, content)
        rows = (SheetRow(line, cells) for line, cells in book.rows)
        return Sheet.of_rows(rows, book.description)
    if path.suffix.lower() in _OTHER_SPREADSHEETS:
        raise DataError(f"the table {path} is a spreadsheet: save it as CSV UTF-8 or as .xlsx")

    text = _decode(path, content)
    _check_lines(path, text)
    return _read_text(path, text, is_image_column)


def _read(path: Path) -> bytes:
    """The bytes of a table."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"the table {path} does not exist: check --csv") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"the table {path} cannot be read ({reason}): check --csv") from error


def _decode(path: Path, content: bytes) -> str:
    """A table's text without byte order marks."""
    # Excel's "Unicode text" is UTF-16, which a mark tells for sure.
    has_wide_mark = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    is_wide = has_wide_mark and not content.startswith(codecs.BOM_UTF32_LE)
    try:
        text = content.decode("utf-16" if is_wide else "utf-8")
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise DataError(
            f"the table {path} row {line}: cannot be read as UTF-8 text ({error.reason}): "
            "save it as CSV UTF-8"
        ) from error

    if "\0" in text[:_SHORTEST_HEADER]:
        raise DataError(
            f"the table {path} row 1: has NUL characters, so it is no text in UTF-8 (in UTF-16 "
            "without a byte order mark, perhaps): save it as CSV UTF-8"
        )

    # Each file that was joined into this one may have brought its mark.
    return _MARK_AT_LINE_START.sub(r"\1", text)


def _check_lines(path: Path, text: str) -> None:
    """Raise a DataError for a line that is too long: text of another kind tends to be one."""
    for line, content_of_line in enumerate(io.StringIO(text, newline=""), start=1):
        length = len(content_of_line.rstrip("\r\n"))
        if length > _MAX_LINE_CHARACTERS:
            raise DataError(
                f"the table {path} row {line}: a line of {length} characters, and at most "
                f"{_MAX_LINE_CHARACTERS} are read: it is no CSV image,labels"
            )


def _read_text(path: Path, text: str, is_image_column: Callable[[str], bool]) -> Sheet:
    """The cells of a text, separated in the way that it says or that its header shows."""
    separator_line = _SEPARATOR_LINE.match(text)
    if separator_line:
        delimiter = separator_line[1] or "\t"
        rows = _split_rows(path, text[separator_line.end() :], delimiter, first_line=2)
        return Sheet.of_rows(rows, f"separated by {_name(delimiter)}, as its line sep= says")

    headers: dict[str, Sequence[str]] = {}
    for delimiter in _DELIMITERS:
        filled = (row for row in _split_rows(path, text, delimiter) if row.has_text)
        first = next(filled, None)
        headers[delimiter] = [cell.strip() for cell in first.cells] if first else []

    # Most columns win where none is known to be of photographs; commas where that is a tie.
    able = [key for key in headers if _shows_columns(headers[key], is_image_column)]
    if len(able) > 1:
        readings = " or ".join(f"{_name(key)} ({len(headers[key])} columns)" for key in able)
        raise DataError(
            f"the table {path} can be separated by {readings}: write a first line sep={able[0]} "
            f"or sep={able[1]}"
        )
    delimiter = able[0] if able else max(headers, key=lambda key: len(headers[key]))
    return Sheet.of_rows(_split_rows(path, text, delimiter), f"separated by {_name(delimiter)}")


def _shows_columns(header: Sequence[str], is_image_column: Callable[[str], bool]) -> bool:
    """Whether a header has a column of photographs, and another one."""
    return len(header) > 1 and any(is_image_column(name) for name in header)


def _split_rows(
    path: Path, text: str, delimiter: str, *, first_line: int = 1
) -> Iterator[SheetRow]:
    """The rows of a text, each with the line where it ends."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        for cells in reader:
            yield SheetRow(reader.line_num + first_line - 1, tuple(cells))
    except csv.Error as error:
        line = reader.line_num + first_line - 1
        raise DataError(f"the table {path} is no CSV (row {line}: {error})") from error
    except (TypeError, ValueError) as error:
        raise DataError(
            f"the table {path} cannot be separated by {delimiter!r}: write sep=, or sep=;"
        ) from error


def _name(delimiter: str) -> str:
    """A delimiter in words."""
    return _DELIMITERS.get(delimiter, repr(delimiter))
