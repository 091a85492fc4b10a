"""A folder a class is a data set without a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import save_photo
from leafzoom.dataset.columns import TableReading
from leafzoom.dataset.table import Table, read_table
from leafzoom.errors import DataError

FOLDERS = TableReading(layout="folders")


def make(folder: Path, *names: str) -> Path:
    for name in names:
        save_photo(folder / name)
    return folder


def labels_by_name(table: Table) -> dict[str, tuple[str, ...]]:
    return {row.image_name: row.labels for row in table.require_clean().rows}


def test_folders_are_labels(tmp_path: Path) -> None:
    make(tmp_path, "scab/a.jpg", "scab/sub.JPG", "Cedar apple rust/a.jpg", ".trash/x.jpg")
    (tmp_path / "notes.txt").touch()
    table = read_table(tmp_path)
    assert labels_by_name(table) == {
        "Cedar apple rust/a.jpg": ("Cedar_apple_rust",),
        "scab/a.jpg": ("scab",),
        "scab/sub.JPG": ("scab",),
    }
    assert table.description == "a folder a class: Cedar_apple_rust, scab"


@pytest.mark.parametrize("around", ["images", "train_images", "leaves/leaves"])
def test_a_folder_around_all_is_no_class(tmp_path: Path, around: str) -> None:
    make(tmp_path, f"{around}/scab/a.jpg", f"{around}/rust/a.jpg")
    assert set(labels_by_name(read_table(tmp_path)).values()) == {("scab",), ("rust",)}


@pytest.mark.parametrize(
    "names",
    [
        ("train/scab/a.jpg", "train/rust/a.jpg", "Val/scab/b.jpg", "Val/rust/b.jpg"),
        ("x/train/scab/a.jpg", "x/train/rust/a.jpg", "x/valid/scab/b.jpg", "x/valid/rust/b.jpg"),
        ("scab/train/a.jpg", "rust/train/a.jpg", "scab/val/b.jpg", "rust/val/b.jpg"),
    ],
)
def test_parts_are_kept(tmp_path: Path, names: tuple[str, ...]) -> None:
    table = read_table(make(tmp_path, *names)).require_clean()
    found = sorted((row.path.name, *row.labels, row.part) for row in table.rows)
    assert found == [
        ("a.jpg", "rust", "train"),
        ("a.jpg", "scab", "train"),
        ("b.jpg", "rust", "validation"),
        ("b.jpg", "scab", "validation"),
    ]
    assert "in parts (train 2, validation 2), which --split folders keeps" in table.description


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("scab/a.jpg", "rust/a.jpg", "b.jpg"), "1 photographs beside its class folders"),
        (("train/a.jpg", "val/b.jpg"), "train as a class, or as a part"),
        (
            ("north/scab/a.jpg", "south/rust/a.jpg"),
            "with the classes north, south or with the classes rust, scab",
        ),
        (("scab/a.jpg", "rust/deep/er/a.jpg"), "can be read in 2 ways"),
        (("train/scab/a.jpg", "test/a.jpg"), "can be read in 2 ways"),
    ],
)
def test_folders_that_can_be_read_in_two_ways(
    tmp_path: Path, names: tuple[str, ...], expected: str
) -> None:
    make(tmp_path, *names)
    with pytest.raises(DataError, match=r"read in 2 ways|photographs beside") as error:
        read_table(tmp_path)
    assert expected in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_table_comes_before_folders_unless_folders_are_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "images/north/a.png", "images/south/b.png")
    (tmp_path / "mine.csv").write_text("image,labels\nnorth/a.png,scab\nsouth/b.png,rust\n")
    assert set(labels_by_name(read_table(tmp_path)).values()) == {("scab",), ("rust",)}
    assert set(labels_by_name(read_table(tmp_path, reading=FOLDERS)).values()) == {
        ("north",),
        ("south",),
    }


def test_a_table_without_labels_shows_the_folders_too(tmp_path: Path) -> None:
    make(tmp_path, "scab/a.png", "rust/b.png")
    (tmp_path / "orchards.csv").write_text("image,orchard\nscab/a.png,x\nrust/b.png,y\n")
    with pytest.raises(DataError, match=r"labels missing.*--layout folders.*: rust, scab"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("option", "reading"),
    [
        ("--image-column", TableReading(image_column="orchard")),
        ("--label-column", TableReading(label_columns=("orchard",))),
        ("--group-column", TableReading(group_column="orchard")),
        ("--group-column", TableReading(group_column="orchard", layout="folders")),
    ],
)
def test_folders_have_no_columns(tmp_path: Path, option: str, reading: TableReading) -> None:
    """A column of groups that is passed over would leave orchards on both sides of a split."""
    make(tmp_path, "scab/a.png", "rust/b.png")
    with pytest.raises(DataError, match=rf"no columns, and {option} names 'orchard'"):
        read_table(tmp_path, reading=reading)


def test_one_folder_is_no_data_set(tmp_path: Path) -> None:
    make(tmp_path, "scab/a.png")
    with pytest.raises(DataError, match=r"has to hold train\.csv"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="no two folders of photographs"):
        read_table(tmp_path, reading=FOLDERS)
    with pytest.raises(DataError, match=r"has to hold train\.csv"):
        read_table(tmp_path, reading=TableReading(layout="table"))


def test_links_in_class_folders(tmp_path: Path) -> None:
    outside = save_photo(tmp_path / "outside" / "a.jpg").parent
    data = make(tmp_path / "data", "scab/a.jpg", "rust/a.jpg")
    (data / "healthy").symlink_to(outside)
    (data / "scab" / "round").symlink_to(data / "scab")
    with pytest.raises(DataError):
        read_table(data).require_clean()

    (data / "scab" / "round").unlink()
    (problem,) = read_table(data).problems
    assert problem.image_name == "healthy/a.jpg"
    assert "is a link out of the data folder" in problem.reason
