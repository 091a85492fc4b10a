"""What people decided in a review: `review.csv`, written whole after every decision."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from leafzoom.errors import DataError
from leafzoom.storage import write_text

__all__ = [
    "CHOICES",
    "Choice",
    "DecidedRow",
    "DecisionFile",
    "ReviewDecision",
    "now",
    "read_decisions",
]

Choice = Literal["keep", "change", "leave_out", "unsure"]
"""Keep the given labels, take others, leave the photograph out of the table, or decide nothing."""

CHOICES: tuple[Choice, ...] = get_args(Choice)

_COLUMNS = ("image", "decision", "labels", "given", "suggested", "kinds", "score", "decided_at")
_NEEDED_COLUMNS = _COLUMNS[:4]


@dataclass(frozen=True)
class ReviewDecision:
    """A decision on one photograph.

    `labels`: those that it is to have. `given`: those that it had when it was decided.
    `suggested`, `kinds`, `score`: of the review, for people who read the file. `decided_at`: in
    UTC, ISO 8601.
    """

    image_name: str
    choice: Choice
    labels: tuple[str, ...]
    given: tuple[str, ...]
    suggested: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    score: float = 0.0
    decided_at: str = ""

    def to_cells(self) -> list[str]:
        """The row of the file."""
        return [
            self.image_name,
            self.choice,
            " ".join(self.labels),
            " ".join(self.given),
            " ".join(self.suggested),
            " ".join(self.kinds),
            f"{self.score:.4f}",
            self.decided_at,
        ]


@dataclass(frozen=True)
class DecidedRow:
    """A decision and the line of the file where it ends, the header's being 1."""

    line: int
    decision: ReviewDecision


class DecisionFile:
    """The decisions of a review, kept in a file that is written whole after each of them.

    Any number of threads may use it. A killed process leaves the file of the last decision that was
    acknowledged.

    Args:
        path: of the file; what it has is read.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        decided = read_decisions(path) if path.exists() else []
        self._decisions = {row.decision.image_name: row.decision for row in decided}

    def all(self) -> dict[str, ReviewDecision]:
        """{image name: its decision}."""
        with self._lock:
            return dict(self._decisions)

    def save(self, decision: ReviewDecision) -> None:
        """Add or replace the decision on a photograph, on the disk when this returns.

        Raises:
            LeafzoomError: the file cannot be written; nothing has changed then.
        """
        with self._lock:
            changed = {**self._decisions, decision.image_name: decision}
            self._write(changed.values())
            self._decisions = changed

    def remove(self, image_name: str) -> None:
        """Take back the decision on a photograph, if there is one.

        Raises:
            LeafzoomError: as `save`.
        """
        with self._lock:
            if image_name not in self._decisions:
                return
            changed = {name: kept for name, kept in self._decisions.items() if name != image_name}
            self._write(changed.values())
            self._decisions = changed

    def _write(self, decisions: Iterable[ReviewDecision]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for decision in decisions:
            writer.writerow(decision.to_cells())
        write_text(self.path, text.getvalue())


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_decisions(path: Path) -> list[DecidedRow]:
    """The decisions of a file, in its order.

    Raises:
        DataError: the file cannot be read, or a row of it cannot; the row is named.
    """
    rows = _read_rows(path)
    decided: list[DecidedRow] = []
    line_of: dict[str, int] = {}
    for line, cells in rows:
        decision = _decision(path, line, cells)
        name = decision.image_name
        if name in line_of:
            raise DataError(f"{path} row {line}: {name!r} is in row {line_of[name]} already")
        line_of[name] = line
        decided.append(DecidedRow(line, decision))
    return decided


def _read_rows(path: Path) -> list[tuple[int, dict[str, str | None]]]:
    """The cells of each row by column, and the line where the row ends.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), restkey="")
        header = reader.fieldnames or ()
        rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} is no CSV in UTF-8 ({error}): give a review.csv that leafzoom review wrote"
        ) from error

    missing = [name for name in _NEEDED_COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]}: give a review.csv that leafzoom review wrote"
        )
    return rows


def _decision(path: Path, line: int, cells: dict[str, str | None]) -> ReviewDecision:
    """The decision of a row.

    Raises:
        DataError: the row is short, names no photograph, or has another decision than there are.
    """
    empty = [name for name in _NEEDED_COLUMNS if cells[name] is None]
    if empty:
        raise DataError(f"{path} row {line}: has no cell for {empty[0]}: mend the row")

    texts = {name: cells.get(name) or "" for name in _COLUMNS}
    name = texts["image"]
    if not name:
        raise DataError(f"{path} row {line}: names no photograph: fill in the column image")
    return ReviewDecision(
        image_name=name,
        choice=_choice(path, line, name, texts["decision"]),
        labels=tuple(dict.fromkeys(texts["labels"].split())),
        given=tuple(texts["given"].split()),
        suggested=tuple(texts["suggested"].split()),
        kinds=tuple(texts["kinds"].split()),
        score=_score(path, line, name, texts["score"]),
        decided_at=texts["decided_at"],
    )


def _choice(path: Path, line: int, name: str, text: str) -> Choice:
    """The choice that a cell names."""
    for choice in CHOICES:
        if choice == text.strip():
            return choice
    raise DataError(
        f"{path} row {line}: {name!r} has the decision {text!r}, and there are {', '.join(CHOICES)}"
    )


def _score(path: Path, line: int, name: str, text: str) -> float:
    """The number in a cell; 0 where it is empty."""
    try:
        return float(text or 0)
    except ValueError as error:
        raise DataError(
            f"{path} row {line}: {name!r} has the score {text!r}, which is no number"
        ) from error
