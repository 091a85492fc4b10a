"""Times of candidates that do the same work, taken in turns in one process.

A machine that slows down or speeds up meanwhile then hits all of them alike.
"""

from __future__ import annotations

import gc
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

__all__ = ["Timings", "cores", "in_turns", "median_and_range", "peak_mb", "process_seconds"]

_QUARTILES = (25, 50, 75)
_SETTLING_SECONDS = 0.05
_MAX_STDERR = 500  # characters of a failed command's output in our message


@dataclass(frozen=True)
class Timings:
    """Seconds that each candidate took, round by round: {name: [rounds]}."""

    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        """One candidate's median, in seconds."""
        return float(np.median(self.seconds[name]))

    def milliseconds(self, name: str) -> dict[str, float]:
        """One candidate's median and quartiles, in ms."""
        quartiles = np.percentile(np.array(self.seconds[name]) * 1000, _QUARTILES)
        low, median, high = (round(float(value), 3) for value in quartiles)
        return {"median_ms": median, "low_ms": low, "high_ms": high}

    def ratio(self, name: str, reference: str, times: float = 1.0) -> dict[str, float]:
        """One candidate's time over `times` the reference's: median and quartiles over rounds."""
        ratios = np.array(self.seconds[name]) / (times * np.array(self.seconds[reference]))
        quartiles = np.percentile(ratios, _QUARTILES)
        low, median, high = (round(float(value), 4) for value in quartiles)
        return {"value": median, "low": low, "high": high, "rounds": len(ratios)}


def in_turns(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 2
) -> Timings:
    """Run candidates one after the other, round after round; the order turns by one each round.

    Args:
        candidates: what is timed, by name.
        rounds: that are timed.
        warm_up: rounds before them that are not.
    """
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}

    for number in range(warm_up + rounds):
        # Garbage of one round is not collected in the next.
        gc.collect()
        shift = number % len(names)

        for name in names[shift:] + names[:shift]:
            elapsed = _time(candidates[name])
            if number >= warm_up:
                seconds[name].append(elapsed)

    return Timings(seconds)


def process_seconds(command: Sequence[str], *, rounds: int) -> list[float]:
    """Wall-clock seconds of a command from its start to its end, after one run that warms the file
    cache.

    Raises:
        RuntimeError: it fails.
    """
    seconds = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        finished = subprocess.run(command, capture_output=True, text=True)
        if number > 0:
            seconds.append(time.perf_counter() - started)

        if finished.returncode != 0:
            reason = finished.stderr.strip()[-_MAX_STDERR:]
            raise RuntimeError(f"{' '.join(command)} failed: {reason}")
    return seconds


def median_and_range(values: Sequence[float], digits: int) -> dict[str, float]:
    """Median, lowest and highest value, and how many there are."""
    return {
        "value": round(float(np.median(values)), digits),
        "lowest": round(min(values), digits),
        "highest": round(max(values), digits),
        "rounds": len(values),
    }


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_mb() -> float:
    """The most memory, in MB of 10⁶ bytes, that this process has held resident (Linux only)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kib) * 1024 / 1e6


def _time(candidate: Callable[[], object]) -> float:
    """Seconds of one call."""
    # A library's threads that wait for more work by spinning would take the next one's cores.
    time.sleep(_SETTLING_SECONDS)

    _wait_for_gpu()
    started = time.perf_counter()
    candidate()
    _wait_for_gpu()
    return time.perf_counter() - started


def _wait_for_gpu() -> None:
    """Wait until a GPU has finished: calls return before."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
