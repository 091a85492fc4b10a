"""What several subcommands share: paths, the labelled photographs, models that do not exist."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import failure_line, run_command, write_data_folder
from leafzoom.commands.options import data_folder
from leafzoom.errors import UsageError

TABLE = "image,labels\na.jpg,scab\nb.jpg,healthy\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data_folder(tmp_path / "data", TABLE, "a.jpg", "b.jpg")


# Models.

COMMANDS_OF_MODELS = [
    ("predict", "leaf.jpg", "--model"),
    ("drift", "season.jsonl", "--model"),
    ("serve", "--model"),
    ("info",),
    ("export", "--out", "model.onnx"),
    ("evaluate", "--data", "data", "--out", "report"),
]


@pytest.mark.parametrize("words", COMMANDS_OF_MODELS)
def test_a_model_that_does_not_exist_is_called_so(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "type").mkdir(parents=True)

    line = failure_line(run_command(*words, "runs/typo"), 1)

    assert "the model runs/typo does not exist: name a run's folder, an .onnx" in line
    assert line.endswith("(there is runs/type)")


@pytest.mark.parametrize("words", COMMANDS_OF_MODELS)
def test_an_address_of_a_model_is_shown_whole(words: tuple[str, ...]) -> None:
    line = failure_line(run_command(*words, "https://example.org/model.onnx"), 1)

    assert "https://example.org/model.onnx is an address" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("compare", "--out", "x"), "the run season-1 does not exist: name folders that"),
        (("drift",), "season-1 does not exist: name a file that leafzoom predict wrote"),
    ],
)
def test_runs_and_results_that_do_not_exist_are_called_so(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "season-2").mkdir()

    line = failure_line(run_command(*words, "season-1"), 1)

    assert message in line
    assert line.endswith("(there is season-2)")


def test_a_checkpoint_to_start_from_is_looked_for_before_the_photographs_are_read(
    data: Path, tmp_path: Path
) -> None:
    words = ("train", "--data", data, "--recipe", "default", "--out", tmp_path / "run")

    line = failure_line(run_command(*words, "--init", tmp_path / "typo.safetensors"), 1)

    assert "typo.safetensors' does not exist: " in line
    assert "bundled" in line


def test_an_empty_model_is_refused() -> None:
    assert "the model's path is empty" in failure_line(run_command("info", ""), 1)


# Paths.


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "a.jpg", "--out"),
        ("prepare", "--data"),
        ("prepare", "--data", "x", "--csv"),
        ("prepare", "--data", "x", "--cache"),
        ("train", "--recipe", "default", "--data", "x", "--out"),
        ("evaluate", "bundled", "--data", "x", "--out"),
        ("export", "x", "--out"),
        ("compare", "--out", "x"),
        ("demo", "--out"),
        ("drift",),
    ],
)
def test_empty_paths_and_addresses_are_refused(words: tuple[str, ...]) -> None:
    line = failure_line(run_command(*words, ""), 2)
    assert "the path is empty: is a variable unset?" in line

    line = failure_line(run_command(*words, "https://example.org/x"), 2)
    assert "https://example.org/x is an address, not a path: download it first" in line


def test_the_home_folder_is_found_where_no_shell_has_expanded_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    """Shells leave the ~ of --out=~/report alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LEAFZOOM_CACHE", "~/cache here")

    result = run_command("prepare", f"--data=~/{data.name}", "--out=~/report")

    assert result.exit_code == 0, result.output
    assert (tmp_path / "report" / "index.html").is_file()
    assert list((tmp_path / "cache here").rglob("sources.u8"))


@pytest.mark.parametrize("option", ["--recipe", "--split", "--init"])
def test_addresses_and_empty_names_are_no_recipe_split_or_checkpoint(option: str) -> None:
    words = ("train", "--data", "x", "--out", "run", option)

    line = failure_line(run_command(*words, "https://example.org//a.toml"), 2)
    assert "https://example.org//a.toml is an address, not a path: download it first" in line
    assert "it is empty: is a variable unset?" in failure_line(run_command(*words, ""), 2)


def test_a_recipes_file_that_does_not_exist_is_called_so() -> None:
    line = failure_line(run_command("recipes", "mine.toml"), 2)
    assert "the recipe mine.toml does not exist: give a TOML file or one of attention" in line


# Labelled photographs.


@pytest.mark.parametrize("name", ["train.csv", "other.CSV"])
def test_a_table_for_data_names_its_folder(data: Path, name: str) -> None:
    table = data / name
    if not table.exists():
        shutil.move(data / "train.csv", table)

    result = run_command("prepare", "--data", table)

    assert result.exit_code == 0, result.output
    assert f"2 photographs in {table}" in result.stdout


def test_a_file_that_is_no_table_or_two_tables_are_refused(data: Path) -> None:
    photo = data / "images" / "a.jpg"
    line = failure_line(run_command("prepare", "--data", photo), 2)
    assert f"--data {photo} is a file: name the folder with its table" in line

    other = data / "other.csv"
    other.write_text(TABLE)
    line = failure_line(run_command("prepare", "--data", data / "train.csv", "--csv", other), 2)
    assert "are two tables: name the folder with --data" in line
    assert data_folder(data / "train.csv", data / "train.csv") == (data, data / "train.csv")
    with pytest.raises(UsageError):
        data_folder(photo, None)


def test_a_cache_that_cannot_be_made_names_both_ways_to_another(data: Path) -> None:
    line = failure_line(run_command("prepare", "--data", data, "--cache", data / "train.csv"), 1)

    assert "the cache cannot be made: cannot write to the folder" in line
    assert line.endswith("choose another one, with --cache or the variable LEAFZOOM_CACHE")
