"""The benchmarks run, and keep the parts that are not measured again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.run import parts
from benchmarks.targets import TARGETS
from tools.provenance import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmarks read /proc")


def run_quickly(*options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.run", "--quick", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_every_target_is_of_a_part() -> None:
    assert {target.path[0] for target in TARGETS} <= set(parts(True, None, "cpu"))


@pytest.mark.slow
def test_a_quick_run_measures_every_part(tmp_path: Path) -> None:
    out = tmp_path / "benchmarks.json"
    finished = run_quickly("--out", out)
    assert finished.returncode == 0, finished.stderr[-2000:]

    # A quick run has no network of the default backbone.
    targets = read(out)["targets"]
    expected = [target.what for target in TARGETS if "default backbone" not in target.what]
    assert [target["what"] for target in targets] == expected

    # The libraries need more memory than so small a network.
    assert all(target["value"] > 0 for target in targets if "memory" not in target["what"])


@pytest.mark.slow
def test_a_part_is_measured_anew_and_the_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "benchmarks.json"
    crop_alone = ("--only", "crop", "--out", out)
    assert run_quickly(*crop_alone).returncode == 0

    # Another part stays.
    before = read(out)
    out.write_text(json.dumps({**before, "parts": {"steps": {"kept": 1}}}), encoding="utf-8")
    assert run_quickly(*crop_alone).returncode == 0
    measured = read(out)["parts"]
    assert list(measured) == ["steps", "crop"]
    assert measured["steps"] == {"kept": 1}

    # Another machine's figures are not mixed with these.
    out.write_text(json.dumps({**before, "machine": {}}), encoding="utf-8")
    assert "is of another machine" in run_quickly(*crop_alone).stderr


def test_an_unknown_part_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import run

    monkeypatch.setattr(sys, "argv", ["run", "--only", "crops"])
    with pytest.raises(SystemExit) as error:
        run.main()
    assert error.value.code == 2
    assert "no part crops: there are steps, crop" in capsys.readouterr().err
