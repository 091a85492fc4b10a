"""Where the photographs of a data folder are: the file that a name in a table stands for.

Names are relative to `train_images/`, `images/` or the data folder itself, or absolute paths inside
the data folder. Each of these folders may be a link, for example to another disk; a photograph may
not be a link out of its folder.

A name without a file of exactly that name stands for the only one that differs from it by its case,
by the way that accents are written (NFC or NFD), or by a suffix that the name leaves out.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from leafzoom.photo import SUFFIXES

__all__ = ["BadImageName", "PhotoFile", "PhotoLookup"]

_PHOTO_FOLDERS = ("train_images", "images", ".")


class BadImageName(Exception):  # noqa: N818 (no failure of leafzoom: the caller reports it by row)
    """A name stands for no photograph of the data folder; the message goes on after the name."""


@dataclass(frozen=True)
class PhotoFile:
    """A photograph's file.

    `path`: as its name gives it. `real_path`: with links resolved. `name`: as the table writes it;
    relative to the data folder where the table has an absolute path.
    """

    path: Path
    real_path: Path
    name: str


@dataclass(frozen=True)
class _Folder:
    """A folder of photographs: `path` as it is named, `real_path` with links resolved."""

    path: Path
    real_path: Path


class PhotoLookup:
    """Looks up photographs of a data folder by name, without opening any."""

    def __init__(self, data: Path) -> None:
        self._given_root = data.absolute()
        self._root = data.resolve()
        folders = [self._root / name for name in _PHOTO_FOLDERS]
        self._folders = [_Folder(folder, folder.resolve()) for folder in folders]
        self._listings: dict[Path, dict[str, list[str]]] = {}
        self._inner_folders: list[Path] | None = None

    def __contains__(self, image_name: str) -> bool:
        """Whether the data folder has a photograph of this name."""
        try:
            self.file(image_name)
        except BadImageName:
            return False
        return True

    def file(self, image_name: str) -> PhotoFile:
        """The photograph's file, in the first of the folders that has it.

        Raises:
            BadImageName: the name is empty, leads out of the folders or may be one of several
                files, or no file has it.
        """
        relative_name = self._relative_name(image_name)
        _check_name(relative_name)

        # A file of exactly this name, wherever it is, comes before one that is only alike.
        try:
            for folder in self._folders:
                path = folder.path / relative_name
                if path.is_file():
                    return _photo_file(path, folder, relative_name)
            for folder in self._folders:
                alike = self._file_alike(folder.path, relative_name)
                if alike is not None:
                    return _photo_file(alike, folder, relative_name)
            elsewhere = self._other_folder_of(relative_name)
        except OSError as error:
            raise BadImageName(f"cannot be looked up ({error.strerror})") from error

        if elsewhere is not None:
            raise BadImageName(
                f"is in the folder {elsewhere!r}, which is not searched: call that folder "
                "'images', or write it before the name, with a slash"
            )
        raise BadImageName(
            f"does not exist in {self._root}, nor in its train_images/ or images/: "
            "restore it or delete the row"
        )

    def _relative_name(self, image_name: str) -> str:
        """A name, relative to the data folder if it is an absolute path inside."""
        path = PurePosixPath(image_name)
        if not path.is_absolute() or "\0" in image_name or ".." in path.parts:
            return image_name
        for root in (self._given_root, self._root):
            if path.is_relative_to(root.as_posix()):
                return path.relative_to(root.as_posix()).as_posix()
        return image_name

    def _other_folder_of(self, name: str) -> str | None:
        """The name of the first folder inside the data folder that has a file of this name."""
        if self._inner_folders is None:
            entries = sorted(self._root.iterdir()) if self._root.is_dir() else []
            self._inner_folders = [entry for entry in entries if entry.is_dir()]
        for folder in self._inner_folders:
            if (folder / name).is_file():
                return folder.name
        return None

    def _file_alike(self, folder: Path, name: str) -> Path | None:
        """The only file that differs from a name by case, accents or a missing suffix."""
        if not Path(name).name:
            return None
        *folder_names, file_name = Path(name).parts
        for folder_name in folder_names:
            inner = folder / folder_name
            alike = [] if inner.is_dir() else self._names_alike(folder, [folder_name])
            folder = _only(folder, alike) or inner

        names = [file_name]
        if not file_name.lower().endswith(SUFFIXES):
            names += [file_name + suffix for suffix in SUFFIXES]
        matches = self._names_alike(folder, names)
        return _only(folder, [match for match in matches if (folder / match).is_file()])

    def _names_alike(self, folder: Path, names: Sequence[str]) -> list[str]:
        """The entries of a folder that are alike to one of some names."""
        if folder not in self._listings:
            listing = defaultdict(list)
            if folder.is_dir():
                for entry in folder.iterdir():
                    listing[_plain(entry.name)].append(entry.name)
            self._listings[folder] = dict(listing)

        alike: list[str] = []
        for name in names:
            alike += self._listings[folder].get(_plain(name), [])
        return alike


def _only(folder: Path, names: Sequence[str]) -> Path | None:
    """The only entry of a folder with one of some names; None without any.

    Raises:
        BadImageName: there are several.
    """
    if len(names) > 1:
        first, second = sorted(names)[:2]
        raise BadImageName(f"can be {first!r} or {second!r}: write the file's whole name")
    return folder / names[0] if names else None


def _plain(name: str) -> str:
    """What two names have in common that differ by case or by the writing of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _photo_file(path: Path, folder: _Folder, name: str) -> PhotoFile:
    """A file of a folder.

    Raises:
        BadImageName: it is a link out of the folder.
    """
    # The folder itself may be a link out of the data folder, its photographs may not.
    real_path = path.resolve()
    if not real_path.is_relative_to(folder.real_path):
        raise BadImageName("is a link out of the data folder: copy the photograph into it")
    return PhotoFile(path, real_path, name)


def _check_name(image_name: str) -> None:
    """Raise a BadImageName unless the name can be that of a file inside the data folder."""
    if not image_name:
        raise BadImageName("names no photograph: fill in the column image")
    if "\0" in image_name or "\\" in image_name:
        raise BadImageName("has a NUL or a backslash in its name: write folders with /")

    name = Path(image_name)
    if name.is_absolute() or ".." in name.parts or image_name.startswith("~"):
        raise BadImageName("points outside the data folder: names are relative to it, without ..")
