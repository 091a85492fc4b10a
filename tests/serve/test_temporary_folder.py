"""A temporary folder that cannot take an upload: /ready and the answer report it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafzoom.serve import temporary_folder
from leafzoom.serve.temporary_folder import temporary_folder_problem
from serve.service_process import ServiceProcess

LARGE = 3 * 2**20


def test_a_folder_with_room_has_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert temporary_folder_problem(1000) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_enough_room_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    problem = temporary_folder_problem(2**60)
    assert problem
    assert f"the temporary folder {tmp_path} has " in problem
    assert f"an upload may need {2**40}" in problem
    assert "TMPDIR" in problem


def test_no_folder_at_all_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(temporary_folder.tempfile, "gettempdir", none)
    problem = temporary_folder_problem(1000)
    assert problem
    assert "No usable temporary directory found" in problem
    assert "TMPDIR" in problem


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a service that starts later."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def own_service(folder: Path, trained: Path) -> Iterator[ServiceProcess]:
    """A service whose temporary folder is `folder`."""
    process = ServiceProcess(trained)
    yield process
    process.stop()


def check_that_uploads_fail(service: ServiceProcess, folder: Path, photo: bytes) -> None:
    """/ready says why, a large photo is 507, and a small one needs no disk."""
    ready = service.get("/ready")
    assert ready.status_code == 503
    assert str(folder) in ready.text
    assert "TMPDIR" in ready.text
    assert service.get("/live").status_code == 200

    answer = service.post_photos(("large.jpg", photo + bytes(LARGE)))
    assert answer.status_code == 507
    assert f"the temporary folder {folder} cannot take an upload" in answer.json()["detail"]
    assert "set TMPDIR" in answer.json()["detail"]
    assert service.post_photos(("small.jpg", photo)).status_code == 200


def test_a_folder_that_is_gone_and_comes_back(
    own_service: ServiceProcess, folder: Path, photo_bytes: bytes
) -> None:
    folder.rmdir()
    check_that_uploads_fail(own_service, folder, photo_bytes)

    folder.mkdir()
    assert own_service.get("/ready").status_code == 200
    assert own_service.post_photos(("a.jpg", photo_bytes + bytes(LARGE))).status_code == 200


@pytest.mark.parametrize("options", ["size=2m", "size=400m,ro"])
def test_a_full_or_read_only_folder(
    own_service: ServiceProcess, folder: Path, photo_bytes: bytes, options: str
) -> None:
    """The folder is mounted over once the service runs, as a disk fills up or fails."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount, for a folder that is full or read-only")

    try:
        check_that_uploads_fail(own_service, folder, photo_bytes)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
