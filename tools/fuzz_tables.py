"""Random tables as spreadsheets write them, with what they mean."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from unicodedata import normalize

from hypothesis import strategies as st

__all__ = ["PHOTOGRAPHS", "WrittenTable", "written_tables"]

PHOTOGRAPHS = tuple(f"{index}.png" for index in range(12))
"""The photographs of the folder that the tables are in."""

_HEADERS = (("image", "labels"), ("Image", "Labels"), ("filename", "label"), ("File Name", "CLASS"))
_NO_LABEL = ",;|\"'\ufeff"


@dataclass(frozen=True)
class WrittenTable:
    """A table's file, and its rows: the photograph's file name and its labels."""

    content: bytes
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class _Style:
    """How a program writes a table."""

    header: tuple[str, str]
    delimiter: str
    line_end: str
    are_all_quoted: bool
    start: str
    encoding: str
    empty_columns: int
    empty_rows: int
    write_name: Callable[[str], str]


def written_tables() -> st.SearchStrategy[WrittenTable]:
    """Tables with labels of any script, and a column of notes that is not read."""
    word = st.text(_characters(_NO_LABEL), min_size=1, max_size=6)
    labels = st.lists(word.filter(_is_label), max_size=3, unique=True)
    note = st.text(_characters("\ufeff"), max_size=10)
    rows = st.lists(
        st.tuples(st.sampled_from(PHOTOGRAPHS), labels, note),
        min_size=1,
        max_size=8,
        unique_by=lambda row: row[0],
    )
    return st.builds(_write, rows, _styles())


def _characters(excluded: str) -> st.SearchStrategy[str]:
    """Characters that can be seen, without spaces."""
    return st.characters(categories=("L", "M", "N", "P", "S"), exclude_characters=excluded)


def _is_label(word: str) -> bool:
    """Whether a word is one label, written as leafzoom writes it."""
    return normalize("NFC", word) == word and word.isprintable() and word.split() == [word]


def _styles() -> st.SearchStrategy[_Style]:
    """The ways of programs to write a table."""
    return st.builds(
        _Style,
        header=st.sampled_from(_HEADERS),
        delimiter=st.sampled_from(",;\t|"),
        line_end=st.sampled_from(["\n", "\r\n", "\r"]),
        are_all_quoted=st.booleans(),
        start=st.sampled_from(["", "", "\ufeff", "\ufeff\ufeff", "sep", "\ufeffsep"]),
        encoding=st.sampled_from(["utf-8", "utf-8", "utf-16"]),
        empty_columns=st.integers(0, 3),
        empty_rows=st.integers(0, 3),
        write_name=st.sampled_from([str, str.upper, lambda name: name.removesuffix(".png")]),
    )


def _write(rows: list[tuple[str, list[str], str]], style: _Style) -> WrittenTable:
    """The file of some rows."""
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=style.delimiter,
        lineterminator=style.line_end,
        quoting=csv.QUOTE_ALL if style.are_all_quoted else csv.QUOTE_MINIMAL,
    )
    empty_cells = [""] * style.empty_columns
    writer.writerow([*style.header, "note", *empty_cells])
    for name, labels, note in rows:
        writer.writerow([style.write_name(name), " ".join(labels), note, *empty_cells])
        for _ in range(style.empty_rows):
            writer.writerow(["", "", "", *empty_cells])

    start = style.start.replace("sep", f"sep={style.delimiter}{style.line_end}")
    content = (start + text.getvalue()).encode(style.encoding)
    return WrittenTable(content, tuple((name, tuple(labels)) for name, labels, _ in rows))
