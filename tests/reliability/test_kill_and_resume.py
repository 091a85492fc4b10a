"""A killed and resumed training equals an uninterrupted one; `python -m tools.reliability` kills a
hundred times.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_and_resume.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
def test_killed_trainings_end_as_one_that_was_left_alone(tmp_path: Path) -> None:
    """Six kills here, a hundred in results/reliability.json."""
    out = tmp_path / "kills.json"
    command = [sys.executable, DRIVER, "--kills", "6", "--seed", "3", "--out", out]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    assert finished.returncode == 0, finished.stdout + finished.stderr

    figures = json.loads(out.read_text())
    assert figures["kills"] == 6
    assert figures["gone on with"] == 6
    equal_runs = figures["runs whose weights and losses equal the uninterrupted run's"]
    assert figures["runs"] == equal_runs >= 1
    assert figures["while a file was written"] > 0
