"""The wheel as people install it: no extra, no PyTorch, small, and a diagnosis from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from conftest import SHARED

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "leafzoom"
MAX_INSTALLED_MB = 230

pytestmark = pytest.mark.slow


def own_environment() -> dict[str, str]:
    """The environment variables, without those that lead to this checkout or its Python."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in hidden}


def run_program(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=own_environment(),
    )


def run_pip(python: str | Path, *words: str | Path, cwd: Path) -> None:
    """Run pip; the test skips where no package registry can be reached."""
    done = run_program(python, "-m", "pip", *words, cwd=cwd)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"needs a package registry: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves files of its own where it builds."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)

    run_pip(sys.executable, "wheel", "--no-deps", "-w", folder, copy, cwd=folder)
    (wheel,) = folder.glob("leafzoom-*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The folder of an environment that has nothing but leafzoom and what it requires."""
    folder = wheel.parent
    environment = folder / "venv"
    assert run_program(sys.executable, "-m", "venv", environment, cwd=folder).returncode == 0

    python = environment / "bin" / "python"
    run_pip(python, "install", "-c", ROOT / "constraints.txt", wheel, cwd=folder)
    return environment


def test_it_has_every_file_of_the_package(wheel: Path) -> None:
    expected = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("leafzoom/")}

    assert packed == expected
    assert "leafzoom/assets/models/apple-leaves.onnx" in packed
    assert "leafzoom/assets/recipes/default.toml" in packed
    assert "leafzoom/serve/page/index.html" in packed


def test_it_is_small_and_has_no_pytorch(installed: Path) -> None:
    (packages,) = installed.glob("lib/python*/site-packages")
    names = {path.name for path in packages.iterdir()}
    assert not names & {"torch", "onnx", "scipy", "timm"}

    # pip comes with the environment, not with leafzoom.
    required = [path for path in packages.iterdir() if path.name.split("-")[0] != "pip"]
    size_bytes = sum(map(size_of, required))
    print(f"{size_bytes / 1e6:.0f} MB")
    assert size_bytes / 1e6 < MAX_INSTALLED_MB


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    paths = [path, *path.rglob("*")]
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    return sum(file.stat().st_size for file in files)


def test_it_diagnoses(installed: Path, leaves: Path, tmp_path: Path) -> None:
    """A rendered leaf and, where they are, the camera photographs, which are apple leaves."""
    leaf = leaves / "train_images" / "leaf-00000.jpg"
    camera = sorted((SHARED / "photos").glob("*.jpg"))
    out = tmp_path / "out"
    leafzoom = installed / "bin" / "leafzoom"

    options = ("--format", "json", "--out", out)
    done = run_program(leafzoom, "predict", leaf, *camera, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    results = json.loads(done.stdout)
    assert len(results) == 1 + len(camera)
    for result in results[1:]:
        assert result["verdict"] != "not_a_leaf", result
        assert len(result["scales"]) == 3

    assert (out / "index.html").is_file()
    assert len(list(out.glob("*.png"))) == len(results)


def test_its_commands_work_or_name_the_extra(installed: Path, leaves: Path, tmp_path: Path) -> None:
    leafzoom = installed / "bin" / "leafzoom"
    python = installed / "bin" / "python"
    assert run_program(leafzoom, "info", cwd=tmp_path).returncode == 0
    assert run_program(python, "-m", "leafzoom", "--version", cwd=tmp_path).returncode == 0

    options = ("--data", leaves, "--recipe", "default", "--out", "x")
    refused = run_program(leafzoom, "train", *options, cwd=tmp_path)
    assert refused.returncode == 1
    assert 'pip install "leafzoom[train]"' in refused.stderr


def test_it_serves(installed: Path, leaves: Path, tmp_path: Path) -> None:
    """The page and a diagnosis over HTTP, from what `pip install .` brings."""
    photo = (leaves / "train_images" / "leaf-00000.jpg").read_bytes()
    command = [installed / "bin" / "leafzoom", "serve", "--port", "0"]

    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=own_environment()
    ) as service:
        try:
            assert service.stdout
            address = re.search(r"http://127\.0\.0\.1:\d+", service.stdout.readline())
            assert address

            transport = httpx.HTTPTransport(retries=5)
            with httpx.Client(base_url=address[0], timeout=60, transport=transport) as client:
                assert "leafzoom" in client.get("/").text
                files = [("photos", ("a.jpg", photo))]
                answer = client.post("/api/v1/predictions", files=files)
            assert answer.status_code == 200
            assert len(answer.json()[0]["scales"]) == 3
        finally:
            service.terminate()
