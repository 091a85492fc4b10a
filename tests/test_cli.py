"""The command line as a whole: help, pipes, and what it can do without the training extra."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from conftest import failure_line, run_command
from leafzoom import __version__
from leafzoom.cli import SUMMARIES, cli

# Runs the command line in an installation without the libraries of the extra `train`.
WITHOUT_TRAINING = """
import sys

FORBIDDEN = {
    "torch", "torchvision", "timm", "lightning", "kornia", "sklearn", "scipy", "pydantic",
    "safetensors", "onnx", "filelock",
}

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Finder())
from leafzoom.cli import main
main()
"""

# The console script, as a shell calls it to complete words.
COMPLETE = """
from leafzoom.cli import main
main()
"""

# Prints the modules that are imported for `leafzoom --help`.
HELP_MODULES = """
import sys
from leafzoom.cli import cli
cli.main(["--help"], standalone_mode=False)
print("modules:", *sys.modules)
"""


def run_without_training(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [str(argument) for argument in arguments]
    command = [sys.executable, "-c", WITHOUT_TRAINING, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def leaf(leaves: Path) -> Path:
    return leaves / "train_images" / "leaf-00001.jpg"


def test_an_exported_model_predicts_without_pytorch(trained: Path, leaf: Path) -> None:
    done = run_without_training("predict", leaf, "--model", trained, "--format", "json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["likely"]


def test_info_and_help_need_no_pytorch(trained: Path) -> None:
    assert run_without_training("info", trained / "model.onnx").returncode == 0
    assert run_without_training("train", "--help").returncode == 0


def test_what_needs_pytorch_names_the_extra(trained: Path, leaves: Path, leaf: Path) -> None:
    train = ("train", "--data", leaves, "--recipe", "default", "--out", "x")
    predict = ("predict", leaf, "--model", trained / "model.safetensors")

    for arguments in (train, predict):
        refused = run_without_training(*arguments)
        assert refused.returncode == 1
        assert 'pip install "leafzoom[train]"' in refused.stderr


def test_a_reader_that_stops_early_is_no_error(trained: Path) -> None:
    command = f"{sys.executable} -m leafzoom info {trained} | head -n 1"

    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)

    assert done.stdout.startswith("run: format 1")
    assert done.stderr == ""


@pytest.mark.parametrize("name", SUMMARIES)
def test_every_commands_help_has_an_example(name: str) -> None:
    result = run_command(name, "--help")

    assert result.exit_code == 0
    assert f"leafzoom {name}" in result.output.replace("Usage: ", "")
    assert "Example" in result.output


def test_the_help_imports_no_subcommand() -> None:
    command = [sys.executable, "-c", HELP_MODULES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    help_text, _, modules = done.stdout.partition("modules:")
    for name, summary in SUMMARIES.items():
        assert name in help_text
        assert summary.split()[0] in help_text

    imported = set(modules.split())
    assert not imported & {"numpy", "PIL", "onnxruntime", "torch", "fastapi", "tqdm"}
    assert not [module for module in imported if module.startswith("leafzoom.commands")]


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_summary_is_the_first_line_of_the_commands_help(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert command.name == name
    assert (command.help or "").splitlines()[0] == SUMMARIES[name]


def test_an_unknown_command_is_refused() -> None:
    result = run_command("diagnose")

    assert result.exit_code == 2
    assert "No such command 'diagnose'" in result.output


def test_python_m_leafzoom_is_the_command() -> None:
    command = [sys.executable, "-m", "leafzoom", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert __version__ in done.stdout


@pytest.mark.parametrize(
    ("error", "exit_code", "expected"),
    [
        (KeyboardInterrupt(), 130, "leafzoom: interrupted"),
        (OSError(28, "No space left on device", "x.bin"), 1, "x.bin: No space left on device"),
        (OSError("no such device"), 1, "leafzoom: no such device"),
    ],
)
def test_an_error_of_the_system_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, exit_code: int, expected: str
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("leafzoom.commands.info.open_network", fail)

    assert expected in failure_line(run_command("info"), exit_code)


# Completion.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_and_values(shell: str) -> None:
    def completed(*words: str) -> str:
        environment = {
            **os.environ,
            "_LEAFZOOM_COMPLETE": f"{shell}_complete",
            "COMP_WORDS": " ".join(("leafzoom", *words)),
            "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
        }
        command = [sys.executable, "-c", "import sys; sys.argv[0] = 'leafzoom'\n" + COMPLETE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert "predict" in completed("pre")
    assert "prepare" in completed("pre")
    assert "--from-file" in completed("predict", "--fr")
    assert "jsonl" in completed("predict", "--format", "json")
