"""`leafzoom predict --group-by`, and what photos say about themselves."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from conftest import failure_line, run_command
from exif_photos import degrees, make_exif, save_with_exif
from leafzoom.inference.network import OnnxNetwork
from leafzoom.model_file.onnx_writer import write_manifest


@pytest.fixture
def orchard(leaves: Path, tmp_path: Path) -> Path:
    """Three photos in two folders; one camera's clock was not set."""
    folder = tmp_path / "orchard"
    for number, (row, taken) in enumerate(
        [("a", "2026:06:01 10:00:00"), ("a", "0000:00:00 00:00:00"), ("b", "2026:06:02 10:00:00")]
    ):
        exif = make_exif(
            taken,
            latitude=("N", degrees(50.5 + number / 1000)),
            longitude=("W", degrees(7.25)),
            camera=("Canon", "EOS 90D"),
        )
        with Image.open(leaves / "train_images" / f"leaf-0000{number}.jpg") as image:
            save_with_exif(folder / row / f"{number}.jpg", image, exif)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_say_when_where_and_with_what(trained: Path, orchard: Path, tmp_path: Path) -> None:
    out = tmp_path / "day"
    result = run_command("predict", orchard, "--model", trained, "--out", out)

    assert result.exit_code == 0, result.output
    line = "the EXIF of 1 photos has impossible values, which are left out: taken 1"
    assert line in result.stderr
    first, second, _ = rows_of(out / "predictions.csv")
    assert list(first)[-5:] == ["error", "taken", "latitude", "longitude", "camera"]
    assert first["taken"] == "2026-06-01T10:00:00"
    assert (first["latitude"], first["longitude"]) == ("50.500000", "-7.250000")
    assert first["camera"] == "Canon EOS 90D"
    assert second["taken"] == ""
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["latitude"] == 50.5
    assert "taken" not in json.loads(lines[1])


def test_without_location_no_file_has_the_place(
    trained: Path, orchard: Path, tmp_path: Path
) -> None:
    """Nor has the journal, where an earlier call has stored it."""
    out = tmp_path / "day"
    options = ("predict", orchard, "--model", trained, "--out", out, "--group-by", "folder")
    assert run_command(*options).exit_code == 0
    assert b"50.501" in (out / "predictions.db").read_bytes()

    result = run_command(*options, "--no-location", "--format", "csv")

    assert result.exit_code == 0, result.output
    assert "Canon EOS 90D" in result.stdout
    for content in [result.stdout_bytes, *(path.read_bytes() for path in out.iterdir())]:
        assert b"50.50" not in content
    assert not (out / "map.geojson").exists()


def test_a_report_of_earlier_results_does_not_outlive_them(
    trained: Path, orchard: Path, tmp_path: Path
) -> None:
    """It would show places that `--no-location` leaves out."""
    out = tmp_path / "day"
    options = ("predict", orchard, "--model", trained, "--out", out)
    assert run_command(*options, "--group-by", "folder").exit_code == 0
    assert b"50.501" in (out / "map.geojson").read_bytes()

    result = run_command(*options, "--no-location")

    assert result.exit_code == 0, result.output
    assert "the orchard report of earlier results is removed" in result.stderr
    for path in out.iterdir():
        assert b"50.50" not in path.read_bytes()
    names = {path.name for path in out.iterdir()}
    assert not names & {"orchard.html", "groups.csv", "report.xlsx", "map.geojson"}
    assert "removed" not in run_command(*options).stderr


def test_a_report_is_written_by_folder(trained: Path, orchard: Path, tmp_path: Path) -> None:
    out = tmp_path / "day"
    options = ("predict", orchard, "--model", trained, "--out", out, "--group-by", "folder")
    result = run_command(*options)

    assert result.exit_code == 0, result.output
    assert f"{out}: orchard.html, groups.csv, map.geojson, report.xlsx" in result.stderr
    rows = rows_of(out / "groups.csv")
    assert [row["group"] for row in rows] == ["a"] * 3 + ["b"] * 3
    assert [row["photos"] for row in rows] == ["2"] * 3 + ["1"] * 3
    assert {row["corrected"] for row in rows} == {"yes"}
    page = (out / "orchard.html").read_text(encoding="utf-8")
    assert "0-diagnosis.png" in page
    assert "50.5" not in page


def test_a_table_of_trees_is_read_before_any_photo(
    trained: Path, orchard: Path, tmp_path: Path
) -> None:
    trees = tmp_path / "trees.csv"
    trees.write_text("photo,block,tree\n0.jpg,A,1\n1.jpg,A,2\n2.jpg,B,1\n")
    out = tmp_path / "day"
    options = ("predict", orchard, "--model", trained, "--out", out)
    assert run_command(*options, "--group-by", f"csv:{trees}").exit_code == 0
    groups = {(row["by"], row["group"]) for row in rows_of(out / "groups.csv")}
    assert ("block", "block A") in groups
    assert ("tree", "block B, tree 1") in groups

    trees.write_text("photo,tree\nother.jpg,1\n")
    other = tmp_path / "other"
    result = run_command(
        *("predict", orchard, "--model", trained, "--out", other, "--group-by", f"csv:{trees}")
    )
    assert "names none of the 3 photos" in failure_line(result, 1)
    assert not (other / "predictions.db").exists()


def test_options_that_do_not_fit_are_refused(trained: Path, orchard: Path, tmp_path: Path) -> None:
    result = run_command("predict", orchard, "--model", trained, "--group-by", "folder")
    assert "name it with --out" in failure_line(result, 2)
    out = tmp_path / "day"
    result = run_command("predict", orchard, "--out", out, "--group-by", "week")
    assert "--group-by takes folder, day or csv:FILE, not 'week'" in failure_line(result, 2)


def test_shares_are_uncorrected_where_the_confusion_is_of_other_answers(
    trained: Path, orchard: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older.onnx"
    shutil.copyfile(trained / "model.onnx", older)
    write_manifest(older, replace(OnnxNetwork(older).manifest, confusion=None))

    for name, model, options in (
        ("older", older, ()),
        ("own", trained, ("--threshold", "0.4")),
    ):
        out = tmp_path / name
        arguments = ("predict", orchard, "--model", model, "--out", out, "--group-by", "day")
        assert run_command(*arguments, *options).exit_code == 0
        assert {row["corrected"] for row in rows_of(out / "groups.csv")} == {"no"}
        assert "Shares are uncorrected" in (out / "orchard.html").read_text(encoding="utf-8")
