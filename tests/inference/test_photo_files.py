"""Photos below files and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from leafzoom.errors import DataError
from leafzoom.inference.photo_files import find_photos, is_folder, iter_photos


def test_folders_are_read_folder_by_folder_in_the_order_of_names(tmp_path: Path) -> None:
    names = ("c.JPG", "b.png", "notes.txt", "a/z.webp", "a/y.jpeg", "out/drawn.png")
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    single = tmp_path / "notes.txt"

    photos = list(iter_photos([single, tmp_path], but_not=tmp_path / "out"))

    expected = ["notes.txt", "b.png", "c.JPG", "a/y.jpeg", "a/z.webp"]
    assert [str(photo.relative_to(tmp_path)) for photo in photos] == expected


def test_a_folder_without_a_photo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no photo \(\.jpg, \.jpeg.*name one that has"):
        find_photos([tmp_path])


def test_a_name_that_is_too_long_is_no_folder(tmp_path: Path) -> None:
    assert is_folder(tmp_path)
    assert not is_folder(Path("x" * 300))
    assert not is_folder(tmp_path / "missing")
