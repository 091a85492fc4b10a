"""Times of things that do the same work, taken in turns in one process, so that a machine's drift hits all alike."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Taken", "cores", "in_turns", "process_peak_mb", "process_seconds"]


@dataclass(frozen=True)
class Taken:
    """Seconds that each thing took, round by round: {name: [rounds]}."""

    seconds: dict[str, list[float]]

    def milliseconds(self, name: str) -> dict[str, float]:
        """Median and quartiles of one of them, in ms."""
        low, median, high = np.percentile(np.array(self.seconds[name]) * 1000, (25, 50, 75))
        return {
            "median_ms": round(float(median), 3),
            "low_ms": round(float(low), 3),
            "high_ms": round(float(high), 3),
        }

    def ratio(self, name: str, to: str, times: float = 1.0) -> dict[str, float]:
        """Median and quartiles over the rounds of one thing's time over `times` that of another."""
        ratios = np.array(self.seconds[name]) / (times * np.array(self.seconds[to]))
        low, median, high = (round(float(q), 4) for q in np.percentile(ratios, (25, 50, 75)))
        return {"value": median, "low": low, "high": high, "rounds": len(ratios)}


def in_turns(things: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 2) -> Taken:
    """Run things one after the other, round after round; the order turns by one each round.

    Args:
        things: what is timed, by name.
        rounds: that count.
        warm_up: rounds before them that do not.
    """
    names = list(things)
    # The threads of one library that wait for more work by spinning would take the next one's cores.
    settle = 0.05
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + rounds):
        gc.collect()
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            time.sleep(settle)
            _wait_for_gpu()
            started = time.perf_counter()
            things[name]()
            _wait_for_gpu()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - started)
    return Taken(seconds)


def _wait_for_gpu() -> None:
    """Until a GPU has done what it was given: calls return before."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def process_seconds(command: list[str], *, rounds: int) -> list[float]:
    """Wall-clock seconds of a command from its start to its end, after one run that warms the file cache.

    Raises:
        RuntimeError: it fails.
    """
    taken = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        if number:
            taken.append(time.perf_counter() - started)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return taken


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_peak_mb(program: str) -> float:
    """The most memory, in MB, that a Python program holds resident in a process of its own (VmHWM: Linux only)."""
    measured = (
        f"{program}\nwith open('/proc/self/status') as status:\n"
        "    print(next(line.split()[1] for line in status if line.startswith('VmHWM:')))"
    )
    done = subprocess.run([sys.executable, "-c", measured], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    return int(done.stdout.split()[-1]) * 1024 / 1e6
