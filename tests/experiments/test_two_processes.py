"""The measurement of two processes runs; its figures here have no meaning."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY
from tools.process_tables import two_processes
from tools.provenance import ROOT


@pytest.mark.slow
def test_it_measures_both_and_makes_a_table(tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    command = [sys.executable, "-m", "experiments.two_processes", "--batch-size", "6"]
    command += ["--rounds", "3", "--out", str(out)]
    for change in TINY:
        command += ["--set", change]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    result = json.loads(out.read_text())
    assert result["rounds"] == len(result["ratios"]) == 3
    assert result["one_per_s"] > 0
    assert result["quartiles"][0] <= result["ratio"] <= result["quartiles"][1]

    lines = two_processes(result)
    assert f"| one process, two threads | {result['one_per_s']:.2f} |" in lines
    assert f"{result['ratio']:.2f} times as many" in lines[-1]
