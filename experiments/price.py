"""What does a diagnosis cost? python -m experiments.price RUNS NAME...

Counts multiply-adds (with torch) and measures the seconds a photograph of the networks of measured
arms (RUNS/NAME-0), and of scale 1 alone where NAME ends in :scale1. Writes
results/experiments/price.json. The networks take turns in one process, with batches of eight
photographs of noise, from the source to the logits. Ratios are to the first NAME.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.costs import Work, multiply_adds, ratio_quartiles, seconds_in_turns
from experiments.measured_runs import load_network
from experiments.publishing import write_result
from leafzoom.dataset.sources import sources_to_images

__all__ = ["main"]

_BATCH_SIZE = 8
_ROUNDS = 15


def main() -> None:
    """Count, time, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("names", nargs="+")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    works = {name: _work(arguments.runs, name) for name in arguments.names}
    with torch.inference_mode():
        counted = {name: multiply_adds(work, _BATCH_SIZE) for name, work in works.items()}
        seconds = seconds_in_turns(works, _ROUNDS)

    rows = _rows(counted, seconds, first=arguments.names[0])
    result = {
        "name": "price",
        "command": f"python -m experiments.price RUNS {' '.join(arguments.names)}",
        "batch": _BATCH_SIZE,
        "rounds": _ROUNDS,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "networks": rows,
    }
    write_result("price", result)
    for name, row in rows.items():
        print(name, row)


def _work(runs: Path, name: str) -> Work:
    """What is timed: a network, or its scale 1 alone, on one batch of noise."""
    # Seed 0 and noise will do: the time depends on neither the weights nor the pictures.
    arm, _, head = name.partition(":")
    network = load_network(runs / f"{arm}-0" / "model.safetensors")
    racnn = network.racnn
    shape = (_BATCH_SIZE, racnn.source_size, racnn.source_size, 3)
    sources = torch.randint(0, 256, shape, dtype=torch.uint8)

    def all_scales() -> object:
        return network(sources)

    def first_scale() -> object:
        return racnn.start(racnn.normalise(sources_to_images(sources))).logits

    return first_scale if head else all_scales


def _rows(
    counted: dict[str, float], seconds: dict[str, list[float]], first: str
) -> dict[str, dict[str, Any]]:
    """A row a network, in plain values for JSON."""
    ratios = ratio_quartiles(seconds, first)
    rows = {}
    for name, durations in seconds.items():
        rows[name] = {
            "multiply_adds": round(counted[name]),
            "multiply_adds_ratio": round(counted[name] / counted[first], 4),
            "milliseconds": round(1000 * float(np.median(durations)) / _BATCH_SIZE, 2),
            "time_ratio": ratios[name][1],
            "time_ratio_quartiles": [ratios[name][0], ratios[name][2]],
        }
    return rows


if __name__ == "__main__":
    main()
