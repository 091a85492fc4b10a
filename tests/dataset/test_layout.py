"""Which columns a table has: by option, by usual names, or as columns of 0 and 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import write_data_folder
from leafzoom.dataset.columns import TableReading
from leafzoom.dataset.table import Table, read_table
from leafzoom.errors import DataError


def read(folder: Path, content: str, **options: object) -> Table:
    """The clean table of this content and of the photographs a.png and b.png."""
    data = write_data_folder(folder, content, "a.png", "b.png")
    reading = TableReading(**options)  # type: ignore[arg-type]
    return read_table(data, reading=reading).require_clean()


def rows_of(table: Table) -> list[tuple[str, tuple[str, ...]]]:
    return [(row.path.name, row.labels) for row in table.rows]


EXPECTED = [("a.png", ("scab",)), ("b.png", ("rust",))]


@pytest.mark.parametrize(
    "header",
    ["image,labels", "Image,Labels", "filename,label", "file_name,CLASS", "File Name,disease"],
)
def test_usual_names_are_understood(tmp_path: Path, header: str) -> None:
    table = read(tmp_path, f"{header},orchard\na.png,scab,x\nb.png,rust,y\n")
    assert rows_of(table) == EXPECTED
    image, labels = header.split(",")
    expected = f"photographs in {image!r}; labels in {labels!r}; not read: orchard"
    assert expected in table.description


def test_own_names_are_given_by_options(tmp_path: Path) -> None:
    content = "leaf,Blattfleck,image,labels\na.png,scab,x,y\nb.png,rust,x,y\n"
    table = read(tmp_path, content, image_column="leaf", label_columns=("blattfleck",))
    assert rows_of(table) == EXPECTED


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    content = "image,labels\na.png,scab\n"
    for option, value in (
        ("image_column", "leaf"),
        ("label_columns", ("leaf",)),
        ("group_column", "leaf"),
    ):
        with pytest.raises(DataError, match=r"no column 'leaf', as --.*: its columns are image, l"):
            read(tmp_path, content, **{option: value})


def test_columns_of_zero_and_one_are_labels(tmp_path: Path) -> None:
    content = "image_id,healthy,multiple diseases,rust,when\na,1,0,0,x\nb,0,1.0,TRUE,y\n"
    table = read(tmp_path, content)
    assert rows_of(table) == [("a.png", ("healthy",)), ("b.png", ("multiple_diseases", "rust"))]
    assert "labels as columns of 0 and 1 (healthy, multiple diseases, rust)" in table.description
    assert "not read: when" in table.description


def test_columns_of_yes_and_no_are_labels(tmp_path: Path) -> None:
    table = read(tmp_path, "image,scab,rust\na.png,yes,N\nb.png,no,Y\n")
    assert rows_of(table) == EXPECTED


def test_missing_columns_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its first row is a photograph: write a row image,labels"):
        read(tmp_path, "a.png,scab\nb.png,rust\n")
    with pytest.raises(DataError, match=r"--label-column \(several times for columns of 0 and 1"):
        read(tmp_path, "image,scab,rust\na.png,x,\nb.png,,x\n")


def test_an_empty_cell_of_zero_and_one_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 3: 'b.png' has neither 0 nor 1 in the column 'rust'"):
        read(tmp_path, "image,scab,rust\na.png,1,0\nb.png,0,\n")


def test_chosen_label_columns_have_zero_and_one_alone(tmp_path: Path) -> None:
    content = "image,scab,rust,labels\na.png,1,0,x\nb.png,0,2,y\n"
    with pytest.raises(DataError, match=r"other cells than 0 and 1 in 'rust' \('0', '2'\)"):
        read(tmp_path, content, label_columns=("scab", "rust"))


@pytest.mark.parametrize(
    ("content", "readings"),
    [
        (
            "file,label,disease\na.png,x,scab\nb.png,y,rust\n",
            ["in 'label' ('x', 'y')", "in 'disease' ('scab', 'rust')", "--label-column"],
        ),
        (
            "file,label,scab,rust\na.png,x,1,0\nb.png,y,0,1\n",
            ["in 'label' ('x', 'y')", "columns of 0 and 1 (scab, rust)", "--label-column"],
        ),
        (
            "file,photo,label\na.png,x,1\nb.png,y,0\n",
            ["'file' or 'photo'", "--image-column file"],
        ),
    ],
)
def test_two_readings_are_both_shown(tmp_path: Path, content: str, readings: list[str]) -> None:
    with pytest.raises(DataError, match="can be read in 2 ways") as error:
        read(tmp_path, content)
    for reading in readings:
        assert reading in str(error.value)


def test_leafzooms_own_names_win(tmp_path: Path) -> None:
    content = "file,image,disease,labels,wet,dry\nx,a.png,y,scab,0,1\nx,b.png,y,rust,1,0\n"
    assert rows_of(read(tmp_path, content)) == EXPECTED


def test_a_column_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has a column twice"):
        read(tmp_path, "image,labels,labels\na.png,scab,rust\n")
    with pytest.raises(DataError, match="has a column twice"):
        read(tmp_path, "image,image,labels\na.png,b.png,rust\n")

    # A column that is not read may be there as often as it likes.
    assert rows_of(read(tmp_path, "image,labels,x,x\na.png,scab,,\nb.png,rust,,\n")) == EXPECTED


def test_groups_are_read_and_must_be_filled_in(tmp_path: Path) -> None:
    content = "image,labels,Orchard\na.png,scab, North  field \nb.png,rust,South\n"
    table = read(tmp_path, content, group_column="orchard")
    assert [row.group for row in table.rows] == ["North field", "South"]
    assert "groups in 'Orchard'" in table.description

    with pytest.raises(DataError, match=r"row 3: 'b.png' has no group"):
        read(tmp_path, "image,labels,orchard\na.png,x,n\nb.png,y, \n", group_column="orchard")
