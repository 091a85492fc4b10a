"""`leafzoom predict`: standard output, folders of results, and bad input."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from PIL import Image

from conftest import failure_line, needs_shared, run_command
from leafzoom.cli import cli
from leafzoom.inference.journal import Journal
from leafzoom.photo_files import find_photos

EXIF_ORIENTATION = 0x0112
LABELS = {"healthy", "ring_spot", "solid_spot"}
EXIF = {"taken", "latitude", "longitude", "camera"}


@pytest.fixture
def leaf(leaves: Path) -> Path:
    return leaves / "train_images" / "leaf-00001.jpg"


def predict_json(*arguments: object, exit_code: int = 0) -> list[dict[str, Any]]:
    result = run_command("predict", *arguments, "--format", "json")
    assert result.exit_code == exit_code, result.output
    results: list[dict[str, Any]] = json.loads(result.stdout)
    return results


def save_turned_leaf(leaves: Path, path: Path) -> Path:
    """A leaf of 300 x 200 pixels that lies on its side: 200 x 300 upright."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    with Image.open(leaves / "train_images" / "leaf-00003.jpg") as image:
        image.resize((300, 200)).save(path, exif=exif)
    return path


# Standard output.


def test_json_has_a_photos_prediction_or_its_error(
    trained: Path, leaf: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")

    prediction, failed = predict_json(leaf, broken, "--model", trained, exit_code=1)

    assert prediction["photo"] == str(leaf)
    assert set(prediction) >= {"photo", "labels", "probabilities", "scales", "verdict", "model"}
    assert set(prediction["probabilities"]) == LABELS
    assert prediction["likely"]
    assert set(prediction["likely"]) <= LABELS
    is_diagnosis = prediction["verdict"] == "diagnosis"
    assert prediction["labels"] == (prediction["likely"] if is_diagnosis else [])

    assert set(failed) == {"photo", "error"}
    assert failed["photo"] == str(broken)
    assert "is text, not a photo" in failed["error"]


def test_boxes_lie_in_each_other_on_the_upright_photo(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    photo = save_turned_leaf(leaves, tmp_path / "turned.jpg")

    (prediction,) = predict_json(photo, "--model", trained)

    assert [scale["scale"] for scale in prediction["scales"]] == [1, 2, 3]
    outer = prediction["scales"][0]["box"]
    assert outer == [0, 0, 200, 300]
    for scale in prediction["scales"][1:]:
        x0, y0, x1, y1 = scale["box"]
        assert outer[0] - 0.1 <= x0 < x1 <= outer[2] + 0.1
        assert outer[1] - 0.1 <= y0 < y1 <= outer[3] + 0.1
        # A square of the source has the photo's aspect.
        assert (y1 - y0) / (x1 - x0) == pytest.approx(1.5, rel=0.01)
        outer = scale["box"]


def test_json_lines_are_a_line_a_photo(trained: Path, leaves: Path) -> None:
    photos = leaves / "train_images"

    result = run_command("predict", photos, "--model", trained, "--format", "jsonl")

    lines = result.stdout.splitlines()
    assert len(lines) == 60
    assert json.loads(lines[0])["photo"].endswith("leaf-00000.jpg")


def test_csv_has_a_column_a_label(trained: Path, leaf: Path) -> None:
    result = run_command("predict", leaf, "--model", trained, "--format", "csv")

    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert row["verdict"] in ("diagnosis", "unsure")
    assert set(row) == {"photo", "verdict", "labels", "confidence", *LABELS, "error", *EXIF}


def test_a_table_shows_the_zooms(trained: Path, leaf: Path) -> None:
    result = run_command("predict", leaf, "--model", trained)

    assert result.exit_code == 0
    assert "scale 2 looked at x" in result.stdout


def test_a_table_prints_errors_to_standard_error(trained: Path, tmp_path: Path) -> None:
    result = run_command("predict", tmp_path / "none.jpg", "--model", trained)

    assert result.exit_code == 1
    assert "could not be read" in result.stdout
    assert "none.jpg does not exist: check the path" in result.stderr


def test_bad_paths_are_records(trained: Path, leaf: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)

    results = predict_json("x" * 300 + ".jpg", pipe, leaf, "--model", trained, exit_code=1)

    assert ["error" in result for result in results] == [True, True, False]
    assert "no regular file" in results[1]["error"]


def test_a_folder_without_a_photo_is_an_error(tmp_path: Path) -> None:
    result = run_command("predict", tmp_path, "--model", tmp_path)

    assert result.exit_code == 1
    assert "has no photo" in result.stderr


# Options.


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        (("0.999999", "healthy=0.000001"), ["healthy"]),
        (("0.999999", "solid_spot=0.000001"), ["solid_spot"]),
        # A combination that occurs.
        (("0.000001", "healthy=0.999999"), ["ring_spot", "solid_spot"]),
    ],
)
def test_thresholds_can_be_set(
    trained: Path, leaf: Path, thresholds: tuple[str, ...], expected: list[str]
) -> None:
    options: list[str] = []
    for threshold in thresholds:
        options += ["--threshold", threshold]

    (prediction,) = predict_json(leaf, "--model", trained, *options)

    assert prediction["likely"] == expected


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (
            "scab=0.5",
            "no label 'scab' to set a threshold for: the model has healthy, ring_spot, solid_spot",
        ),
        ("1", "has to lie between 0 and 1, not at 1"),
        ("nan", "has to lie between 0 and 1"),
        ("healthy=x", "--threshold takes X or LABEL=X"),
    ],
)
def test_impossible_thresholds_are_refused(
    trained: Path, leaf: Path, threshold: str, message: str
) -> None:
    result = run_command("predict", leaf, "--model", trained, "--threshold", threshold)

    assert result.exit_code == 2
    assert message in result.stderr


def test_maps_are_in_json_and_in_the_picture(trained: Path, leaf: Path, tmp_path: Path) -> None:
    (plain,) = predict_json(leaf, "--model", trained, "--out", tmp_path / "plain")
    (result,) = predict_json(leaf, "--model", trained, "--maps", "--out", tmp_path / "maps")
    evidence = result.pop("evidence")
    assert result == plain
    assert set(evidence["bias"]) == LABELS
    assert len(evidence["maps"]) == 3

    (small,) = (tmp_path / "plain").glob("*.png")
    (large,) = (tmp_path / "maps").glob("*.png")
    with Image.open(small) as before, Image.open(large) as after:
        assert after.height > before.height


def test_source_sizes(trained: Path, leaf: Path) -> None:
    (auto,) = predict_json(leaf, "--model", trained)
    (own,) = predict_json(leaf, "--model", trained, "--source-size", "96")
    (other,) = predict_json(leaf, "--model", trained, "--source-size", "160")
    assert auto == own
    assert other["probabilities"] != own["probabilities"]

    result = run_command("predict", leaf, "--model", trained, "--source-size", "2000")
    assert "takes sources of 96 to 1024 pixels, not 2000" in failure_line(result, 2)
    result = run_command("predict", leaf, "--model", trained, "--source-size", "large")
    assert "auto or a number of pixels, not 'large'" in failure_line(result, 2)


def test_early_exit(early_exit_run: Path, leaf: Path) -> None:
    (prediction,) = predict_json(leaf, "--model", early_exit_run, "--early-exit")

    assert len(prediction["scales"]) in (1, 3)


def test_early_exit_needs_a_model_that_has_one(trained: Path, leaf: Path) -> None:
    result = run_command("predict", leaf, "--model", trained, "--early-exit")

    assert result.exit_code == 2
    assert "leave out the early exit" in result.output


# Folders of results.


@pytest.fixture(scope="module")
def result_photos(leaves: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven photos: names with markup, formulas and bytes that are no text; one is broken."""
    folder = tmp_path_factory.mktemp("results") / "photos"
    folder.mkdir()
    for number in range(5):
        leaf = leaves / "train_images" / f"leaf-{number:05d}.jpg"
        shutil.copy(leaf, folder / f"={number}<b>.jpg")
    (folder / "broken.jpg").write_bytes(b"no photo")
    shutil.copy(leaves / "train_images" / "leaf-00000.jpg", folder / os.fsdecode(b"\xff.jpg"))
    return folder


@pytest.fixture(scope="module")
def results(trained: Path, result_photos: Path) -> list[dict[str, Any]]:
    """Their results, written to `out` beside them."""
    out = result_photos.parent / "out"
    return predict_json(result_photos, "--model", trained, "--out", out, exit_code=1)


def test_results_are_printed_also_with_out(results: list[dict[str, Any]]) -> None:
    assert len(results) == 7
    assert sum("error" in result for result in results) == 1


def test_a_folders_tables_have_every_result(
    results: list[dict[str, Any]], result_photos: Path
) -> None:
    out = result_photos.parent / "out"

    with (out / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    text = (out / "predictions.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]

    assert [row["labels"] for row in rows] == [
        " ".join(result.get("labels", ())) for result in results
    ]
    assert [line.get("probabilities") for line in lines] == [
        result.get("probabilities") for result in results
    ]


def test_a_folders_page_shows_every_result(
    results: list[dict[str, Any]], result_photos: Path
) -> None:
    out = result_photos.parent / "out"

    page = (out / "index.html").read_text(encoding="utf-8")

    assert page.count("<tr><td") == len(results)
    assert "7 photos, model run" in page
    assert "=1&lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page
    pictures = re.findall(r'img loading="lazy" src="([^"]+)"', page)
    assert len(pictures) == len(list(out.glob("*-diagnosis.png"))) == 6
    assert all((out / unquote(picture)).is_file() for picture in pictures)


def test_a_picture_shows_the_photo_and_its_zooms(trained: Path, leaf: Path, tmp_path: Path) -> None:
    predict_json(leaf, "--model", trained, "--out", tmp_path)

    with Image.open(tmp_path / "leaf-00001-diagnosis.png") as sheet:
        assert sheet.width > 3 * 400


def test_pictures_never_overwrite_photos_or_each_other(
    trained: Path, leaf: Path, tmp_path: Path
) -> None:
    for name in ("a.png", "a-diagnosis.png", "b/a.jpg", "b/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.open(leaf).save(tmp_path / name)
    content = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}

    # The second time, the pictures are among the photos.
    for _ in range(2):
        predict_json(tmp_path, "--model", trained, "--out", tmp_path)

        assert {path: path.read_bytes() for path in content} == content
        assert len(list(tmp_path.glob("*.png"))) == 2 + 4
        assert len((tmp_path / "predictions.jsonl").read_text().splitlines()) == 4


def test_results_below_the_photos_are_no_photos(trained: Path, leaf: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(leaf, tmp_path / name)

    for _ in range(2):
        results = predict_json(tmp_path, "--model", trained, "--out", tmp_path / "results")
        assert len(results) == 2


def test_names_and_shapes_that_are_too_long(trained: Path, leaf: Path, tmp_path: Path) -> None:
    """A picture's name is cut, and a photo of one line is squeezed; the others go on."""
    for name in ("\u82f9\u679c" * 40 + ".jpg", "\u82f9\u679c" * 40 + ".jpeg", "a" * 250 + ".jpg"):
        shutil.copy(leaf, tmp_path / name)
    Image.new("RGB", (3000, 2), (10, 120, 30)).save(tmp_path / "line.png")
    out = tmp_path / "out"

    predict_json(tmp_path, "--model", trained, "--out", out)

    assert len((out / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 5
    pictures = sorted(out.glob("*.png"))
    assert len(pictures) == 4
    assert all(len(os.fsencode(path.name)) < 200 for path in pictures)
    with Image.open(out / "line-diagnosis.png") as sheet:
        assert sheet.width < 3 * 4 * sheet.height


def test_a_photo_that_could_not_be_read_is_tried_a_second_time(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HEIC before and after its extra is installed: the file is the same."""
    pillow_heif = pytest.importorskip("pillow_heif")
    photo = tmp_path / "a.heic"
    pillow_heif.from_pillow(Image.new("RGB", (96, 64), "green")).save(photo)
    arguments = (photo, "--model", trained, "--out", tmp_path / "out")

    with monkeypatch.context() as without_extra:
        without_extra.setitem(sys.modules, "pillow_heif", None)
        (failed,) = predict_json(*arguments, exit_code=1)
    (prediction,) = predict_json(*arguments)

    assert "leafzoom[heic]" in failed["error"]
    assert "error" not in prediction


def test_a_file_that_is_no_journal_is_refused(trained: Path, leaf: Path, tmp_path: Path) -> None:
    (tmp_path / "predictions.db").write_bytes(b"garbage" * 100)

    result = run_command("predict", leaf, "--model", trained, "--out", tmp_path)

    assert result.exit_code == 1
    assert "predictions.db cannot be used" in result.stderr


def test_camera_photographs(trained: Path, tmp_path: Path) -> None:
    """Full-size photos: boxes in their own pixels, pictures of the zooms."""
    photos = needs_shared("photos")

    results = predict_json(photos, "--model", trained, "--out", tmp_path)

    assert len(results) == len(find_photos([photos])) == 3
    for result in results:
        with Image.open(result["photo"]) as image:
            assert result["scales"][0]["box"] == [0, 0, image.width, image.height]
        assert (tmp_path / f"{Path(result['photo']).stem}-diagnosis.png").is_file()


# Coverage.


def test_a_coverage_adds_the_possible_answers(trained: Path, leaf: Path) -> None:
    (prediction,) = predict_json(leaf, "--model", trained, "--coverage", "0.75")

    assert prediction["likely"] in prediction["possible"]
    assert all(set(labels) <= LABELS for labels in prediction["possible"])

    table = run_command("predict", leaf, "--model", trained, "--coverage", "0.75")
    assert "\n  possible: " in table.stdout


def test_more_than_can_be_guaranteed_is_every_answer_with_a_note(trained: Path, leaf: Path) -> None:
    result = run_command(
        "predict", leaf, "--model", trained, "--coverage", "0.99", "--format", "csv"
    )

    assert result.exit_code == 0
    assert "a coverage of 0.99 is more than 6 calibration photographs can guarantee" in (
        result.stderr
    )
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    columns = {"photo", "verdict", "labels", "confidence", *LABELS, "possible", "error", *EXIF}
    assert set(row) == columns
    answers = row["possible"].split(" | ")
    assert len(answers) >= 3
    assert "ring_spot solid_spot" in answers


@pytest.mark.parametrize("coverage", ["0.4", "1", "nan", "x", "-0.9"])
def test_impossible_coverages_are_refused(trained: Path, leaf: Path, coverage: str) -> None:
    result = run_command("predict", leaf, "--model", trained, "--coverage", coverage)

    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_a_model_without_a_calibration_is_named(leaf: Path) -> None:
    older = Path(__file__).parents[1] / "golden" / "model-format-1.onnx"

    result = run_command("predict", leaf, "--model", older, "--coverage", "0.9")

    assert result.exit_code == 1
    assert "has no calibration for a coverage" in result.stderr


def test_a_folder_is_diagnosed_again_for_another_coverage(
    trained: Path, leaf: Path, tmp_path: Path
) -> None:
    arguments = (leaf, "--model", trained, "--out", tmp_path)
    (without,) = predict_json(*arguments)
    (with_sets,) = predict_json(*arguments, "--coverage", "0.75")

    assert "possible" not in without
    assert with_sets["possible"]
    header = (tmp_path / "predictions.csv").read_text().splitlines()[0]
    assert ",possible,error,taken," in header
    content = json.loads((tmp_path / "predictions.jsonl").read_text())
    assert content["possible"] == with_sets["possible"]


# What people name.


def test_lists_archives_and_patterns_are_read(trained: Path, leaf: Path, tmp_path: Path) -> None:
    shutil.copy(leaf, tmp_path / "a b.jpg")
    (tmp_path / "list.txt").write_bytes("\ufeffa b.jpg\r\n\r\nhttps://x.org/y.jpg\r\n".encode())
    with zipfile.ZipFile(tmp_path / "season.zip", "w") as archive:
        archive.write(leaf, "../a.jpg")

    results = predict_json(
        *(tmp_path / "season.zip", tmp_path / "a*.jpg", "--from-file", tmp_path / "list.txt"),
        *("--model", trained, "--out", tmp_path / "out"),
        exit_code=1,
    )

    assert [result["photo"] for result in results] == [
        f"{tmp_path}/season.zip/../a.jpg",
        f"{tmp_path}/a b.jpg",  # named twice, diagnosed once
        "https://x.org/y.jpg",
    ]
    assert results[0]["probabilities"] == results[1]["probabilities"]
    assert results[2]["error"].startswith("https://x.org/y.jpg is an address")
    names = {path.name for path in tmp_path.rglob("*.png")}
    assert names == {"a-diagnosis.png", "a b-diagnosis.png"}
    assert all(path.parent == tmp_path / "out" for path in tmp_path.rglob("*.png"))


@pytest.mark.parametrize("separator", ["\n", "\0", "\r\n"])
def test_a_list_comes_from_standard_input(trained: Path, leaf: Path, separator: str) -> None:
    words = ["predict", "--from-file", "-", "--model", str(trained), "--format", "csv"]

    result = CliRunner().invoke(cli, words, input=f"{leaf}{separator}".encode())

    assert result.exit_code == 0, result.output
    assert str(leaf) in result.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\n", "names no photo: write a path a line"),
        (b"x" * 40_000, "is no list of photos, a path a line"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "list.txt").write_bytes(content)

    result = run_command("predict", "--from-file", tmp_path / "list.txt")

    assert message in failure_line(result, 1)


@pytest.mark.parametrize(
    "arguments", [("",), ("a.jpg", "--out", ""), ("a.jpg", "--from-file", " "), ("\n",)]
)
def test_empty_names_are_refused(arguments: tuple[str, ...]) -> None:
    """`predict "$UNSET"` would read the current folder."""
    result = run_command("predict", *arguments)

    assert "the path is empty: is a variable unset?" in failure_line(result, 2)


def test_nothing_to_predict_is_refused() -> None:
    assert "name a photo, a folder or a ZIP" in failure_line(run_command("predict"), 2)


def test_a_second_predict_into_the_same_folder_is_one_line(
    trained: Path, leaf: Path, tmp_path: Path
) -> None:
    with closing(Journal(tmp_path, "x")):
        result = run_command("predict", leaf, "--model", trained, "--out", tmp_path)

    line = failure_line(result, 1)
    assert line.startswith(f"leafzoom: another leafzoom predict writes to {tmp_path}: wait")

    # As soon as the first has ended, the second can go on.
    predict_json(leaf, "--model", trained, "--out", tmp_path)


def test_earlier_results_are_no_photos_and_what_is_passed_over_is_said(
    trained: Path, leaf: Path, tmp_path: Path
) -> None:
    shutil.copy(leaf, tmp_path / "a.jpg")
    predict_json(tmp_path, "--model", trained, "--out", tmp_path / "first")
    (tmp_path / "first" / "predictions.db").unlink()
    predict_json(tmp_path, "--model", trained, "--out", tmp_path / "second")
    (tmp_path / "raw.dng").touch()

    result = run_command("predict", tmp_path, "--model", trained, "--format", "jsonl")

    assert len(result.stdout.splitlines()) == 1
    assert "1 picture of another format (1 .dng; convert to JPEG to read)" in result.stderr
    assert "2 pictures that leafzoom has drawn" in result.stderr


def test_a_folder_that_may_not_be_read_is_a_record(
    trained: Path, leaf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(leaf, tmp_path / "a.jpg")
    locked = tmp_path / "locked"
    locked.mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)

    read, failed = predict_json(tmp_path, "--model", trained, exit_code=1)

    assert read["photo"] == str(tmp_path / "a.jpg")
    assert failed["error"] == (
        f"{locked} is a folder that cannot be read (Permission denied): give yourself "
        "permission to it"
    )


def test_a_photo_of_the_far_future_is_diagnosed(trained: Path, leaf: Path, tmp_path: Path) -> None:
    """Nanoseconds since 1970 leave 64 bits in 2262; a broken camera clock sets such times."""
    photo = tmp_path / "a.jpg"
    shutil.copy(leaf, photo)
    for year in (2300, 2440, 1800):
        seconds = (year - 1970) * 31_556_952
        os.utime(photo, (seconds, seconds))
        (prediction,) = predict_json(photo, "--model", trained, "--out", tmp_path / "out")
        assert "error" not in prediction
