"""Which columns of a table have the photographs, their labels and their groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leafzoom.dataset.columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    TableReading,
    column_list,
    is_usual_name,
    quoted,
    requested_column,
)
from leafzoom.dataset.spreadsheet import Sheet
from leafzoom.errors import DataError
from leafzoom.photo import SUFFIXES

__all__ = ["NO_VALUES", "YES_VALUES", "Layout", "image_column_test", "understand"]

YES_VALUES = frozenset({"1", "1.0", "true", "yes", "y"})
"""What a cell of a label's own column has where the photograph has the label, in lower case."""

NO_VALUES = frozenset({"0", "0.0", "false", "no", "n"})
"""And where it has not."""

_MAX_SHOWN_VALUES = 3


@dataclass(frozen=True)
class Layout:
    """The columns of a table, by index.

    `labels`: of the cells with a photograph's labels; None where each of `label_columns` is of one
    label, with 0 or 1. `group`: None without. `description`: in words.
    """

    image: int
    labels: int | None
    label_columns: tuple[int, ...]
    group: int | None
    description: str


def image_column_test(reading: TableReading) -> Callable[[str], bool]:
    """Whether a column's name can be that of the photographs."""
    wanted = reading.image_column.strip().casefold()
    if wanted:
        return lambda name: name.strip().casefold() == wanted
    return lambda name: is_usual_name(name, IMAGE_COLUMNS)


def understand(path: Path, sheet: Sheet, reading: TableReading) -> Layout:
    """Find a table's columns, by the names that the user gives or by those that are usual.

    Args:
        path: of the table, for messages.
        sheet: its cells.
        reading: what the user says about it.

    Raises:
        DataError: a column is missing or there twice, or the table can be read in two ways.
    """
    header = sheet.header
    image = _image_column(path, header, reading)
    group = None
    if reading.group_column:
        group = requested_column(path, header, reading.group_column, "--group-column")

    taken = {image, group}
    if reading.label_columns:
        chosen = tuple(
            requested_column(path, header, name, "--label-column") for name in reading.label_columns
        )
    else:
        chosen = _label_columns(path, sheet, image, taken)

    # One column of labels, or several of one label each.
    has_cells = len(chosen) == 1
    if not has_cells:
        _check_zero_or_one(path, sheet, chosen)
    _check_once(path, header, [image, *chosen, *([] if group is None else [group])])
    return Layout(
        image=image,
        labels=chosen[0] if has_cells else None,
        label_columns=() if has_cells else chosen,
        group=group,
        description=_describe(sheet, image, chosen, group),
    )


def _image_column(path: Path, header: Sequence[str], reading: TableReading) -> int:
    """The column of the photographs' names."""
    if reading.image_column:
        return requested_column(path, header, reading.image_column, "--image-column")

    usual = [index for index, name in enumerate(header) if is_usual_name(name, IMAGE_COLUMNS)]
    chosen = _own_name(header, usual, IMAGE_COLUMNS[0])
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise _missing_columns(path, header, "--image-column")
    names = [header[index] for index in chosen]
    _check_once(path, header, chosen)
    raise DataError(
        f"the table {path} can be read in {len(names)} ways, with the photographs in "
        f"{' or '.join(map(quoted, names))}: choose with --image-column {names[0]}"
    )


def _label_columns(path: Path, sheet: Sheet, image: int, taken: set[int | None]) -> tuple[int, ...]:
    """The column of labels, or the columns of one label each."""
    header = sheet.header
    usual = [index for index, name in enumerate(header) if is_usual_name(name, LABEL_COLUMNS)]
    cells = _own_name(header, [i for i in usual if i not in taken], LABEL_COLUMNS[0])
    if cells and header[cells[0]].casefold() == LABEL_COLUMNS[0]:
        _check_once(path, header, cells)
        return (cells[0],)

    # Without leafzoom's own name, columns of 0 and 1 are another way to write labels.
    others = [i for i, name in enumerate(header) if name and i not in taken and i not in cells]
    binary = tuple(index for index in others if _is_zero_or_one(sheet, index))
    readings: list[tuple[int, ...]] = [(index,) for index in cells]
    if len(binary) > 1:
        readings.append(binary)

    if len(readings) == 1:
        return readings[0]
    if readings:
        shown = " or ".join(_describe_reading(sheet, columns) for columns in readings)
        raise DataError(
            f"the table {path} can be read in {len(readings)} ways, with the labels {shown}: "
            "choose with --label-column (several times for several columns)"
        )
    raise _missing_columns(path, header, "--label-column", image=header[image])


def _own_name(header: Sequence[str], usual: list[int], own: str) -> list[int]:
    """Of columns with usual names, those with leafzoom's own name; all if there is none."""
    exact = [index for index in usual if header[index] == own]
    folded = [index for index in usual if header[index].casefold() == own]
    return exact or folded or usual


def _is_zero_or_one(sheet: Sheet, column: int) -> bool:
    """Whether a column has 0 and 1 alone, and any."""
    values = {row.cells[column].strip().lower() for row in sheet.rows if column < len(row.cells)}
    values.discard("")
    return bool(values) and values <= YES_VALUES | NO_VALUES


def _check_zero_or_one(path: Path, sheet: Sheet, columns: Sequence[int]) -> None:
    """Raise a DataError unless columns of one label each have 0 and 1 alone."""
    for column in columns:
        if not _is_zero_or_one(sheet, column):
            raise DataError(
                f"the table {path} has other cells than 0 and 1 in {quoted(sheet.header[column])}"
                f" ({_values(sheet, column)}): of several label columns, each is of one label"
            )


def _check_once(path: Path, header: Sequence[str], columns: Sequence[int]) -> None:
    """Raise a DataError if a column that is read has the name of another one."""
    for column in columns:
        if header.count(header[column]) > 1 or list(columns).count(column) > 1:
            raise DataError(
                f"the table {path} has a column twice ({column_list(header)}): keep one of them"
            )


def _missing_columns(
    path: Path, header: Sequence[str], option: str, image: str = IMAGE_COLUMNS[0]
) -> DataError:
    """The error of a table without a column of photographs, or of labels."""
    missing = [name for name in (IMAGE_COLUMNS[0], LABEL_COLUMNS[0]) if name not in header]
    if image != IMAGE_COLUMNS[0]:
        missing = [LABEL_COLUMNS[0]]

    # A table that begins with a photograph has no header.
    has_no_header = any(name.lower().endswith(SUFFIXES) for name in header)
    remedy = f"name yours with {option}"
    if has_no_header:
        remedy = "its first row is a photograph: write a row image,labels above it"
    elif image in header:
        remedy += " (several times for columns of 0 and 1 alone, a label each)"
    return DataError(
        f"the table {path} has to have the columns image and labels and has "
        f"{column_list(header) or 'no columns'}: {' and '.join(missing)} missing; {remedy}"
    )


def _describe(sheet: Sheet, image: int, label_columns: Sequence[int], group: int | None) -> str:
    """How a table is understood, in words."""
    header = sheet.header
    words = [
        sheet.dialect,
        f"photographs in {quoted(header[image])}",
        f"labels {_describe_reading(sheet, label_columns, with_values=False)}",
    ]
    if group is not None:
        words.append(f"groups in {quoted(header[group])}")

    used = {image, group, *label_columns}
    ignored = [name for index, name in enumerate(header) if name and index not in used]
    if ignored:
        words.append(f"not read: {column_list(ignored)}")
    return "; ".join(words)


def _describe_reading(sheet: Sheet, columns: Sequence[int], *, with_values: bool = True) -> str:
    """Where the labels are, in words."""
    names = [sheet.header[column] for column in columns]
    if len(names) > 1:
        return f"as columns of 0 and 1 ({column_list(names)})"

    examples = f" ({_values(sheet, columns[0])})" if with_values else ""
    return f"in {quoted(names[0])}{examples}"


def _values(sheet: Sheet, column: int) -> str:
    """The first different cells of a column."""
    cells = [row.cells[column].strip() for row in sheet.rows if column < len(row.cells)]
    different = list(dict.fromkeys(cell for cell in cells if cell))
    rest = ", …" if len(different) > _MAX_SHOWN_VALUES else ""
    return ", ".join(map(quoted, different[:_MAX_SHOWN_VALUES])) + rest
