"""Each export, opened by the library of the program that it is for."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyogrio
import pytest
from openpyxl import Workbook

from leafzoom.orchard.exports import GROUP_COLUMNS, groups_csv, map_geojson
from leafzoom.orchard.folder import write_report
from leafzoom.orchard.report import OrchardReport
from leafzoom.orchard.workbook import write_workbook
from orchard.conftest import FORMULA, PLACE


def test_the_csv_has_a_row_a_group_and_label(report: OrchardReport) -> None:
    rows = list(csv.DictReader(io.StringIO(groups_csv(report))))

    assert tuple(rows[0]) == GROUP_COLUMNS
    assert len(rows) == 2 * 3
    first = rows[0]
    assert (first["by"], first["group"], first["label"]) == ("folder", "row 9", "healthy")
    assert (first["photos"], first["leaves"], first["not_a_leaf"], first["failed"]) == (
        "21",
        "19",
        "1",
        "1",
    )
    assert float(first["low"]) <= float(first["share"]) <= float(first["high"])
    assert first["corrected"] == "yes"


def test_gdal_opens_the_map_as_qgis_does(report: OrchardReport, tmp_path: Path) -> None:
    text = map_geojson(report)
    assert text is not None
    path = tmp_path / "map.geojson"
    path.write_text(text, encoding="utf-8")

    info = pyogrio.read_info(path)
    assert info["features"] == 36
    assert info["geometry_type"] == "Point"
    assert info["crs"] == "EPSG:4326"
    assert {"photo", "taken", "verdict", "labels", "folder", "picture"} <= set(info["fields"])

    # Well-known binary: byte order and type, then x (longitude) and y (latitude).
    _, _, points, fields = pyogrio.raw.read(path)
    first = np.frombuffer(points[0], "<f8", offset=5)
    np.testing.assert_allclose(first, PLACE[::-1], atol=1e-9)
    labels = fields[list(info["fields"]).index("labels")]
    assert list(labels[:3]) == ["scab", "healthy", "rust scab"]


def cells_of(book: Workbook) -> list[Any]:
    """All cells of all sheets."""
    rows = chain.from_iterable(sheet.iter_rows() for sheet in book)
    return list(chain.from_iterable(rows))


@pytest.fixture
def book(report: OrchardReport, tmp_path: Path) -> Workbook:
    """The workbook, read again."""
    path = tmp_path / "report.xlsx"
    write_workbook(path, report)
    return openpyxl.load_workbook(path)


def test_texts_of_the_workbook_are_never_formulas(book: Workbook) -> None:
    cells = cells_of(book)
    assert {cell.data_type for cell in cells} <= {"s", "inlineStr", "n"}
    texts = {cell.value: cell for cell in cells if isinstance(cell.value, str)}
    assert texts["=1+1"].quotePrefix
    assert FORMULA in texts


def test_figures_are_numbers_and_no_cell_has_a_place(book: Workbook) -> None:
    assert book.sheetnames == ["Groups", "Photos"]
    shares = [row[GROUP_COLUMNS.index("share")].value for row in book["Groups"].iter_rows(2)]
    assert all(isinstance(share, int | float) for share in shares)
    assert not [cell for cell in cells_of(book) if cell.value in PLACE]
    assert [cell.value for cell in book["Photos"][1]] == [
        *("photo", "verdict", "labels", "confidence", "taken", "camera", "folder")
    ]


def test_control_characters_and_long_texts_fit_a_cell(
    make: Callable[[str, str], OrchardReport], tmp_path: Path
) -> None:
    report = make("day", "")
    photos = (replace(report.photos[0], name="a\x00b\x1b" + "x" * 40_000),)
    write_workbook(tmp_path / "odd.xlsx", replace(report, photos=photos))

    sheet = openpyxl.load_workbook(tmp_path / "odd.xlsx")["Photos"]
    assert sheet["A2"].value.startswith("a?b?xxx")
    assert len(sheet["A2"].value) == 32_767


def test_a_missing_library_leaves_the_workbook_out(
    report: OrchardReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(tmp_path, report, location=True)  # a workbook of earlier results

    monkeypatch.setitem(sys.modules, "openpyxl", None)
    written, missing = write_report(tmp_path, report, location=True)

    assert "map.geojson" in written
    assert 'pip install "leafzoom[office]"' in missing
    assert not (tmp_path / "report.xlsx").exists()


def test_without_location_an_older_map_goes_too(report: OrchardReport, tmp_path: Path) -> None:
    write_report(tmp_path, report, location=True)
    assert json.loads((tmp_path / "map.geojson").read_text())["features"]
    assert '<svg class="map"' in (tmp_path / "orchard.html").read_text()

    write_report(tmp_path, report, location=False)
    assert not (tmp_path / "map.geojson").exists()
    assert '<svg class="map"' not in (tmp_path / "orchard.html").read_text()
