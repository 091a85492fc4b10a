"""What a search for photos passes over, counted by kind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

__all__ = ["PassedOver", "is_system_name"]

# Folders and files that systems, cameras' programs and network disks keep beside photos. What
# starts with a dot is theirs, too: .Trash-1000, .thumbnails, the ._ files of macOS.
_SYSTEM_NAMES = {
    *("__macosx", "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found"),
}
_UNREAD_PICTURES = {
    *(".tif", ".tiff", ".gif", ".bmp", ".avif", ".jxl", ".jp2", ".psd", ".svg", ".heics"),
    *(".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"),
    *(".raw", ".3fr", ".x3f", ".iiq"),
}
_ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"}
_NOT_DOWNLOADED = ".icloud"
_SHOWN_KINDS = 4


def is_system_name(name: str) -> bool:
    """Whether a file or folder is no photo's, by its name.

    >>> is_system_name(".Trash-1000"), is_system_name("@eaDir"), is_system_name("orchard")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


class PassedOver:
    """The counts; `str()` is one line, empty if there is nothing to say."""

    def __init__(self) -> None:
        self._system_files = 0
        self._own_pictures = 0
        self._repeated_folders = 0
        self._not_downloaded = 0
        self._system_folders: Counter[str] = Counter()
        self._other_files: Counter[str] = Counter()

    def add_system_folder(self, name: str) -> None:
        """A folder such as @eaDir; what is in it is not counted."""
        self._system_folders[name] += 1

    def add_system_file(self, name: str) -> None:
        """A hidden file, or one in a folder of the system in an archive."""
        if name.lower().endswith(_NOT_DOWNLOADED):
            self._not_downloaded += 1
        else:
            self._system_files += 1

    def add_own_picture(self) -> None:
        """A picture that leafzoom has drawn."""
        self._own_pictures += 1

    def add_other_file(self, name: str) -> None:
        """A file whose suffix is not that of a photo."""
        self._other_files[Path(name).suffix.lower() or "no suffix"] += 1

    def add_repeated_folder(self) -> None:
        """A folder that a link names a second time."""
        self._repeated_folders += 1

    def __bool__(self) -> bool:
        return bool(self._parts())

    def __str__(self) -> str:
        return f"passed over: {', '.join(self._parts())}" if self else ""

    def _parts(self) -> list[str]:
        pictures = {kind: n for kind, n in self._other_files.items() if kind in _UNREAD_PICTURES}
        archives = {kind: n for kind, n in self._other_files.items() if kind in _ARCHIVES}
        others = {
            kind: n
            for kind, n in self._other_files.items()
            if kind not in _UNREAD_PICTURES and kind not in _ARCHIVES
        }
        parts = [
            _counted(self._not_downloaded, "photo that iCloud has not downloaded"),
            _by_kind(pictures, "picture of another format", "convert to JPEG to read"),
            _by_kind(archives, "archive", "name a ZIP itself to read it"),
            _by_kind(others, "other file"),
            _counted(self._own_pictures, "picture that leafzoom has drawn"),
            _counted(self._system_files, "hidden file"),
            _by_kind(self._system_folders, "hidden folder"),
            _counted(self._repeated_folders, "linked folder that was read already"),
        ]
        return [part for part in parts if part]


def _counted(count: int, what: str) -> str:
    """`3 hidden files`; empty for none."""
    if not count:
        return ""

    # The first noun takes the plural: "pictures that …", "hidden files".
    head, relative, rest = what.partition(" that ")
    noun, of, kind = head.partition(" of ")
    plural = noun if count == 1 else f"{noun}s"
    if relative and count > 1:
        rest = rest.replace("was ", "were ", 1)
    return f"{count} {plural}{of}{kind}{relative}{rest}"


def _by_kind(counts: dict[str, int], what: str, advice: str = "") -> str:
    """`5 other files (4 .txt, 1 .pdf)`, the most frequent kinds first; empty for none."""
    if not counts:
        return ""

    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count} {kind}" for kind, count in ranked[:_SHOWN_KINDS]]
    if len(ranked) > _SHOWN_KINDS:
        kinds.append("…")
    listed = "; ".join([", ".join(kinds), *([advice] if advice else [])])
    return f"{_counted(sum(counts.values()), what)} ({listed})"
