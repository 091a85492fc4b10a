"""The notebook of the documents runs, and says what is written there."""

from __future__ import annotations

import re

import nbformat
import pytest

from tools.notebook import NOTEBOOK, run_notebook, text_outputs

NUMBER = re.compile(r"\d+(?:\.\d+)?")
LARGEST_FILE = 200_000


def words_and_numbers(text: str) -> tuple[list[str], list[float]]:
    return NUMBER.sub("", text).split(), [float(number) for number in NUMBER.findall(text)]


@pytest.mark.slow
def test_it_runs_and_prints_what_is_stored() -> None:
    """Processors differ in the last digits."""
    stored = text_outputs(nbformat.read(NOTEBOOK, as_version=4))
    for printed, expected in zip(text_outputs(run_notebook()), stored, strict=True):
        words, numbers = words_and_numbers(printed)
        expected_words, expected_numbers = words_and_numbers(expected)
        assert words == expected_words
        assert numbers == pytest.approx(expected_numbers, rel=0.02, abs=1)


def test_its_page_has_what_the_notebook_has() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    page = NOTEBOOK.with_suffix(".md").read_text(encoding="utf-8")
    for cell in notebook.cells:
        assert cell.source in page
    for text in text_outputs(notebook):
        assert text.rstrip() in page


def test_it_is_small_and_whole() -> None:
    assert NOTEBOOK.stat().st_size < LARGEST_FILE
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    printed = [text for text in text_outputs(notebook) if text]
    assert len(printed) >= 6
