"""A folder a class: `DIR/scab/*.jpg`, also below `train/`, `val/` and `test/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from leafzoom.dataset.columns import column_list
from leafzoom.dataset.records import Record, label_of_name
from leafzoom.errors import DataError
from leafzoom.photo import SUFFIXES

__all__ = ["ClassFolders", "find_class_folders"]

_PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_MAX_DEPTH = 5
_PASSED_OVER = frozenset({"__macosx", "@eadir", "thumbs"})


@dataclass(frozen=True)
class ClassFolders:
    """The photographs of a data folder without a table, each labelled by its folder.

    `labels`: of the classes, sorted. `description`: how the folders are understood, in words.
    """

    records: tuple[Record, ...]
    labels: tuple[str, ...]
    description: str


def find_class_folders(data: Path) -> ClassFolders | None:
    """The class folders of a data folder; None if it has photographs in fewer than two folders.

    Folders around all photographs, such as `images/`, are no classes. Spaces in a folder's name
    become underscores. A photograph has one label, its folder's.

    Raises:
        DataError: the folders can be read in two ways, or photographs lie beside them.
    """
    names = sorted(_photographs(data, ()))
    folders = {name: PurePosixPath(name).parts[:-1] for name in names}
    if len(set(folders.values())) < 2:
        return None

    # What is around all photographs says nothing, unless it is a part.
    inner = set(folders.values())
    outer = _common_start(sorted(inner))
    parts_of = {name: parts[len(outer) :] for name, parts in folders.items()}
    classes = {folder: _class_of(folder) for folder in set(parts_of.values())}
    _check_one_reading(data, classes, Counter(parts_of.values()))

    records = []
    for line, name in enumerate(names, start=1):
        part, class_name = classes[parts_of[name]] or ("", "")
        part = part or next(
            (_PARTS[word] for word in map(str.casefold, outer) if word in _PARTS), ""
        )
        records.append(Record(line, name, label_of_name(class_name), part=part))

    labels = tuple(sorted({record.labels[0] for record in records}))
    if len(labels) < 2:
        return None
    return ClassFolders(tuple(records), labels, _describe(records, labels))


def _photographs(folder: Path, above: tuple[str, ...]) -> Iterator[str]:
    """The names of all photographs below a folder, relative to where the search began."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be read ({error.strerror or error}): check its permissions"
        ) from error

    for entry in entries:
        name = entry.name
        if name.startswith(".") or name.casefold() in _PASSED_OVER:
            continue
        if name.lower().endswith(SUFFIXES) and entry.is_file():
            yield "/".join((*above, name))
        elif len(above) < _MAX_DEPTH and entry.is_dir():
            yield from _photographs(entry, (*above, name))


def _common_start(folders: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders around all photographs, but never the only one of a photograph."""
    first = folders[0]
    last = folders[-1]
    longest = min(map(len, folders)) - 1
    length = 0
    while length < longest and first[length] == last[length]:
        length += 1
    return first[:length]


def _class_of(folder: tuple[str, ...]) -> tuple[str, str] | None:
    """The part, if any, and the class of a folder; None if it has no single reading."""
    if len(folder) == 1 and folder[0].casefold() not in _PARTS:
        return "", folder[0]
    if len(folder) != 2:
        return None

    first, second = folder
    first_part = _PARTS.get(first.casefold(), "")
    second_part = _PARTS.get(second.casefold(), "")
    if bool(first_part) == bool(second_part):
        return None
    return (first_part, second) if first_part else (second_part, first)


def _check_one_reading(
    data: Path,
    classes: dict[tuple[str, ...], tuple[str, str] | None],
    photographs: Counter[tuple[str, ...]],
) -> None:
    """Raise a DataError if a folder of photographs is no class, or may be one of two."""
    unclear = sorted(folder for folder, reading in classes.items() if reading is None)
    if not unclear:
        return

    folder = unclear[0]
    shown = "/".join(folder) or "."
    if not folder:
        raise DataError(
            f"{data} has {photographs[folder]} photographs beside its class folders: move each "
            "into the folder of its class, or write a table image,labels"
        )
    if len(folder) == 1:
        others = column_list(sorted({"/".join(name) for name in classes}))
        raise DataError(
            f"{data} can be read in 2 ways: {shown} as a class, or as a part whose photographs "
            f"have no class (the folders are {others}): write a table image,labels"
        )
    inner = column_list(sorted({name[-1] for name in classes if len(name) > 1}))
    outer = column_list(sorted({name[0] for name in classes if name}))
    raise DataError(
        f"{data} can be read in 2 ways, with the classes {outer} or with the classes {inner} "
        f"(a folder is {shown}): keep one level of folders, or write a table image,labels"
    )


def _describe(records: Sequence[Record], labels: Sequence[str]) -> str:
    """How class folders are understood, in words."""
    words = [f"a folder a class: {column_list(labels)}"]
    parts = Counter(record.part for record in records if record.part)
    if parts:
        shown = ", ".join(f"{part} {count}" for part, count in sorted(parts.items()))
        words.append(f"in parts ({shown}), which --split folders keeps")
    return "; ".join(words)
