"""Photos below files, folders, patterns and archives, and what is passed over."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from conftest import save_photo
from leafzoom.drawing import PICTURE_MARK
from leafzoom.errors import DataError, PhotoError
from leafzoom.photo import read_source
from leafzoom.photo_archive import ArchivedPhoto
from leafzoom.photo_files import PhotoSearch, find_photos, is_folder


@contextmanager
def as_another_user() -> Iterator[None]:
    """For whom permissions hold, unlike for root."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found_names(search: PhotoSearch, root: Path) -> list[str]:
    return [str(photo).removeprefix(f"{root}/") for photo in search]


def test_folders_are_read_folder_by_folder_in_the_order_of_names(tmp_path: Path) -> None:
    touch(tmp_path, "c.JPG", "b.png", "notes.txt", "a/z.webp", "a/y.jpeg", "out/drawn.png")
    single = tmp_path / "notes.txt"

    photos = list(PhotoSearch([single, tmp_path], but_not=tmp_path / "out"))

    expected = ["notes.txt", "b.png", "c.JPG", "a/y.jpeg", "a/z.webp"]
    assert [str(photo).removeprefix(f"{tmp_path}/") for photo in photos] == expected


def test_a_folder_without_a_photo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no photo \(\.jpg, \.jpeg.*name one that has"):
        find_photos([tmp_path])

    touch(tmp_path, "a.tif", "b.txt")
    with pytest.raises(DataError, match=r"passed over: 1 picture of another format \(1 \.tif"):
        find_photos([tmp_path])


def test_a_name_that_is_too_long_is_no_folder(tmp_path: Path) -> None:
    assert is_folder(tmp_path)
    assert not is_folder(Path("x" * 300))
    assert not is_folder(tmp_path / "missing")
    assert not is_folder(Path("a\0b"))


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "hif", "heif", "JPG", "JfIf", "JPE", "HIF"])
def test_every_suffix_in_every_case(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a.{suffix}")

    assert len(find_photos([tmp_path])) == 1


def test_the_current_folder_is_searched_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.jpg", "notes.txt", ".hidden.jpg")
    monkeypatch.chdir(tmp_path)

    assert [str(photo) for photo in find_photos([Path()])] == ["a.jpg"]


def test_what_systems_keep_beside_photos_is_passed_over_and_counted(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("a.jpg", "._a.jpg", ".b.jpg", "__MACOSX/._a.jpg", "@eaDir/a.jpg/thumb.jpg"),
        *(".Trash-1000/files/c.jpg", "$RECYCLE.BIN/d.jpg", "lost+found/e.jpg", ".f.jpg.icloud"),
        *("x.tif", "y.dng", "z.txt", "z.pdf", "w.txt", "season.zip"),
    )
    search = PhotoSearch([tmp_path])

    assert found_names(search, tmp_path) == ["a.jpg"]
    assert str(search.passed_over) == (
        "passed over: 1 photo that iCloud has not downloaded, "
        "2 pictures of another format (1 .dng, 1 .tif; convert to JPEG to read), "
        "1 archive (1 .zip; name a ZIP itself to read it), 3 other files (2 .txt, 1 .pdf), "
        "2 hidden files, "
        "5 hidden folders (1 $RECYCLE.BIN, 1 .Trash-1000, 1 @eaDir, 1 __MACOSX, …)"
    )

    # A second search counts anew, and a folder without such files has nothing to say.
    assert found_names(search, tmp_path) == ["a.jpg"]
    assert "2 hidden files" in str(search.passed_over)
    save_photo(tmp_path / "clean" / "a.jpg")
    clean = PhotoSearch([tmp_path / "clean"])
    assert len(list(clean)) == 1
    assert not clean.passed_over


def test_a_hidden_folder_that_is_named_is_searched(tmp_path: Path) -> None:
    touch(tmp_path, ".photos/a.jpg")

    assert len(find_photos([tmp_path / ".photos"])) == 1


def test_linked_folders_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    touch(tmp_path, "disk/far.jpg", "photos/near.jpg", "photos/sub/deep.jpg")
    photos = tmp_path / "photos"
    (photos / "a-link").symlink_to(tmp_path / "disk")
    (photos / "same-link").symlink_to(tmp_path / "disk")
    (photos / "sub" / "circle").symlink_to(photos)
    (photos / "self").symlink_to(photos / "self")
    search = PhotoSearch([photos])

    assert found_names(search, photos) == ["near.jpg", "sub/deep.jpg", "a-link/far.jpg"]
    assert "2 linked folders that were read already" in str(search.passed_over)


def test_a_link_to_a_lost_photo_is_found_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")

    assert [str(photo) for photo in find_photos([tmp_path])] == [str(tmp_path / "a.jpg")]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="changes its user")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg")
    save_photo(tmp_path / "locked.jpg").chmod(0)
    save_photo(tmp_path / "sub" / "b.jpg")
    (tmp_path / "sub").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o005 != 0o005:  # those of pytest, more in parallel runs
            folder.chmod(0o755)

    with as_another_user():
        photos = find_photos([tmp_path])
        read_source(photos[0], 32)
        errors = []
        for photo in photos[1:]:
            with pytest.raises(PhotoError) as caught:
                read_source(photo, 32)
            errors.append(str(caught.value))

    file_error, folder_error = errors
    assert "locked.jpg cannot be read (Permission denied): give yourself permission" in file_error
    assert "sub is a folder that cannot be read (Permission denied)" in folder_error


def test_own_pictures_are_passed_over_wherever_they_lie(tmp_path: Path) -> None:
    """By their mark; a user's own picture of such a name is a photo."""
    save_photo(tmp_path / "a-diagnosis.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "b-diagnosis.jpg", comment=PICTURE_MARK)
    search = PhotoSearch([tmp_path])

    assert found_names(search, tmp_path) == ["a-diagnosis.png"]
    assert "1 picture that leafzoom has drawn" in str(search.passed_over)


# Patterns and addresses.


def test_patterns_that_no_shell_has_expanded(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "sub/c.jpg", "odd[1].jpg")

    def matches(pattern: str) -> list[str]:
        return found_names(PhotoSearch([f"{tmp_path}/{pattern}"]), tmp_path)

    assert matches("[ab].jpg") == ["a.jpg", "b.jpg"]
    assert matches("**/*.jpg") == ["a.jpg", "b.jpg", "odd[1].jpg", "sub/c.jpg"]
    assert matches("s*") == ["sub/c.jpg"]
    assert matches("odd[1].jpg") == ["odd[1].jpg"]
    with pytest.raises(DataError, match=r"no file matches .*/\*\.png: check the pattern"):
        matches("*.png")


def test_addresses_stay_whole(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "a b.jpg")

    assert find_photos(["https://example.org/a.jpg"]) == ["https://example.org/a.jpg"]
    assert find_photos([photo.as_uri()]) == [photo]


# Archives.


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    photo = save_photo(tmp_path / "a.jpg")
    path = tmp_path / "season.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b/a.JPG", "a.jpg", "../out.jpg", "__MACOSX/._a.jpg", ".c.jpg", "notes.txt"):
            archive.write(photo, name)
    return path


def test_an_archives_photos_are_found_without_being_unpacked(archive: Path) -> None:
    search = PhotoSearch([archive])
    photos = list(search)

    assert [str(photo) for photo in photos] == [
        f"{archive}/../out.jpg",
        f"{archive}/a.jpg",
        f"{archive}/b/a.JPG",
    ]
    assert all(isinstance(photo, ArchivedPhoto) for photo in photos)
    assert str(search.passed_over) == "passed over: 1 other file (1 .txt), 2 hidden files"
    assert sorted(path.name for path in archive.parent.iterdir()) == ["a.jpg", "season.zip"]


def test_an_archive_is_known_without_its_suffix(archive: Path) -> None:
    other_name = archive.with_name("season")
    shutil.copy(archive, other_name)

    assert len(find_photos([other_name])) == 3
