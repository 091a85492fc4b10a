"""Apply the decisions of a review: a new table beside the old one, which is never written to."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from leafzoom.dataset.columns import TableReading
from leafzoom.dataset.layout import Layout, image_column_test, understand
from leafzoom.dataset.photo_lookup import PhotoLookup
from leafzoom.dataset.records import label_of_name
from leafzoom.dataset.spreadsheet import Sheet, read_sheet
from leafzoom.dataset.table import Row, Table
from leafzoom.errors import DataError
from leafzoom.review.decisions import DecidedRow, ReviewDecision, read_decisions
from leafzoom.storage import write_text

__all__ = ["Correction", "apply_decisions"]

_UNKNOWN_GROUP = "unknown"


@dataclass(frozen=True)
class Correction:
    """The new table: where it is, and how many rows it changed, left out and added.

    `kept`: decided to be right. `open`: rows of the review without a decision on their labels.
    """

    path: Path
    changed: int
    left_out: int
    added: int
    kept: int
    open: int


def apply_decisions(
    review_csv: Path,
    data: Path,
    table: Table,
    reading: TableReading,
    new_labels: Sequence[str] = (),
) -> Correction:
    """Write the table of a data folder with the labels that were decided on.

    Every other cell stays as it is. The new table is in the folder of the decisions, under a name
    that no file has.

    Args:
        review_csv: what `leafzoom review` wrote.
        data: the data folder.
        table: of the data folder.
        reading: how it was read.
        new_labels: that no row of the table has yet.

    Raises:
        DataError: a new label has no column in a table with a column a label; or a row has an
            unknown label, no labels where it changes them, a photograph that is not in the data
            folder, or labels that the table has no more. Nothing is written then.
    """
    decided = read_decisions(review_csv)
    known = [*table.label_set().names, *new_labels]
    changes = _checked(review_csv, decided, data, table, known)
    rows = {row.image_name: row for row in table.rows}
    added = {
        name: decision
        for name, decision in changes.items()
        if name not in rows and decision.choice == "change"
    }

    if table.csv.is_dir():
        cells = _plain_cells(table, changes, added)
    else:
        sheet = read_sheet(table.csv, image_column_test(reading))
        layout = understand(table.csv, sheet, reading)
        _require_columns(table.csv, sheet, layout, new_labels)
        cells = _sheet_cells(sheet, layout, table, changes, added)

    path = _new_path(review_csv.resolve().parent, table.csv.stem)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    write_text(path, text.getvalue())

    counts = Counter(decision.choice for name, decision in changes.items() if name in rows)
    return Correction(
        path=path,
        changed=counts["change"],
        left_out=counts["leave_out"],
        added=len(added),
        kept=counts["keep"],
        open=len(changes) - len(added) - counts.total() + counts["unsure"],
    )


def _checked(
    path: Path, decided: Sequence[DecidedRow], data: Path, table: Table, known: Sequence[str]
) -> dict[str, ReviewDecision]:
    """{image name: its decision}, all of them checked against the table and the known labels."""
    rows = {row.image_name: row for row in table.rows}
    photos = PhotoLookup(data)
    for entry in decided:
        decision = entry.decision
        reason = _problem(decision, rows.get(decision.image_name), known, photos)
        if reason:
            raise DataError(
                f"{path} row {entry.line}: {decision.image_name!r} {reason}; nothing was written"
            )
    return {entry.decision.image_name: entry.decision for entry in decided}


def _problem(
    decision: ReviewDecision, row: Row | None, known: Sequence[str], photos: PhotoLookup
) -> str:
    """Why a decision cannot be applied; empty if it can."""
    unknown = [label for label in decision.labels if label not in known]
    if unknown:
        return (
            f"has the unknown label {unknown[0]!r}: the labels are {', '.join(known)}. If it is a "
            f"new one, add --new-label {unknown[0]}"
        )
    if row is not None and set(row.labels) != set(decision.given):
        now = " ".join(row.labels) or "none"
        return (
            f"was decided on with the labels {' '.join(decision.given) or 'none'}, and the table "
            f"has {now} now: delete the row, and review it again"
        )
    if decision.choice != "change":
        return ""
    if not decision.labels:
        return "changes its labels to none: write them in the column labels, or keep or leave_out"
    return "" if row is not None else _problem_of_new(decision, photos)


def _problem_of_new(decision: ReviewDecision, photos: PhotoLookup) -> str:
    """Why a photograph without a row cannot get one; empty if it can."""
    if decision.given:
        return "is not in the table any more: delete the row"
    if decision.image_name not in photos:
        return "is in no folder of the data: copy it there first, and write its name in the row"
    return ""


def _plain_cells(
    table: Table, changes: dict[str, ReviewDecision], added: dict[str, ReviewDecision]
) -> list[list[str]]:
    """The rows image,labels of a data set whose folders are its classes."""
    cells = [["image", "labels"]]
    for row in table.rows:
        decision = changes.get(row.image_name)
        if decision is None or decision.choice in ("keep", "unsure"):
            cells.append([row.image_name, " ".join(row.labels)])
        elif decision.choice == "change":
            cells.append([row.image_name, " ".join(decision.labels)])
    for name, decision in added.items():
        cells.append([name, " ".join(decision.labels)])
    return cells


def _sheet_cells(
    sheet: Sheet,
    layout: Layout,
    table: Table,
    changes: dict[str, ReviewDecision],
    added: dict[str, ReviewDecision],
) -> list[list[str]]:
    """The rows of a table's file, with other labels where it was decided so."""
    name_of = {row.line: row.image_name for row in table.rows}
    cells = [list(sheet.header)]
    for row in sheet.rows:
        decision = changes.get(name_of.get(row.line, ""))
        if decision is not None and decision.choice == "leave_out":
            continue
        own = list(row.cells)
        if decision is not None and decision.choice == "change":
            _set_labels(own, sheet, layout, decision.labels)
        cells.append(own)

    for name, decision in added.items():
        own = [""] * len(sheet.header)
        own[layout.image] = name
        if layout.group is not None:
            own[layout.group] = _UNKNOWN_GROUP
        _set_labels(own, sheet, layout, decision.labels)
        cells.append(own)
    return cells


def _require_columns(
    csv_path: Path, sheet: Sheet, layout: Layout, new_labels: Sequence[str]
) -> None:
    """Refuse new labels without a column, in a table that has a column a label."""
    if layout.labels is not None:
        return
    columns = {label_of_name(sheet.header[column]) for column in layout.label_columns}
    missing = [label for label in new_labels if label not in columns]
    if missing:
        raise DataError(
            f"{csv_path} has no column {missing[0]!r}: add it there, with 0 in each row"
        )


def _set_labels(cells: list[str], sheet: Sheet, layout: Layout, labels: Sequence[str]) -> None:
    """Write labels into the cells of one row."""
    missing = max([layout.labels or 0, *layout.label_columns]) + 1 - len(cells)
    cells += [""] * missing
    if layout.labels is not None:
        cells[layout.labels] = " ".join(labels)
        return
    for column in layout.label_columns:
        cells[column] = str(int(label_of_name(sheet.header[column]) in labels))


def _new_path(folder: Path, stem: str) -> Path:
    """A file of the folder that does not exist yet."""
    for number in itertools.count(1):
        suffix = "" if number == 1 else f"-{number}"
        path = folder / f"{stem}-reviewed{suffix}.csv"
        if not path.exists():
            return path
    raise AssertionError("there is always another number")
