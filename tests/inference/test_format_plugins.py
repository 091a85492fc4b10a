"""An output format of another package: found, used, and refused where it is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leafzoom.errors import LeafzoomError
from leafzoom.inference.format_plugins import plugin_names, plugin_writer
from leafzoom.inference.formats import format_names, format_writer

MODEL = Path(__file__).parents[1] / "golden" / "model-format-1.onnx"

PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "leafzoom-lines"
version = "1.2"

[project.entry-points."leafzoom.formats"]
lines = "leafzoom_lines:write_lines"
csv = "leafzoom_lines:write_lines"
broken = "leafzoom_gone:write"
number = "leafzoom_lines:NUMBER"

[tool.setuptools]
py-modules = ["leafzoom_lines"]
"""
MODULE = '''
"""A line a photo."""

from leafzoom.inference.prediction import FailedPhoto

NUMBER = 3


def write_lines(results, out, labels, *, possible):
    out.write(f"# {len(labels)} labels, possible: {possible}\\n")
    for result in results:
        word = "failed" if isinstance(result, FailedPhoto) else result.verdict
        out.write(f"{result.photo}: {word}\\n")
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pip has installed a distribution that adds formats."""
    folder = tmp_path_factory.mktemp("plugin")
    project = folder / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "leafzoom_lines.py").write_text(MODULE)

    site = folder / "site"
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--target", str(site))
    command = [sys.executable, "-m", "pip", "install", "-q", *options, str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution is installed in this process."""
    monkeypatch.syspath_prepend(str(site))


def test_a_format_of_another_package_writes_results(site: Path, leaves: Path) -> None:
    photo = leaves / "train_images" / "leaf-00000.jpg"
    environment = {**os.environ}
    paths = [str(site), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)

    words = ("predict", str(photo), "gone.jpg", "--model", str(MODEL), "--format", "lines")
    command = [sys.executable, "-m", "leafzoom", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    header, first, second = done.stdout.splitlines()
    assert header.endswith("possible: False")
    assert first.startswith(f"{photo}: ")
    assert second == "gone.jpg: failed"


@pytest.mark.usefixtures("installed")
def test_it_is_among_the_formats_after_our_own() -> None:
    assert format_names() == ("table", "json", "jsonl", "csv", "broken", "lines", "number")
    assert format_writer("lines").__name__ == "write_lines"


@pytest.mark.usefixtures("installed")
def test_it_cannot_take_the_place_of_one_of_ours() -> None:
    assert "csv" in plugin_names()
    assert format_writer("csv").__module__ == "leafzoom.inference.formats"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("broken", r"'broken' of leafzoom-lines 1\.2 cannot be loaded \(ModuleNotFoundError"),
        ("number", r"'number' of leafzoom-lines 1\.2 is no function"),
        ("gone", r"no installed package adds the output format 'gone'"),
    ],
)
def test_a_format_that_does_not_work_is_one_line(name: str, problem: str) -> None:
    with pytest.raises(LeafzoomError, match=problem):
        plugin_writer(name)
