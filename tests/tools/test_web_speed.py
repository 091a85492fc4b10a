"""The parts of `tools.web_speed` that its figures rest on."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

from tools.web_speed import descendants, first_visit_bytes, throttled

_MANY = 1_000_000
_SPIN = "import time\nwhile True: pass\n"


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


def test_the_first_visit_counts_every_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "page.js").write_bytes(b"a" * 5000)
    (tmp_path / "model" / "weights").write_bytes(os.urandom(3000))
    sizes = first_visit_bytes(tmp_path)
    assert sizes["plain"] == 8000
    assert len(gzip.compress(b"a" * 5000)) + 3000 < sizes["gzip"] < 3300


def test_descendants_are_the_processes_that_a_process_has_started() -> None:
    child = subprocess.Popen([sys.executable, "-c", _SPIN])
    try:
        assert child.pid in descendants(os.getpid())
        assert os.getpid() not in descendants(child.pid)
    finally:
        child.kill()
        child.wait()


def test_a_throttled_process_is_stopped_most_of_the_time_and_runs_on_afterwards() -> None:
    child = subprocess.Popen([sys.executable, "-c", _SPIN])
    try:
        with throttled([child.pid], 4):
            states = (state_of(child.pid) for _ in range(_MANY))
            assert "T" in states
        assert state_of(child.pid) != "T"
        before = cpu_seconds(child.pid)
        while cpu_seconds(child.pid) == before:
            os.sched_yield()
    finally:
        child.kill()
        child.wait()
