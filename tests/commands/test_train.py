"""`leafzoom train`: what it refuses, in one line each."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from conftest import SET_TINY, failure_line, run_command


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--recipe", "nothing"], 2, "no recipe 'nothing'"),
        (["--recipe", "default", "--set", "model.zoom=1"], 2, "unknown key model.zoom"),
        (
            ["--recipe", "default", "--set", "model.zoom_bounds=[0.9,0.2]"],
            2,
            "0 < least <= greatest <= 1",
        ),
        (["--recipe", "default", "--split", "nothing", *SET_TINY], 2, "no split 'nothing'"),
        (
            ["--recipe", "default", "--init", "bundled", *SET_TINY],
            1,
            "scale1 (trained with tf_efficientnet_lite0)",
        ),
        (["--recipe", "default", "--split", "paper-train", *SET_TINY], 1, "18632 rows"),
        (
            ["--recipe", "default", "--set", "data.labels=['healthy', 'rust']", *SET_TINY],
            1,
            "row 3: unknown label 'ring_spot'",
        ),
    ],
)
def test_train_refuses(
    leaves: Path, tmp_path: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    out = tmp_path / "run"

    result = run_command("train", "--data", leaves, "--out", out, *arguments)

    assert message in failure_line(result, exit_code)
    assert not (out / "model.safetensors").exists()


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"

    result = run_command("train", "--data", tmp_path, "--recipe", "default", "--out", out)

    assert "has to hold train.csv" in failure_line(result, 1)


def test_a_file_in_the_runs_place_is_refused(leaves: Path, tmp_path: Path) -> None:
    out = tmp_path / "file"
    out.touch()

    result = run_command("train", "--data", leaves, "--recipe", "default", "--out", out, *SET_TINY)

    assert "cannot write to the folder" in failure_line(result, 1)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "5",
        '{"recipe": 5}',
        '{"status": "training", "recipe": {"foo": 1}}',
        "garbage",
    ],
)
def test_a_damaged_run_is_not_resumed(
    trained: Path, leaves: Path, tmp_path: Path, content: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    (out / "run.json").write_text(content)
    arguments = ("--data", leaves, "--recipe", "default", "--out", out, *SET_TINY)

    result = run_command("train", *arguments, "--resume")

    assert "run.json cannot be read" in failure_line(result, 1)


def test_a_full_disk_while_a_run_is_written(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_write(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail_to_write)
    out = tmp_path / "run"

    result = run_command("train", "--data", leaves, "--recipe", "default", "--out", out, *SET_TINY)

    assert "No space left on device" in failure_line(result, 1)
    assert not list(out.glob("*.json"))
