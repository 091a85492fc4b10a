"""Which file of a data folder is its table."""

from __future__ import annotations

from pathlib import Path

from leafzoom.errors import DataError

__all__ = ["LESIONS_CSV", "LESION_TABLES", "find_csv", "has_table", "require_folder"]

LESIONS_CSV = "lesions.csv"
LESION_TABLES = (LESIONS_CSV, "boxes.csv")
"""Tables of boxes, not of labels: see `dataset/lesions.py`."""

_TEXT_SUFFIXES = (".csv", ".tsv")
_OTHER_SUFFIXES = (".xlsx", ".xls", ".ods", ".numbers")
_USUAL_NAMES = ("train", "labels")


def find_csv(data: Path) -> Path:
    """The table of a data folder: `train.csv`, else `labels.csv`, else the only other one.

    Names are compared without their case. Spreadsheets count only where there is no CSV.
    `lesions.csv` and `boxes.csv` are never taken for the table of labels, nor are files that start
    with a dot or with `~$`, which other programs leave there.

    Raises:
        DataError: there is no folder, no table, or several.
    """
    require_folder(data)
    candidates = _tables(data)
    for name in _USUAL_NAMES:
        usual = [path for path in candidates if path.stem.casefold() == name]
        exact = [path for path in usual if path.name == f"{name}.csv"]
        if exact or len(usual) == 1:
            return (exact or usual)[0]

    # No usual name: the folder's only table.
    if len(candidates) != 1:
        count = f"{len(candidates)} of them" if candidates else "none"
        raise DataError(
            f"the data folder {data} has to hold train.csv or one CSV image,labels and has {count}:"
            " name it with --csv, or give each class a folder of photographs"
        )
    return candidates[0]


def has_table(data: Path) -> bool:
    """Whether a folder has any file that may be a table."""
    return bool(_tables(data))


def require_folder(data: Path) -> None:
    """Raise a DataError unless the data folder exists."""
    if not data.is_dir():
        raise DataError(f"the data folder {data} does not exist: give one with a CSV image,labels")


def _tables(data: Path) -> list[Path]:
    """The files that may be the table: texts, or spreadsheets where there is no text."""
    try:
        files = sorted(path for path in data.iterdir() if _may_be_table(path))
    except OSError as error:
        raise DataError(
            f"the data folder {data} cannot be read ({error.strerror or error}): check its "
            "permissions"
        ) from error

    texts = [path for path in files if path.suffix.lower() in _TEXT_SUFFIXES]
    return texts or [path for path in files if path.suffix.lower() in _OTHER_SUFFIXES]


def _may_be_table(path: Path) -> bool:
    """Whether a file's name can be that of a table of labels."""
    name = path.name
    is_left_over = name.startswith((".", "~$")) or name.casefold() in LESION_TABLES
    is_table = path.suffix.lower() in _TEXT_SUFFIXES + _OTHER_SUFFIXES
    return is_table and not is_left_over and path.is_file()
