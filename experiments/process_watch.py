"""A command of leafzoom under watch: its seconds, and the memory of its processes by role."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["WatchedRun", "answers_at", "process_roles", "run_watched"]

_POLL_SECONDS = 0.25
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_ACTOR = "ray::MapWorker"


@dataclass
class WatchedRun:
    """What a command took.

    `seconds`: of the wall. `exit_code`: negative if it was killed. `peak_mb`: the most resident
    memory of one process, by role: `driver`, `worker` (an actor of Ray), `service` (the rest of
    Ray). `killed`: whether a process was killed in the middle.
    """

    seconds: float = 0.0
    exit_code: int = 0
    peak_mb: dict[str, float] = field(default_factory=dict)
    killed: bool = False


def run_watched(
    arguments: Sequence[str],
    output: Path,
    watch: Callable[[], str | None] = lambda: None,
) -> WatchedRun:
    """Run `leafzoom` with all cores, and watch it.

    Args:
        arguments: of the command.
        output: the file for its standard output.
        watch: asked again and again; the role of a process to kill (SIGKILL), or None. At most one
            is killed.
    """
    run = WatchedRun()
    start = time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with output.open("wb") as file:
        command = [sys.executable, "-m", "leafzoom", *arguments]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL, env=environment)
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
            roles = process_roles(process.pid)
            for pid, role in roles.items():
                run.peak_mb[role] = max(run.peak_mb.get(role, 0.0), _resident_mb(pid))
            role_to_kill = None if run.killed else watch()
            if role_to_kill is not None:
                run.killed = _kill(roles, role_to_kill)

    run.seconds = time.perf_counter() - start
    run.exit_code = process.returncode
    run.peak_mb = {role: round(peak) for role, peak in run.peak_mb.items()}
    return run


def answers_at(folder: Path) -> list[str]:
    """The photos of all rows in files of Parquet, sorted."""
    import pyarrow.parquet

    return sorted(pyarrow.parquet.read_table(folder, columns=["photo"]).column(0).to_pylist())


def process_roles(driver: int) -> dict[int, str]:
    """{process: role} of a command and all that it has started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(_stat(int(folder.name))[1])
        except (OSError, ValueError):
            continue

    roles = {driver: "driver"}
    children = [pid for pid, parent in parents.items() if parent == driver]
    while children:
        for pid in children:
            roles[pid] = "worker" if _name(pid).startswith(_ACTOR) else "service"
        children = [pid for pid, parent in parents.items() if parent in children]
    return roles


def _stat(pid: int) -> list[str]:
    """The fields of a process's status after its name: state, parent, ..."""
    text = Path("/proc", str(pid), "stat").read_text()
    return text.rpartition(")")[2].split()


def _name(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")[0].decode()
    except OSError:
        return ""


def _resident_mb(pid: int) -> float:
    try:
        return int(Path("/proc", str(pid), "statm").read_text().split()[1]) * _PAGE_MB
    except (OSError, IndexError, ValueError):
        return 0.0


def _kill(roles: dict[int, str], role: str) -> bool:
    """Kill one process of a role; False if there is none."""
    for pid, name in roles.items():
        if name == role:
            os.kill(pid, signal.SIGKILL)
            return True
    return False
