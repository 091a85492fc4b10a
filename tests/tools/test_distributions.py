"""Distributions are the same bytes at each build, and hold what they should."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from leafzoom.storage import sha256_of
from tools.distributions import ROOT, build

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a clone of the repository"),
]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheel and the source distribution of the last commit."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def source_names(distributions: list[Path]) -> set[str]:
    """The files of the source distribution, without the folder that they are in."""
    with tarfile.open(distributions[1]) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def test_a_second_build_has_the_same_bytes(distributions: list[Path], tmp_path: Path) -> None:
    """In another process with another umask, time zone and order of sets."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tools.distributions import build\n"
        "os.umask(0o077)\n"
        "build(Path(sys.argv[1]))\n"
    )
    environment = {**os.environ, "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)

    assert len(distributions) == 2
    for path in distributions:
        assert sha256_of(tmp_path / path.name) == sha256_of(path), path.name


def test_the_source_distribution_builds_the_same_wheel(
    distributions: list[Path], tmp_path: Path
) -> None:
    wheel, source = distributions
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()

    script = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(command, cwd=tree, capture_output=True, check=True)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as first, zipfile.ZipFile(wheel) as second:
        assert set(first.namelist()) == set(second.namelist())
        for name in first.namelist():
            assert first.read(name) == second.read(name), name


def test_the_source_distribution_has_no_weights_of_experiments(
    distributions: list[Path], source_names: set[str]
) -> None:
    folders = {name.partition("/")[0] for name in source_names if "/" in name}
    assert folders == {"docs", "src"}
    models = {name for name in source_names if name.endswith((".onnx", ".safetensors", ".pt"))}
    assert models == {"src/leafzoom/assets/models/apple-leaves.onnx"}
    weights = sum(path.stat().st_size for path in (ROOT / "weights").glob("*.safetensors"))
    assert distributions[1].stat().st_size < weights


def test_the_source_distribution_is_whole(source_names: set[str]) -> None:
    needed = {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "constraints.txt"}
    assert needed <= source_names
    assert "src/leafzoom/py.typed" in source_names


def test_the_wheel_says_what_it_is(distributions: list[Path]) -> None:
    with zipfile.ZipFile(distributions[0]) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        fields = Parser().parsestr(archive.read(metadata).decode())

    assert "leafzoom/py.typed" in names
    assert fields.get_all("Classifier") == PROJECT["classifiers"]
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert fields["License-Expression"] == "Apache-2.0"
    assert set(fields.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert len(fields.get_all("Project-URL")) == len(PROJECT["urls"])
