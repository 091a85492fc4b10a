"""A training that is killed and gone on with ends as one that was not; the long form is `scripts/reliability`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_and_resume.py")


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_trainings_end_as_one_that_was_left_alone(tmp_path: Path) -> None:
    """Six kills here, a hundred in results/reliability.json."""
    done = subprocess.run(
        [sys.executable, DRIVER, "--kills", "6", "--seed", "3", "--out", tmp_path / "found.json"],
        capture_output=True, text=True, check=False, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["kills"] == found["gone on with"] == 6
    assert found["runs"] == found["runs whose weights and losses equal the uninterrupted run's"] >= 1
    assert found["while a file was written"] > 0
