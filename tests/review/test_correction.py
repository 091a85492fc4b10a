"""A new table with the decisions; the old one stays, and an unknown label writes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from conftest import save_photo, write_data_folder
from leafzoom.dataset.columns import AUTOMATIC, TableReading
from leafzoom.dataset.table import read_table
from leafzoom.errors import DataError
from leafzoom.review.correction import Correction, apply_decisions
from leafzoom.review.decisions import Choice, DecisionFile, ReviewDecision

TABLE = "image,note,labels\na.jpg,first,scab\nb.jpg,,rust\nc.jpg,x;y,rust scab\nd.jpg,,scab\n"
NAMES = ("a.jpg", "b.jpg", "c.jpg", "d.jpg")


def decided(folder: Path, *rows: tuple[str, Choice, str, str]) -> Path:
    """A review.csv with rows of image, decision, labels and given labels."""
    folder.mkdir(exist_ok=True)
    file = DecisionFile(folder / "review.csv")
    for name, choice, labels, given in rows:
        split = tuple(labels.split())
        file.save(ReviewDecision(name, choice, split, tuple(given.split())))
    return file.path


def apply(data: Path, review_csv: Path, reading: TableReading = AUTOMATIC) -> Correction:
    return apply_decisions(review_csv, data, read_table(data, None, reading), reading)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_only_the_decided_cells_change(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "data", TABLE, *NAMES)
    review_csv = decided(
        tmp_path / "out",
        ("a.jpg", "change", "rust scab", "scab"),
        ("b.jpg", "leave_out", "rust", "rust"),
        ("c.jpg", "keep", "rust scab", "rust scab"),
        ("d.jpg", "unsure", "scab", "scab"),
    )
    before = digests(data)

    correction = apply(data, review_csv)

    assert correction == Correction(tmp_path / "out" / "train-reviewed.csv", 1, 1, 0, 1, 1)
    assert correction.path.read_text() == (
        "image,note,labels\na.jpg,first,rust scab\nc.jpg,x;y,rust scab\nd.jpg,,scab\n"
    )
    assert digests(data) == before


def test_no_file_is_written_over(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "data", TABLE, *NAMES)
    review_csv = decided(data, ("a.jpg", "change", "rust", "scab"))

    first = apply(data, review_csv).path
    content = first.read_bytes()
    (data / "train.csv").replace(data / "labels.csv")
    table = read_table(data, data / "labels.csv")
    second = apply_decisions(review_csv, data, table, AUTOMATIC).path
    third = apply_decisions(review_csv, data, table, AUTOMATIC).path

    names = [path.name for path in (first, second, third)]
    assert names == ["train-reviewed.csv", "labels-reviewed.csv", "labels-reviewed-2.csv"]
    assert first.read_bytes() == content
    assert (data / "labels.csv").read_text() == TABLE


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("b.jpg", "change", "rst", "rust"), "row 3: 'b.jpg' has the unknown label 'rst'"),
        (("b.jpg", "change", "scab", "scab"), "row 3: 'b.jpg' was decided on with the labels scab"),
        (("b.jpg", "change", "", "rust"), "row 3: 'b.jpg' changes its labels to none"),
        (("new.jpg", "change", "scab", ""), "row 3: 'new.jpg' is in no folder of the data"),
        (("gone.jpg", "change", "scab", "rust"), "row 3: 'gone.jpg' is not in the table any more"),
    ],
)
def test_a_row_that_cannot_be_applied_is_named_and_nothing_is_written(
    tmp_path: Path, row: tuple[str, str, str, str], message: str
) -> None:
    data = write_data_folder(tmp_path / "data", TABLE, *NAMES)
    review_csv = decided(tmp_path / "out", ("a.jpg", "change", "rust", "scab"), row)
    before = digests(tmp_path)

    with pytest.raises(DataError, match=message) as error:
        apply(data, review_csv)

    assert "nothing was written" in str(error.value)
    assert digests(tmp_path) == before


def test_labels_with_a_column_each_are_set(tmp_path: Path) -> None:
    table = "image;rust;Apple scab\na.jpg;1;0\nb.jpg;0;1\n"
    data = write_data_folder(tmp_path / "data", table, "a.jpg", "b.jpg")
    review_csv = decided(tmp_path / "out", ("b.jpg", "change", "rust Apple_scab", "Apple_scab"))

    path = apply(data, review_csv).path

    assert path.read_text() == "image,rust,Apple scab\na.jpg,1,0\nb.jpg,1,1\n"
    assert read_table(data, path).rows[1].labels == ("rust", "Apple_scab")


def test_folders_of_classes_become_a_table(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("rust/a.jpg", "rust/b.jpg", "scab/c.jpg", "scab/d.jpg"):
        save_photo(data / name)
    review_csv = decided(
        tmp_path / "out",
        ("rust/a.jpg", "change", "scab", "rust"),
        ("scab/d.jpg", "leave_out", "scab", "scab"),
    )

    path = apply(data, review_csv).path

    assert path.read_text() == "image,labels\nrust/a.jpg,scab\nrust/b.jpg,rust\nscab/c.jpg,scab\n"
    assert len(read_table(data, path).require_clean()) == 3


def test_new_photographs_get_rows_that_can_be_read(tmp_path: Path) -> None:
    table = "image,labels,orchard\na.jpg,scab,north\nb.jpg,rust,south\n"
    data = write_data_folder(tmp_path / "data", table, "a.jpg", "b.jpg", "new/c.jpg")
    reading = TableReading(group_column="orchard")
    review_csv = decided(tmp_path / "out", ("new/c.jpg", "change", "scab", ""))

    correction = apply(data, review_csv, reading)

    assert correction.added == 1
    last = read_table(data, correction.path, reading).require_clean().rows[-1]
    assert (last.image_name, last.labels, last.group) == ("new/c.jpg", ("scab",), "unknown")


def test_a_label_that_no_row_has_yet_is_named(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "data", TABLE, *NAMES)
    review_csv = decided(tmp_path / "out", ("a.jpg", "change", "powdery_mildew", "scab"))
    with pytest.raises(DataError, match="add --new-label powdery_mildew"):
        apply(data, review_csv)

    table = read_table(data, None)
    path = apply_decisions(review_csv, data, table, AUTOMATIC, ["powdery_mildew"]).path
    assert read_table(data, path).rows[0].labels == ("powdery_mildew",)


def test_a_new_label_needs_a_column_where_each_label_has_one(tmp_path: Path) -> None:
    text = "image;rust;scab\na.jpg;1;0\nb.jpg;0;1\n"
    data = write_data_folder(tmp_path / "data", text, "a.jpg", "b.jpg")
    review_csv = decided(tmp_path / "out", ("b.jpg", "change", "mildew", "scab"))

    table = read_table(data, None)
    with pytest.raises(DataError, match="has no column 'mildew'"):
        apply_decisions(review_csv, data, table, AUTOMATIC, ["mildew"])
    assert not list((tmp_path / "out").glob("*-reviewed.csv"))
