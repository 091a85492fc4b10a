"""Photos are grouped by folder, by day, or by a table of trees, rows and blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from leafzoom.errors import DataError, UsageError
from leafzoom.exif import Exif
from leafzoom.orchard.groups import NO_DATE, NO_GROUP, Grouping, read_groupings

PHOTOS = ["orchard/a/1.jpg", "orchard/a/2.jpg", "orchard/b/1.jpg"]


def names(option: str, photos: list[str]) -> list[list[str]]:
    """The group of each photo, by grouping."""
    return [_names_by(grouping, photos) for grouping in read_groupings(option, photos)]


def _names_by(grouping: Grouping, photos: list[str]) -> list[str]:
    return [grouping.group_of(photo, Exif()) for photo in photos]


def table(tmp_path: Path, text: str) -> str:
    path = tmp_path / "trees.csv"
    path.write_text(text, encoding="utf-8-sig")
    return f"csv:{path}"


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        (PHOTOS, ["a", "a", "b"]),
        (["orchard/1.jpg", "orchard/a/2.jpg"], ["orchard", "a"]),
        (["1.jpg"], ["."]),
        (["/x/a/1.jpg", "b/1.jpg"], ["/x/a", "b"]),
        (["orchard/1.jpg", "orchard/orchard/2.jpg"], [".", "orchard"]),
        (["season.zip/a/1.jpg", "season.zip/b/1.jpg"], ["a", "b"]),
    ],
)
def test_folders_are_named_from_the_one_they_share(photos: list[str], expected: list[str]) -> None:
    assert names("folder", photos) == [expected]


def test_days_are_those_of_the_camera() -> None:
    (grouping,) = read_groupings("day", PHOTOS)
    assert grouping.group_of("1.jpg", Exif("2026-06-01T23:59:00+02:00")) == "2026-06-01"
    assert grouping.group_of("1.jpg", Exif()) == NO_DATE


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_has_a_grouping_for_each_level(tmp_path: Path, delimiter: str) -> None:
    text = "Tree,Photo,Block,Row\n7,a/1.jpg,A,3\n8,2.jpg,A,\n".replace(",", delimiter)
    option = table(tmp_path, text)

    assert [grouping.by for grouping in read_groupings(option, PHOTOS)] == ["block", "row", "tree"]
    assert names(option, PHOTOS) == [
        ["block A", "block A", NO_GROUP],
        ["block A, row 3", "block A, row ?", NO_GROUP],
        ["block A, row 3, tree 7", "block A, row ?, tree 8", NO_GROUP],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,tree\n1.jpg,7\n", r"line 2: 1\.jpg could be orchard/a/1\.jpg or orchard/b/1\.jpg"),
        ("photo,tree\na/1.jpg,7\norchard/a/1.jpg,8\n", "line 3: orchard/a/1.jpg has a row already"),
        ("photo,tree\nother.jpg,7\n", r"names none of the 3 photos: it has other\.jpg"),
        ("name,tree\n1.jpg,7\n", "a column `photo`.*it has name, tree"),
        ("photo,bed\n1.jpg,7\n", "block, row, tree"),
        ("", "it has none"),
        ('photo,tree\n1.jpg,"7\n' + "x" * 140_000, r"line \d+: it is no CSV .*quote"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_groupings(table(tmp_path, text), PHOTOS)


def test_other_options_and_missing_files_are_refused(tmp_path: Path) -> None:
    for option in ("tree", "csv:", "csv"):
        with pytest.raises(UsageError, match="takes folder, day or csv:FILE"):
            read_groupings(option, PHOTOS)
    with pytest.raises(DataError, match="cannot be read as a CSV"):
        read_groupings(f"csv:{tmp_path / 'none.csv'}", PHOTOS)


def test_rows_and_photos_without_a_match_are_counted(tmp_path: Path) -> None:
    option = table(tmp_path, "photo,tree\na/1.jpg,7\ngone.jpg,8\n,9\n")
    lines: list[str] = []
    read_groupings(option, PHOTOS, lines.append)

    path = option.removeprefix("csv:")
    assert lines == [
        f"{path}: 2 of 3 rows name none of the photos, such as line 3: gone.jpg",
        f"{path} has no row for 2 of 3 photos, such as orchard/a/2.jpg: "
        "they are the group 'not in the table'",
    ]


def test_a_table_of_windows_and_cells_of_several_lines(tmp_path: Path) -> None:
    option = table(tmp_path, 'photo,tree\r\n"a\\1.jpg","7\r\n\x00b"\r\nb\\1.jpg,8\r\n')
    assert names(option, PHOTOS) == [["tree 7 ?b", NO_GROUP, "tree 8"]]
