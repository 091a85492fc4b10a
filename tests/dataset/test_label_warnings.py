"""Labels that are probably not what was meant are warned of, with the labels as they will be."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import write_data_folder
from leafzoom.dataset.label_warnings import label_warnings
from leafzoom.dataset.table import read_table


def test_sound_labels_give_no_warning(leaves: Path) -> None:
    assert read_table(leaves).warnings == ()
    assert label_warnings([["scab"], ["rust"], ["scab", "rust"], [], ["healthy"]]) == []
    assert label_warnings([]) == []


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("Scab", "scab"), "'Scab' and 'scab' differ by case alone"),
        (("ÄPFEL", "äpfel"), "'ÄPFEL' and 'äpfel' differ by case alone"),
        (("frog-eye", "frog_eye"), "differ by case, hyphens and underscores alone"),
    ],
)
def test_labels_that_are_nearly_the_same(labels: tuple[str, ...], expected: str) -> None:
    warning, classes = label_warnings([[label] for label in labels])
    assert expected in warning
    assert classes == f"as written, the labels are {', '.join(sorted(labels))}"


@pytest.mark.parametrize("label", ["nan", "NaN", "None", "none", "NULL", "NA", "N/A", "#N/A"])
def test_words_for_an_empty_cell(label: str) -> None:
    warning, classes = label_warnings([["scab"], [label], [label]])
    assert f"{label!r} is read as a label, of 2 photographs: leave the cell empty" in warning
    assert label in classes
    assert "of 1 photograph:" in label_warnings([["scab"], [label]])[0]


def test_a_name_with_spaces_shows_the_labels_that_it_becomes() -> None:
    warning, classes = label_warnings(
        [["cedar", "apple", "rust"], ["apple", "scab"], ["healthy"], ["rust"]]
    )
    assert "apple, cedar, scab: never a photograph's only label" in warning
    assert "'cedar apple rust', 'apple scab'" in warning
    assert "cedar_apple_rust" in warning
    assert classes == "as written, the labels are apple, cedar, healthy, rust, scab"


def test_names_of_columns_are_not_taken_for_words_of_a_name(tmp_path: Path) -> None:
    content = "image,wet,scab\na.png,1,1\nb.png,1,1\n"
    table = read_table(write_data_folder(tmp_path, content, "a.png", "b.png")).require_clean()
    assert table.label_set().names == ("scab", "wet")
    assert table.warnings == ()


def test_labels_written_in_two_ways_of_unicode_are_one(tmp_path: Path) -> None:
    content = "image,labels\na.png,Mehltau-\u00fc\nb.png,Mehltau-u\u0308\n"
    table = read_table(write_data_folder(tmp_path, content, "a.png", "b.png")).require_clean()
    assert table.label_set().names == ("Mehltau-\u00fc",)
    assert table.warnings == ()


@pytest.mark.parametrize("separator", [",", ";", "|", ", ", " ; "])
def test_every_separator_in_a_cell_gets_the_same_answer(tmp_path: Path, separator: str) -> None:
    content = f'image,labels\na.png,"scab{separator}rust"\n'
    (problem,) = read_table(write_data_folder(tmp_path, content, "a.png")).problems
    assert problem.reason.startswith("has labels with a ")
    assert problem.reason.endswith(f"('scab{separator}rust'): separate labels by spaces")
