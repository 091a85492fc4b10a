"""Excel files: read where openpyxl is installed, else one line that says what to do."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from conftest import save_photo
from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError, MissingExtraError


def write_book(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    """An Excel file with these sheets."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_the_first_filled_sheet_is_read(tmp_path: Path) -> None:
    rows = [["image", None, "labels"], [7, None, "scab rust"], [], ["b.png", None, None]]
    write_book(tmp_path / "Leaves.XLSX", {"Empty": [], "Labels": rows, "Old": [["x"]]})
    save_photo(tmp_path / "7.png")
    save_photo(tmp_path / "b.png")

    table = read_table(tmp_path).require_clean()
    assert [(row.line, row.image_name, row.labels) for row in table.rows] == [
        (2, "7", ("scab", "rust")),
        (4, "b.png", ()),
    ]
    assert table.rows[0].path.name == "7.png"
    assert "an Excel file (the first filled sheet of 3, 'Labels')" in table.description


def test_zero_and_one_of_a_sheet(tmp_path: Path) -> None:
    rows = [["photo", "healthy", "cedar rust"], ["a.png", True, 0], ["b.png", 0.0, 1]]
    write_book(tmp_path / "labels.xlsx", {"Sheet1": rows})
    save_photo(tmp_path / "a.png")
    save_photo(tmp_path / "b.png")
    table = read_table(tmp_path).require_clean()
    assert [row.labels for row in table.rows] == [("healthy",), ("cedar_rust",)]


def test_without_openpyxl_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "labels.xlsx", "w") as archive:
        archive.writestr("a", "b")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match=r"leafzoom\[excel\].*or save it as CSV UTF-8"):
        read_table(tmp_path)


def test_damaged_and_monstrous_files(tmp_path: Path) -> None:
    whole = write_book(tmp_path / "labels.xlsx", {"S": [["image", "labels"], ["a.png", "b"]]})
    content = whole.read_bytes()
    for damaged in (content[:-40], content[: len(content) // 2], b"PK\x03\x04" + b"\0" * 100):
        whole.write_bytes(damaged)
        with pytest.raises(DataError, match="is no Excel file or is damaged"):
            read_table(tmp_path)

    large = io.BytesIO()
    with zipfile.ZipFile(large, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", bytes(2**28 + 1))
    whole.write_bytes(large.getvalue())
    with pytest.raises(DataError, match="unpacks to 268435457 bytes"):
        read_table(tmp_path)
