"""Photos below files, folders, patterns and archives, and a count of what is passed over.

A folder that cannot be read takes the place of its photos: reading it as a photo gives an error
that says so, and no photo is left out in silence.
"""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from leafzoom.errors import DataError
from leafzoom.own_pictures import OwnPictures
from leafzoom.passed_over import PassedOver, is_system_name
from leafzoom.photo import SUFFIXES
from leafzoom.photo_archive import ArchivedPhoto, PhotoArchive, is_archive
from leafzoom.photo_file import is_url
from leafzoom.photo_url import RemotePhoto, Storage, is_storage_url, storage_of

__all__ = ["FoundPhoto", "PhotoSearch", "find_photos", "is_folder", "kind_by_folder"]

FoundPhoto = Path | ArchivedPhoto | RemotePhoto | str
"""A file, a member of an archive, one in a storage, or a web address, which reading refuses."""


class PhotoSearch:
    """The photos below some paths; may be iterated any number of times.

    Files are given as they are, a folder as the photos below it, a pattern (`*`, `?`, `[…]`) as the
    files and folders that it matches, a ZIP archive as the photos in it. Photos are sorted folder
    by folder, those of linked folders last. A folder that is linked to several times is read once.

    Args:
        paths: files, folders, patterns and archives; addresses of storage that stand for a file,
            a folder or a pattern.
        but_not: a folder to skip: the one that the results are written to.

    Attributes:
        passed_over: what the last iteration left out; complete at its end.
    """

    def __init__(self, paths: Iterable[Path | str], *, but_not: Path | None = None) -> None:
        self.passed_over = PassedOver()
        self._paths = tuple(paths)
        self._skipped = but_not.resolve() if but_not else None
        self._own_pictures = OwnPictures()
        self._archives: dict[Path, PhotoArchive] = {}
        self._reached: set[Storage] = set()

    def __iter__(self) -> Iterator[FoundPhoto]:
        """The photos.

        Raises:
            DataError: a folder or an archive without a photo, a pattern without a match, an archive
                that cannot be read, a storage that cannot be reached.
            MissingExtraError: a storage whose driver is not installed.
        """
        self.passed_over = PassedOver()
        for path in self._paths:
            for match in _matches(path):
                if isinstance(match, str):
                    yield from self._at_address(match)
                elif is_folder(match):
                    yield from self._not_empty(self._below(match), f"the folder {match}")
                elif is_archive(match):
                    yield from self._not_empty(self._inside(match), f"the archive {match}")
                else:
                    yield match

    def _not_empty(self, photos: Iterator[FoundPhoto], name: str) -> Iterator[FoundPhoto]:
        """The photos; a DataError at their end if there was none."""
        # Large folders are listed while their photos are used, so an empty one shows at its end.
        is_empty = True
        for photo in photos:
            is_empty = False
            yield photo

        if is_empty:
            left_out = f"; {self.passed_over}" if self.passed_over else ""
            raise DataError(
                f"{name} has no photo ({', '.join(SUFFIXES)}){left_out}: name one that has"
            )

    def _at_address(self, url: str) -> Iterator[FoundPhoto]:
        """The photos that an address stands for; reading a web page's refuses it."""
        if not is_storage_url(url):
            yield url
            return

        # One question shows whether a storage can be reached. A list's photos need no more.
        storage = storage_of(url)
        is_named = url.lower().endswith(SUFFIXES) and not glob.has_magic(url)
        if is_named and storage in self._reached:
            yield RemotePhoto(url, storage)
            return

        if storage.is_pattern(url):
            is_empty = True
            for photo in storage.matches(url):
                is_empty = False
                yield photo
            if is_empty:
                raise DataError(f"no file matches {url}: check the pattern")
        elif storage.kind_of(url) == "directory":
            yield from self._not_empty(self._in_storage(storage, url), f"the folder {url}")
        else:
            yield RemotePhoto(url, storage)
        self._reached.add(storage)

    def _in_storage(self, storage: Storage, folder: str) -> Iterator[RemotePhoto]:
        """The photos below a folder of a storage."""
        for photo in storage.files_below(folder):
            *folders, name = storage.relative(photo, folder).parts
            if any(is_system_name(part) for part in folders):
                self.passed_over.add_system_file(name)
            elif self._is_photo(name):
                yield photo

    def _below(self, root: Path) -> Iterator[Path]:
        """The photos below a folder, then those below the folders that it links to."""
        visited: set[tuple[int, int]] = set()
        subfolders = [root]
        linked: deque[Path] = deque()
        while subfolders or linked:
            folder = subfolders.pop() if subfolders else linked.popleft()
            if not _is_first_visit(folder, visited):
                self.passed_over.add_repeated_folder()
                continue

            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                yield folder  # reading it says why
                continue

            # Depth first: the first subfolder comes off the stack first.
            folders = [entry for entry in entries if _leads_to_folder(entry)]
            yield from self._photos_in(folder, [entry for entry in entries if entry not in folders])
            searched = [entry for entry in folders if self._is_searched(folder / entry.name)]
            linked += [folder / entry.name for entry in searched if entry.is_symlink()]
            real = [folder / entry.name for entry in searched if not entry.is_symlink()]
            subfolders += reversed(real)

    def _is_searched(self, folder: Path) -> bool:
        """Whether a subfolder is searched: it is none of the system's nor that of the results."""
        if is_system_name(folder.name):
            self.passed_over.add_system_folder(folder.name)
            return False
        return self._skipped is None or folder.resolve() != self._skipped

    def _photos_in(self, folder: Path, files: Iterable[os.DirEntry[str]]) -> Iterator[Path]:
        """The photos of one folder."""
        for file in files:
            path = folder / file.name
            if not self._is_photo(file.name):
                continue
            if self._own_pictures.has(path):
                self.passed_over.add_own_picture()
            else:
                yield path

    def _is_photo(self, name: str) -> bool:
        """Whether a file's name is that of a photo; others are counted."""
        if is_system_name(name):
            self.passed_over.add_system_file(name)
            return False
        if not name.lower().endswith(SUFFIXES):
            self.passed_over.add_other_file(name)
            return False
        return True

    def _inside(self, path: Path) -> Iterator[ArchivedPhoto]:
        """The photos in an archive."""
        if path not in self._archives:
            self._archives[path] = PhotoArchive(path)
        archive = self._archives[path]

        for member in archive.members:
            steps = PurePosixPath(member.replace("\\", "/")).parts
            parts = [step for step in steps if step != ".."]  # nothing is written by this name
            if any(is_system_name(part) for part in parts[:-1]):
                self.passed_over.add_system_file(member)
            elif parts and self._is_photo(parts[-1]):
                yield ArchivedPhoto(archive, member)


def find_photos(paths: Iterable[Path | str]) -> list[FoundPhoto]:
    """What `PhotoSearch` gives, as a list.

    Raises:
        DataError: as `PhotoSearch`.
    """
    return list(PhotoSearch(paths))


def kind_by_folder(photo: FoundPhoto, root: Path) -> str:
    """The kind of a picture found below `root`: the folder directly in it, else its own name."""
    if isinstance(photo, ArchivedPhoto):
        parts = PurePosixPath(photo.member.replace("\\", "/")).parts
    else:
        parts = Path(str(photo)).relative_to(root).parts
    return parts[0] if len(parts) > 1 else root.resolve().stem


def is_folder(path: Path) -> bool:
    """Whether the path is a folder; False where the system refuses to say.

    That happens for a name that is too long or a folder without permission. Reading the photo then
    fails with an error of its own.
    """
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _matches(path: Path | str) -> Iterator[Path | str]:
    """The path itself, what a pattern matches, the same of a file: address, or another address."""
    text = str(path)
    if text.startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    elif is_url(text):
        yield text
        return

    # A file may have the signs of a pattern in its name; no shell expands the ~ of a list.
    if os.path.lexists(text) or not glob.has_magic(text):
        yield Path(text if os.path.lexists(text) else os.path.expanduser(text))
        return

    matches = sorted(glob.iglob(os.path.expanduser(text), recursive=True))
    if not matches:
        raise DataError(f"no file matches {text}: check the pattern")
    yield from map(Path, matches)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; False where the system refuses to say."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_first_visit(folder: Path, visited: set[tuple[int, int]]) -> bool:
    """Whether a folder comes the first time, by whatever name; links can make a circle."""
    try:
        status = folder.stat()
    except OSError:
        return True

    # Some file systems number no files.
    key = (status.st_dev, status.st_ino)
    if status.st_ino == 0:
        return True
    if key in visited:
        return False
    visited.add(key)
    return True
