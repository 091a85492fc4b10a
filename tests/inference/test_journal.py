"""The journal of a folder of results."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafzoom.errors import LeafzoomError
from leafzoom.inference.journal import JOURNAL, Journal, JournalEntry
from leafzoom.inference.prediction import FailedPhoto, Prediction


def prediction(photo: Path) -> Prediction:
    return Prediction(
        photo=str(photo),
        labels=("rust",),
        probabilities={"rust": 0.9},
        scales=(),
        verdict="diagnosis",
        likely=("rust",),
        confidence=0.9,
        ood_score=None,
        model="m",
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "leaf.jpg"
    path.write_bytes(b"a photo")
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path, "digest")
    yield opened
    opened.close()


def test_results_come_in_the_order_of_the_photos(journal: Journal, tmp_path: Path) -> None:
    first = prediction(tmp_path / "a.jpg")
    second = FailedPhoto("b.jpg", "no photo")

    journal.add(tmp_path / "b.jpg", 1, second, None)
    journal.add(tmp_path / "a.jpg", 0, first, "a-diagnosis.png")

    entries = [JournalEntry(first, "a-diagnosis.png"), JournalEntry(second, None)]
    assert list(journal.results()) == entries
    assert list(journal.results(limit=1)) == entries[:1]
    assert journal.count() == 2


def test_the_next_run_reuses_a_prediction(photo: Path, tmp_path: Path) -> None:
    first = Journal(tmp_path, "digest")
    first.add(photo, 0, prediction(photo), "leaf-diagnosis.png")
    first.close()

    second = Journal(tmp_path, "digest")
    assert second.count() == 0
    assert second.reuse(photo, 5)
    assert list(second.results()) == [JournalEntry(prediction(photo), "leaf-diagnosis.png")]
    second.close()


def test_a_changed_photo_is_not_reused(photo: Path, journal: Journal) -> None:
    journal.add(photo, 0, prediction(photo), "leaf-diagnosis.png")
    os.utime(photo, (1, 1))

    assert not journal.reuse(photo, 0)


def test_another_models_prediction_is_not_reused(photo: Path, tmp_path: Path) -> None:
    first = Journal(tmp_path, "one")
    first.add(photo, 0, prediction(photo), "leaf-diagnosis.png")
    first.close()

    second = Journal(tmp_path, "another")
    assert not second.reuse(photo, 0)
    second.close()


def test_a_failed_photo_is_not_reused(photo: Path, journal: Journal) -> None:
    journal.add(photo, 0, FailedPhoto(str(photo), "no reader for HEIC"), None)

    assert not journal.reuse(photo, 0)


def test_a_pictures_name_is_new_and_stays(photo: Path, journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "leaf-diagnosis.png").touch()

    name = journal.picture_name(photo)
    journal.add(photo, 0, prediction(photo), name)

    assert name == "leaf-diagnosis-2.png"
    assert journal.picture_name(photo) == name
    assert journal.picture_name(tmp_path / "other" / "leaf.jpg") == "leaf-diagnosis-3.png"
    assert journal.is_picture(name)
    assert not journal.is_picture("leaf-diagnosis.png")


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / JOURNAL) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()

    with pytest.raises(LeafzoomError, match=r"is of another leafzoom \(version 7\)"):
        Journal(tmp_path, "digest")


def test_a_damaged_result_names_the_journal(photo: Path, journal: Journal) -> None:
    journal.add(photo, 0, prediction(photo), None)
    journal._connection.execute("UPDATE results SET result = '{\"photo\": 1}'")

    with pytest.raises(LeafzoomError, match=rf"{JOURNAL} has a damaged result.*choose another"):
        list(journal.results())
