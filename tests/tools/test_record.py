"""Recording a run: one that held nothing out has no scores to record."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from leafzoom.storage import write_json
from tools import record


def test_a_run_that_held_nothing_out_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "run.json", {"select_on": "none"})
    write_json(tmp_path / "metrics.json", {})
    monkeypatch.setattr(sys, "argv", ["record", "paper", str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match="held nothing out"):
        record.main()
