"""The wheel as people install it: no extra, no PyTorch, small, and a diagnosis from it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from conftest import SHARED

ROOT = Path(__file__).resolve().parents[1]
MOST_MB = 230


def command(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that has nothing but leafzoom and what it needs."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"  # building leaves its own files where it builds
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    built = command(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, copy, cwd=folder)
    if built.returncode and "No matching distribution" in built.stderr:
        pytest.skip(f"needs a package registry to build the wheel with: {built.stderr[-200:]}")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("leafzoom-*.whl")
    assert command(sys.executable, "-m", "venv", folder / "venv", cwd=folder).returncode == 0
    done = command(
        folder / "venv" / "bin" / "python", "-m", "pip", "install", "-c", ROOT / "constraints.txt", wheel, cwd=folder
    )
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"needs a package registry to install from: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    return folder / "venv"


def test_it_is_small_and_has_no_pytorch(installed: Path) -> None:
    (packages,) = installed.glob("lib/python*/site-packages")
    names = {path.name for path in packages.iterdir()}
    assert not names & {"torch", "onnx", "scipy", "timm"}
    size = sum(
        path.stat().st_size
        for path in packages.rglob("*")
        if path.is_file() and not path.is_symlink() and path.relative_to(packages).parts[0].split("-")[0] != "pip"
    )
    print(f"{size / 1e6:.0f} MB")
    assert size / 1e6 < MOST_MB


def test_it_diagnoses(installed: Path, leaves: Path, tmp_path: Path) -> None:
    """Rendered leaves and, where they are, the three camera photographs: apple leaves, and known as such."""
    photos = [leaves / "train_images" / "leaf-00000.jpg"]
    camera = sorted((SHARED / "photos").glob("*.jpg")) if (SHARED / "photos").is_dir() else []
    out = tmp_path / "out"
    leafzoom = installed / "bin" / "leafzoom"
    done = command(leafzoom, "predict", *photos, *camera, "--format", "json", "--out", out, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said) == len(photos) + len(camera)
    for entry in said[len(photos) :]:
        assert entry["verdict"] != "not_a_leaf", entry
        assert len(entry["scales"]) == 3
    assert (out / "index.html").is_file()
    assert len(list(out.glob("*.png"))) == len(said)
    assert command(leafzoom, "info", cwd=tmp_path).returncode == 0
    refused = command(leafzoom, "train", "--data", leaves, "--recipe", "default", "--out", "x", cwd=tmp_path)
    assert refused.returncode == 1
    assert 'pip install "leafzoom[train]"' in refused.stderr


def test_it_serves(installed: Path, leaves: Path, tmp_path: Path) -> None:
    """The page and a diagnosis over HTTP, from what `pip install .` brings."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = [installed / "bin" / "leafzoom", "serve", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as service:
        try:
            assert service.stdout
            found = re.search(r"http://127\.0\.0\.1:\d+", service.stdout.readline())
            assert found
            with httpx.Client(base_url=found[0], timeout=60, transport=httpx.HTTPTransport(retries=5)) as client:
                assert "leafzoom" in client.get("/").text
                photo = (leaves / "train_images" / "leaf-00000.jpg").read_bytes()
                answer = client.post("/api/v1/predictions", files=[("photos", ("a.jpg", photo))])
            assert answer.status_code == 200
            assert len(answer.json()[0]["scales"]) == 3
        finally:
            service.terminate()
