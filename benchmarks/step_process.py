"""Training steps in a process of their own, whose memory is theirs alone:
python -m benchmarks.step_process --batch-size N --steps N [--return-memory] KIND [SETTING ...]

Prints one line of JSON: the seconds of every step, and the most memory that the process held. With
KIND `imports` it takes no step: what a process needs that has imported everything.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks.networks import Settings, Subject, step_phase, step_plain
from benchmarks.timing import peak_mb
from leafzoom.training.memory import keep_freed_memory
from tools.provenance import ROOT

__all__ = ["Kind", "StepProcess", "main", "parser", "run_steps"]

Kind = Literal["classifier", "plain", "imports"]


@dataclass(frozen=True)
class StepProcess:
    """What a process measured: each step's seconds, its peak memory in MB."""

    seconds: list[float]
    peak_mb: float


def run_steps(
    kind: Kind, settings: Settings, *, batch_size: int, steps: int, keep_memory: bool = True
) -> StepProcess:
    """Run steps of the default recipe in a new process.

    Args:
        kind: `classifier`: of the classifier phase; `plain`: of the plain backbone; `imports`:
            none.
        settings: changes of the recipe.
        batch_size: of the random batch.
        steps: how many.
        keep_memory: whether the process keeps the memory that it frees (`keep_freed_memory`).
    """
    options = ["--batch-size", str(batch_size), "--steps", str(steps)]
    if not keep_memory:
        options.append("--return-memory")

    # A network of its own: its memory is the process's.
    command = [sys.executable, "-m", "benchmarks.step_process", *options, kind, *settings]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {finished.stderr.strip()[-500:]}")

    last_line = finished.stdout.splitlines()[-1]
    return StepProcess(**json.loads(last_line))


def main() -> None:
    """Take the steps, print the measurement."""
    arguments = parser().parse_args()
    if not arguments.return_memory:
        keep_freed_memory()

    # `imports` shows what a process needs without a network.
    seconds = []
    if arguments.kind != "imports":
        step = _step(arguments.kind, arguments.settings, arguments.batch_size)
        for _ in range(arguments.steps):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)

    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.step_process",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("kind", choices=("classifier", "plain", "imports"))
    options.add_argument("settings", nargs="*", help="changes of the recipe, KEY=VALUE")
    options.add_argument("--batch-size", type=int, required=True)
    options.add_argument("--steps", type=int, required=True)
    options.add_argument(
        "--return-memory", action="store_true", help="give freed memory back to the system"
    )

    return options


def _step(kind: Kind, settings: Settings, batch_size: int) -> Callable[[], None]:
    """A step that holds on to its own network only; the rest of the subject is freed here."""
    subject = Subject.build("default", settings, batch_size=batch_size)
    if kind == "classifier":
        return partial(step_phase, subject.classifier, subject.batch)
    return partial(step_plain, subject.plain, subject.plain_optimization, subject.batch)


if __name__ == "__main__":
    main()
