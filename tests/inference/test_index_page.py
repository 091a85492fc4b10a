"""The page of a folder of results."""

from __future__ import annotations

from leafzoom.inference.index_page import index_page
from leafzoom.inference.journal import JournalEntry
from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.inference.verdict import Verdict

FAILED = JournalEntry(FailedPhoto("<broken>.jpg", "no & photo"), None)


def entry(verdict: Verdict, labels: tuple[str, ...] = ()) -> JournalEntry:
    prediction = Prediction(
        photo="leaf 1.jpg",
        labels=labels,
        probabilities={"healthy": 0.004, "ring_spot": 0.756},
        scales=(),
        verdict=verdict,
        likely=("ring_spot",),
        confidence=0.8,
        ood_score=0.5,
        model="run",
    )
    return JournalEntry(prediction, "leaf 1-diagnosis.png")


def test_a_row_has_picture_diagnosis_confidence_and_labels() -> None:
    page = index_page([entry("diagnosis", ("ring_spot", "solid_spot"))], 1, "run")

    assert 'src="leaf%201-diagnosis.png" alt="ring spot + solid spot"' in page
    assert "<b>ring spot + solid spot</b>" in page
    assert 'data-key="0.800000">80%</td>' in page
    assert "ring spot 76%" in page
    assert "healthy" not in page, "what rounds to 0 % is left out"


def test_a_row_without_a_diagnosis_shows_the_verdict() -> None:
    assert "<b>unsure</b>" in index_page([entry("unsure")], 1, "run")
    assert "<b>not a leaf</b>" in index_page([entry("not_a_leaf")], 1, "run")
    assert "<b>no label</b>" in index_page([entry("diagnosis")], 1, "run")


def test_names_and_errors_are_escaped() -> None:
    page = index_page([FAILED], 1, "<model>")

    assert "&lt;broken&gt;.jpg" in page
    assert "no &amp; photo" in page
    assert "model &lt;model&gt;" in page


def test_a_page_of_some_photos_says_of_how_many() -> None:
    assert "<p>the first 1 of 7 photos" in index_page([FAILED], 7, "run")
    assert "<p>1 photos" in index_page([FAILED], 1, "run")


def test_a_name_that_is_no_text_can_be_written() -> None:
    page = index_page([JournalEntry(FailedPhoto("\udcff.jpg", "broken"), None)], 1, "run")

    assert "?.jpg" in page.encode().decode()
