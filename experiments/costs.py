"""What networks cost: multiply-adds by counting, time by turns in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Work", "multiply_adds", "ratio_quartiles", "seconds_in_turns"]

Work = Callable[[], object]
"""A network on one batch of photographs."""


def multiply_adds(work: Work, photographs: int) -> float:
    """Multiply-adds a photograph; torch counts each as two operations.

    Args:
        work: on one batch.
        photographs: in the batch.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops()) / 2 / photographs


def seconds_in_turns(
    works: Mapping[str, Work], rounds: int, warm_up_rounds: int = 0
) -> dict[str, list[float]]:
    """Seconds a batch, a value a round.

    The works take turns, so that a busy machine slows all of them alike.

    Args:
        works: by name.
        rounds: that count.
        warm_up_rounds: before them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(warm_up_rounds + rounds):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number >= warm_up_rounds:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio_quartiles(seconds: Mapping[str, list[float]], first: str) -> dict[str, list[float]]:
    """Each work's time over the first one's, round by round: the three quartiles."""
    ratios = {}
    for name, durations in seconds.items():
        quartiles = np.percentile(np.array(durations) / seconds[first], (25, 50, 75))
        ratios[name] = [round(float(quartile), 4) for quartile in quartiles]
    return ratios
