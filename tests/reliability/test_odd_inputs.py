"""Every command over a corpus of hostile and odd inputs: an answer or one line, no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from PIL import Image

import leafzoom
from conftest import SET_TINY
from leafzoom.cli import cli
from leafzoom.serve.app import create_app
from tools.odd_inputs import odd_models, odd_recipes, odd_results, odd_splits, odd_tables
from tools.odd_photos import odd_photo_names, odd_photos, sound_photos

TABLES = odd_tables(0)
PHOTOS = odd_photos(0)
MAX_LINE_CHARACTERS = 2500

EVALUATED = ("markup", "no-labels")
"""Tables that can be read and are evaluated too."""

pytestmark = pytest.mark.slow


def run(*arguments: object) -> int:
    """Run a command; its exit code, once its failure, if any, is one line that can be shown."""
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{arguments}: {result.exception!r}") from result.exception

    assert "Traceback" not in result.stderr
    assert result.exit_code in (0, 1, 2)
    failures = [line for line in result.stderr.splitlines() if line.startswith(("leafzoom:", "Er"))]
    if result.exit_code and not (arguments[0] == "predict" and '"error"' in result.stdout):
        assert failures, result.stderr
    for line in failures:
        assert line.isprintable(), repr(line)
        assert len(line) < MAX_LINE_CHARACTERS
    return result.exit_code


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with twelve photographs and no table."""
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(12):
        Image.new("RGB", (40, 30), (20 * index, 90, 255 - 20 * index)).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def table(photographs: Path) -> Iterator[Path]:
    """Where the table of the data folder is written."""
    path = photographs / "train.csv"
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables(name: str, table: Path, trained: Path, tmp_path: Path) -> None:
    table.write_bytes(TABLES[name])
    data = ("--data", table.parent)
    prepared = run("prepare", *data, "--source-size", 64, "--out", tmp_path / "prepared")
    grouped = run("prepare", *data, "--source-size", 64, "--group-column", "labels")
    assert grouped >= prepared

    # What cannot be read cannot be used either; the others take too long here.
    if prepared or name in EVALUATED:
        options = ("--zooms", 0, "--out", tmp_path / "report")
        assert run("evaluate", trained, *data, *options) >= prepared
        assert run("export", trained, *data, "--out", tmp_path / "model.onnx") == prepared
    if prepared:
        options = ("--recipe", "default", *SET_TINY)
        assert run("train", *data, *options, "--out", tmp_path / "run")


def test_photos(trained: Path, tmp_path: Path) -> None:
    """Each by itself, then all from one folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    readable = set()
    for name, content in PHOTOS.items():
        path = folder / f"{name}.jpg"
        path.write_bytes(content)
        if run("predict", path, "--model", trained, "--format", "json") == 0:
            readable.add(name)

    # An archive that is named by itself is searched for photos, whatever its suffix.
    readable.remove("zip")
    assert readable >= set(sound_photos(0))
    assert not readable & {"empty", "zeros", "page", "pointer", "png-huge", "jpeg-half"}
    assert run("predict", folder, "--model", trained, "--out", tmp_path / "out") == 1
    assert run("drift", tmp_path / "out", "--model", trained) in (0, 1)

    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    answers = {Path(json.loads(line)["photo"]).stem: json.loads(line) for line in lines}
    assert {name for name, answer in answers.items() if "error" not in answer} == readable


def test_names_of_photos(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    names = odd_photo_names()
    for name in names:
        (folder / name).write_bytes(sound_photos(0)["jpeg"])
    assert run("predict", folder, "--model", trained, "--out", tmp_path / "out") == 0
    for format_name in ("table", "json", "jsonl", "csv"):
        assert run("predict", folder, "--model", trained, "--format", format_name) == 0

    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert {Path(json.loads(line)["photo"]).name for line in lines} == set(names)


@pytest.mark.parametrize("name", sorted(odd_recipes()))
def test_recipes(name: str, leaves: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_bytes(odd_recipes()[name])
    is_sound = name == "mark"
    assert run("recipes", path) == (0 if is_sound else 2)
    if not is_sound:
        assert run("train", "--data", leaves, "--recipe", path, "--out", tmp_path / "run") == 2


@pytest.mark.parametrize("name", sorted(odd_splits()))
def test_splits(name: str, leaves: Path, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.json"
    path.write_bytes(odd_splits()[name])
    training = ("--recipe", "default", "--split", path, "--out", tmp_path / "run", *SET_TINY)
    assert run("train", "--data", leaves, *training) == 1
    evaluation = ("--split", path, "--zooms", 0, "--out", tmp_path / "report")
    assert run("evaluate", trained, "--data", leaves, *evaluation) == 1

    # The same content as a list of names.
    text_file = path.rename(tmp_path / f"{name}.txt")
    evaluation = ("--split", text_file, "--zooms", 0, "--out", tmp_path / "report")
    assert run("evaluate", trained, "--data", leaves, *evaluation) == 1


@pytest.mark.parametrize("name", sorted(odd_results()))
def test_results(name: str, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(odd_results()[name])
    has_no_answer = name in ("empty.json", "empty.jsonl", "list.json")
    assert run("drift", path, "--model", trained) == (0 if has_no_answer else 1)


@pytest.mark.parametrize("name", sorted(odd_models(0)))
def test_models(name: str, leaves: Path, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(odd_models(0)[name])
    photo = next((leaves / "train_images").iterdir())
    assert run("info", path)
    assert run("predict", photo, "--model", path)
    assert run("evaluate", path, "--data", leaves, "--out", tmp_path / "report")
    assert run("export", path, "--out", tmp_path / "out.onnx")
    assert run("serve", "--model", path, "--port", 0)
    assert run("drift", tmp_path, "--model", path)
    training = ("--recipe", "default", "--init", path, "--out", tmp_path / "run")
    assert run("train", "--data", leaves, *training)


@pytest.mark.parametrize("name", ["run.json", "split.json", "recipe.json", "log.csv"])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff\xfe", b"null", b"{}"])
def test_files_of_a_run(name: str, content: bytes, trained: Path, tmp_path: Path) -> None:
    """Compare and evaluate read the files that a training leaves."""
    run_folder = tmp_path / "run"
    shutil.copytree(trained, run_folder, ignore=shutil.ignore_patterns("states", "zooms"))
    (run_folder / name).write_bytes(content)
    run("compare", run_folder, "--out", tmp_path / "compared")
    run("info", run_folder)


def test_the_service_answers_every_photo(trained: Path) -> None:
    from leafzoom.serve.service import Service

    service = Service(leafzoom.load(str(trained)))
    headers = {"host": "localhost"}
    with TestClient(create_app(service), headers=headers) as client:
        for name, content in PHOTOS.items():
            for file_name in (f"{name}.jpg", "", "a\n.png", "../../x.jpg"):
                answer = client.post(
                    "/api/v1/predictions", files=[("photos", (file_name, content))]
                )
                assert answer.status_code < 500, (name, file_name, answer.text)
                assert answer.json()
