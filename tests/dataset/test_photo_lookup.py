"""Photographs are looked up in the data folder only, whatever their names say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from conftest import save_photo, write_data_folder
from leafzoom.dataset.photo_lookup import BadImageName, PhotoLookup
from leafzoom.dataset.table import read_table


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/hostname", "points outside the data folder"),
        ("../outside.png", "points outside the data folder"),
        ("a/../../outside.png", "points outside the data folder"),
        ("~/outside.png", "points outside the data folder"),
        ("~root/outside.png", "points outside the data folder"),
        ("//server/share/a.png", "points outside the data folder"),
        ("\\\\server\\share\\a.png", "backslash"),
        ("C:\\leaves\\a.png", "backslash"),
        ("a.png\0.png", "NUL"),
        ("\0", "NUL"),
        ("x" * 90_000, "File name too long|does not exist"),
        ("images", "does not exist"),
        ("", "names no photograph"),
        ("a\nb.png", "does not exist"),
        ("gone.png", "does not exist"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_name_of_no_photograph_in_the_folder_is_reported_by_its_row(
    tmp_path: Path, name: str, reason: str
) -> None:
    save_photo(tmp_path / "outside.png")
    content = f'image,labels\na.png,scab\n"{name}",rust\nb.png,rust\n'
    data = write_data_folder(tmp_path / "data", content, "a.png", "b.png")

    table = read_table(data)
    assert table.image_names == ("a.png", "b.png")
    assert name not in PhotoLookup(data)

    (problem,) = table.problems
    assert problem.line == 3 + name.count("\n")
    assert re.search(reason, problem.reason)

    # The message is one short line.
    message = str(problem)
    assert message.startswith(f"{table.csv} row {problem.line}: ")
    assert message.isprintable()
    assert len(message) < 800


def test_a_photograph_in_a_folder_that_is_not_searched_is_named_with_it(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "data", "image,labels\na.png,scab\nb.png,rust\n", "a.png")
    save_photo(data / "photos" / "b.png")

    (problem,) = read_table(data).problems
    assert problem.line == 3
    assert "is in the folder 'photos'" in problem.reason

    (data / "photos" / "b.png").rename(data / "images" / "b.png")
    assert read_table(data).image_names == ("a.png", "b.png")


def test_links_out_of_the_folder_are_refused_and_links_inside_are_the_same_photograph(
    tmp_path: Path,
) -> None:
    secret = save_photo(tmp_path / "secret" / "s.png")
    names = (
        "a.png",
        "file.png",
        "folder/s.png",
        "chain.png",
        "loop.png",
        "same.png",
        "within.png",
    )
    content = "image,labels\n" + "".join(f"{name},scab\n" for name in names)
    data = write_data_folder(tmp_path / "data", content, "a.png", "sub/c.png")

    images = data / "images"
    (images / "file.png").symlink_to(secret)
    (images / "folder").symlink_to(secret.parent)
    (images / "chain.png").symlink_to("file.png")
    (images / "loop.png").symlink_to("loop.png")
    (images / "same.png").symlink_to("a.png")
    (images / "within.png").symlink_to("sub/c.png")

    table = read_table(data)
    assert table.image_names == ("a.png", "within.png")

    reasons = {problem.image_name: problem.reason for problem in table.problems}
    for name in ("file.png", "folder/s.png", "chain.png"):
        assert "is a link out of the data folder" in reasons[name]
    assert re.search("does not exist|cannot be looked up", reasons["loop.png"])
    assert "is the photograph of row 2" in reasons["same.png"]


def test_a_folder_of_photographs_may_be_on_another_disk(leaves: Path, tmp_path: Path) -> None:
    (tmp_path / "train_images").symlink_to(leaves / "train_images")
    shutil.copy(leaves / "train.csv", tmp_path)
    assert len(read_table(tmp_path).require_clean()) == 60


def test_a_photograph_beside_the_table_is_in_the_folder(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png")
    photos = PhotoLookup(tmp_path)
    assert "a.png" in photos
    assert "b.png" not in photos
    assert photos.file("a.png").real_path == (tmp_path / "a.png").resolve()


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("blätter.png", "bla\u0308tter.png"),
        ("bla\u0308tter.png", "blätter.png"),
        ("gr\u00fcn/a.png", "gru\u0308n/a.png"),
        ("Leaf1.JPG", "Leaf1.jpg"),
        ("Leaf1.JPG", "leaf1"),
        ("leaf1.jpg", "leaf1"),
        ("leaf.1.png", "leaf.1"),
    ],
)
def test_names_that_differ_by_writing_alone(tmp_path: Path, file: str, written: str) -> None:
    path = save_photo(tmp_path / "images" / file)
    photo = PhotoLookup(tmp_path).file(written)
    assert photo.real_path == path.resolve()
    assert photo.name == written


def test_a_name_that_may_be_one_of_two_files_is_reported(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png")
    save_photo(tmp_path / "a.jpg")
    with pytest.raises(BadImageName, match=r"can be 'a\.jpg' or 'a\.png'"):
        PhotoLookup(tmp_path).file("a")

    # The exact name is never in doubt.
    save_photo(tmp_path / "A.png")
    assert PhotoLookup(tmp_path).file("a.png").path.name == "a.png"


def test_an_absolute_path_inside_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    path = save_photo(data / "images" / "a.png")
    (tmp_path / "link").symlink_to(data)
    for root in (data, tmp_path / "link"):
        photo = PhotoLookup(tmp_path / "link").file(str(root / "images" / "a.png"))
        assert photo.real_path == path.resolve()
        assert photo.name == "images/a.png"

    with pytest.raises(BadImageName, match="outside the data folder"):
        PhotoLookup(data).file(f"{data}/../outside.png")
    with pytest.raises(BadImageName, match="outside the data folder"):
        PhotoLookup(data).file(f"{data}-other/a.png")
