"""Where the photographs of a data folder are: the file that a name in a table stands for.

Names are relative to `train_images/`, `images/` or the data folder itself. Each of these folders
may be a link, for example to another disk; a photograph may not be a link out of its folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["BadImageName", "PhotoFile", "PhotoLookup"]

_PHOTO_FOLDERS = ("train_images", "images", ".")


class BadImageName(Exception):  # noqa: N818 (no failure of leafzoom: the caller reports it by row)
    """A name stands for no photograph of the data folder; the message goes on after the name."""


@dataclass(frozen=True)
class PhotoFile:
    """A photograph's file: `path` as its name gives it, `real_path` with links resolved."""

    path: Path
    real_path: Path


class PhotoLookup:
    """Looks up photographs of a data folder by name, without opening any."""

    def __init__(self, data: Path) -> None:
        self._root = data.resolve()
        folders = [self._root / name for name in _PHOTO_FOLDERS]
        self._folders = [PhotoFile(folder, folder.resolve()) for folder in folders]

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
            BadImageName: the name is empty or leads out of the folders, or no file has it.
        """
        _check_name(image_name)

        for folder in self._folders:
            path = folder.path / image_name
            try:
                if not path.is_file():
                    continue
                real_path = path.resolve()
            except OSError as error:
                raise BadImageName(f"cannot be looked up ({error.strerror})") from error

            # The folder itself may be a link out of the data folder, its photographs may not.
            if not real_path.is_relative_to(folder.real_path):
                raise BadImageName("is a link out of the data folder: copy the photograph into it")
            return PhotoFile(path, real_path)

        raise BadImageName(
            f"does not exist in {self._root}, nor in its train_images/ or images/: "
            "restore it or delete the row"
        )


def _check_name(image_name: str) -> None:
    """Raise a BadImageName unless the name can be that of a file inside the data folder."""
    if not image_name:
        raise BadImageName("names no photograph: fill in the column image")
    if "\0" in image_name or "\\" in image_name:
        raise BadImageName("has a NUL or a backslash in its name: write folders with /")

    name = Path(image_name)
    if name.is_absolute() or ".." in name.parts or image_name.startswith("~"):
        raise BadImageName("points outside the data folder: names are relative to it, without ..")
