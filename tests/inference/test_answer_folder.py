"""Answers in files of Parquet: the CSV's columns, whole files, no row twice."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec
import pyarrow
import pyarrow.parquet
import pytest

from leafzoom.errors import DataError
from leafzoom.exif import Exif
from leafzoom.inference.answer_folder import AnswerFolder
from leafzoom.inference.answer_table import answer_schema, answer_table
from leafzoom.inference.formats import write_records
from leafzoom.inference.prediction import FailedPhoto, Prediction, ScalePrediction

LABELS = ("rust", "scab")
LOOKS = ("scale1", "scale2")
SCHEMA = answer_schema(LABELS, LOOKS)


def prediction(photo: str) -> Prediction:
    """An answer with two looks."""
    probabilities = {"rust": 0.25, "scab": 0.75}
    scales = (
        ScalePrediction(1, (0.0, 0.0, 40.0, 30.0), probabilities),
        ScalePrediction(2, (4.0, 3.0, 20.5, 15.0), probabilities),
    )
    return Prediction(
        photo=photo,
        labels=("scab",),
        probabilities=probabilities,
        scales=scales,
        verdict="diagnosis",
        likely=("scab",),
        confidence=0.75,
        ood_score=None,
        model="tiny",
        exif=Exif(taken="2026-09-01T10:00:00", latitude=47.5, longitude=9.25, camera="X"),
    )


def write(folder: AnswerFolder, photos: Sequence[str], failed: Sequence[str] = ()) -> None:
    """Write a block in which some photos cannot be read."""
    results = [
        FailedPhoto(photo, "is cut off") if photo in failed else prediction(photo)
        for photo in photos
    ]
    folder.write(photos, answer_table(results, SCHEMA, folder.model_digest))


def photos_at(folder: Path) -> list[str]:
    """The photos of all rows."""
    return sorted(pyarrow.parquet.read_table(folder).column("photo").to_pylist())


@pytest.fixture(params=["folder", "address"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder, and an address."""
    filesystem = fsspec.filesystem("memory")
    yield str(tmp_path / "out") if request.param == "folder" else "memory://answers/out"
    filesystem.store.clear()


def test_columns_are_those_of_the_csv_then_the_boxes() -> None:
    results = [prediction("a.jpg"), FailedPhoto("b.jpg", "is cut off")]
    text = io.StringIO()
    write_records(results, "csv", text, LABELS)
    header, first, second = csv.reader(text.getvalue().splitlines())

    table = answer_table(results, SCHEMA, "digest")
    names = table.column_names
    assert names[: len(header)] == header
    boxes = [f"box_{look}_{edge}" for look in LOOKS for edge in ("x0", "y0", "x1", "y1")]
    assert names[len(header) :] == [*boxes, "model", "model_digest"]

    answer, failed = table.to_pylist()
    for name, cell in zip(header, first, strict=True):
        value = answer[name]
        if isinstance(value, float):
            assert value == float(cell)
        else:
            assert (value or "") == cell
    assert [answer[name] for name in boxes[4:]] == [4.0, 3.0, 20.5, 15.0]
    assert {name: cell for name, cell in failed.items() if cell is not None} == {
        "photo": "b.jpg",
        "error": second[header.index("error")],
        "model_digest": "digest",
    }


def test_possible_answers_have_a_column() -> None:
    assert "possible" not in SCHEMA.names
    names = answer_schema(LABELS, LOOKS, possible=True).names
    assert names.index("possible") == names.index("error") - 1


def test_only_what_is_missing_is_left_to_do(destination: str) -> None:
    photos = pyarrow.array(["a", "b", "c", "d"])
    folder = AnswerFolder(destination, "digest")
    assert folder.begin(photos).to_pylist() == ["a", "b", "c", "d"]

    write(folder, ["a", "b"], failed=["b"])
    assert AnswerFolder(destination, "digest").begin(photos).to_pylist() == ["b", "c", "d"]

    # The failed row is gone until it is written again.
    write(folder, ["b", "c", "d"])
    assert folder.begin(photos).to_pylist() == []


def test_a_block_that_is_written_twice_has_its_rows_once(tmp_path: Path) -> None:
    folder = AnswerFolder(str(tmp_path), "digest")
    write(folder, ["a", "b"], failed=["a"])
    write(folder, ["a", "b"])
    assert photos_at(tmp_path) == ["a", "b"]
    write(folder, ["a", "b"], failed=["a", "b"])
    assert photos_at(tmp_path) == ["a", "b"]
    assert len(list(tmp_path.iterdir())) == 1


def test_failed_rows_of_other_photos_stay(tmp_path: Path) -> None:
    folder = AnswerFolder(str(tmp_path), "digest")
    write(folder, ["a", "b"], failed=["a", "b"])
    assert folder.begin(pyarrow.array(["b"])).to_pylist() == ["b"]
    assert photos_at(tmp_path) == ["a"]


def test_other_answers_and_other_files_are_refused(destination: str) -> None:
    folder = AnswerFolder(destination, "digest")
    folder.begin(pyarrow.array(["a"]))
    write(folder, ["a"])
    with pytest.raises(DataError, match="another model or of other options: choose another --out"):
        AnswerFolder(destination, "other").begin(pyarrow.array(["a"]))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "answers-1.parquet").write_bytes(b"PAR1 is all")
    with pytest.raises(DataError, match=r"answers-1\.parquet is damaged"):
        AnswerFolder(str(tmp_path), "digest").begin(pyarrow.array(["a"]))


def test_the_rest_of_a_killed_write_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".answers-1.parquet.12.partial").write_bytes(b"half")
    AnswerFolder(str(tmp_path), "digest").begin(pyarrow.array(["a"]))
    assert list(tmp_path.iterdir()) == []
