"""Tables as spreadsheets write them: the dialect is found out and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import write_data_folder
from leafzoom.dataset.table import Table, read_table
from leafzoom.errors import DataError

BOM = "\ufeff"


def read(folder: Path, content: str | bytes) -> Table:
    """The clean table of this content and of the photographs a.png and b.png."""
    return read_table(write_data_folder(folder, content, "a.png", "b.png")).require_clean()


def labels_by_name(table: Table) -> dict[str, tuple[str, ...]]:
    return {row.image_name: row.labels for row in table.rows}


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        ("image,labels\na.png,scab rust\nb.png,\n", "separated by commas;"),
        ("image;labels\na.png;scab rust\nb.png;\n", "separated by semicolons;"),
        ("image\tlabels\na.png\tscab rust\nb.png\t\n", "separated by tabs;"),
        ("image|labels\na.png|scab rust\nb.png|\n", "separated by vertical bars;"),
        ("sep=;\nimage;labels\na.png;scab rust\nb.png;\n", "as its line sep= says"),
        ("SEP=,\r\nimage,labels\r\na.png,scab rust\r\nb.png,\r\n", "as its line sep= says"),
        ("sep=\\t\nimage\tlabels\na.png\tscab rust\nb.png\t\n", "as its line sep= says"),
        ('"sep=\t"\nimage\tlabels\na.png\tscab rust\nb.png\t\n', "as its line sep= says"),
        (f"{BOM}sep=;\n{BOM}image;labels\na.png;scab rust\nb.png;\n", "as its line sep= says"),
        ("image;notes, if any;labels\na.png;x,y;scab rust\nb.png;;\n", "by semicolons; "),
        ("image,labels,a;b;c;d\na.png,scab rust,\nb.png,,\n", "separated by commas;"),
    ],
)
def test_a_dialect_is_read_and_told(tmp_path: Path, content: str, dialect: str) -> None:
    table = read(tmp_path, content)
    assert labels_by_name(table) == {"a.png": ("scab", "rust"), "b.png": ()}
    assert dialect in table.description


def test_rows_are_counted_with_the_line_that_names_the_separator(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path, "sep=;\nimage;labels\na.png;scab\ngone.png;rust\n", "a.png")
    (problem,) = read_table(data).problems
    assert problem.line == 4


def test_two_ways_to_separate_are_both_shown(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path, "image;x,image\na.png;1,a.png\n", "a.png")
    with pytest.raises(DataError, match=r"separated by commas .* or semicolons .* sep=") as error:
        read_table(data)
    assert str(data / "train.csv") in str(error.value)


def test_empty_rows_and_columns_without_a_name_are_ignored(tmp_path: Path) -> None:
    content = (
        ",,,,\n\nimage,labels,,,\na.png,scab,,,\n,,,,\n   ,  ,,,\nb.png,rust,,,\n" + ",,,,\n" * 50
    )
    table = read(tmp_path, content)
    assert [(row.line, row.image_name) for row in table.rows] == [(4, "a.png"), (7, "b.png")]


def test_the_index_that_pandas_writes_is_ignored(tmp_path: Path) -> None:
    table = read(tmp_path, ",image,labels\n0,a.png,scab\n1,b.png,rust\n")
    assert labels_by_name(table) == {"a.png": ("scab",), "b.png": ("rust",)}


def test_text_below_a_column_without_a_name_is_not_dropped(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path, "image,labels,\na.png,scab,rust\n", "a.png")
    (problem,) = read_table(data).problems
    assert "more cells than the table has columns ('rust')" in problem.reason


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("marks", [0, 1, 2])
def test_byte_order_marks_anywhere(tmp_path: Path, encoding: str, marks: int) -> None:
    """Of several files that were joined, each brings its own."""
    content = f"{BOM * marks}image,labels\n{BOM * marks}a.png,scab\n{BOM}b.png,{'ä'}\n"
    table = read(tmp_path, content.encode(encoding))
    assert labels_by_name(table) == {"a.png": ("scab",), "b.png": ("ä",)}


def test_wide_characters_without_a_mark_say_what_to_do(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path, "image,labels\na.png,scab\n".encode("utf-16-le"), "a.png")
    with pytest.raises(DataError, match=r"row 1: has NUL characters.*save it as CSV UTF-8"):
        read_table(data)


@pytest.mark.parametrize("suffix", [".xls", ".ods", ".numbers"])
def test_other_spreadsheets_say_what_to_do(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"labels{suffix}").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(DataError, match=r"is a spreadsheet: save it as CSV UTF-8 or as \.xlsx"):
        read_table(tmp_path)


@pytest.mark.parametrize("line", ['sep="', "sep=\r", "sep=é"])
def test_a_separator_that_cannot_be(tmp_path: Path, line: str) -> None:
    data = write_data_folder(tmp_path, f"{line}\nimage,labels\na.png,scab\n", "a.png")
    with pytest.raises(DataError) as error:
        read_table(data)
    assert len(str(error.value).splitlines()) == 1
