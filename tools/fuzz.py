"""Try the readers of tables, `.onnx` files and photos at random, with hypothesis:
python -m tools.fuzz [--minutes 60] [--seed 0] [--failures FOLDER]

Every reader gets the same time. An input that ends in anything but an answer or one line is
written to FOLDER, made as small as hypothesis can. The figure goes into results/reliability.json,
beside those of `tools.reliability`. Exits with 1 if there is a failure.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tools.fuzz_tables import WrittenTable
from tools.fuzz_targets import Target, targets
from tools.provenance import ROOT, commit, machine

__all__ = ["Tally", "fuzz", "main", "try_target"]

_EXAMPLES_A_ROUND = 500
_KIBIBYTES_A_MEBIBYTE = 1024


@dataclass
class Tally:
    """What became of a target's inputs: how many ended how, and those that failed.

    `slowest_s`: the longest processor time of one. `failures`: the inputs, with their errors.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    failures: list[tuple[bytes, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The entry of results/reliability.json."""
        return {
            "inputs": sum(self.outcomes.values()),
            **dict(sorted(self.outcomes.items())),
            "slowest, processor seconds": round(self.slowest_s, 2),
            "failures": sorted({error for _, error in self.failures}),
        }


def main() -> None:
    """Try all readers, write the figure."""
    arguments = _parser().parse_args()
    begun = commit("src", "tools")
    tallies = fuzz(arguments.minutes * 60, arguments.seed)

    arguments.failures.mkdir(parents=True, exist_ok=True)
    for name, tally in tallies.items():
        print(name, json.dumps(tally.to_dict()))
        for number, (content, _) in enumerate(tally.failures):
            (arguments.failures / f"{name.replace(' ', '-')}-{number}").write_bytes(content)

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // _KIBIBYTES_A_MEBIBYTE
    figure = {
        "command": f"python -m tools.fuzz --minutes {arguments.minutes:g} --seed {arguments.seed}",
        "commit": begun,
        "machine": machine(),
        "peak memory, MiB": peak,
        "readers": {name: tally.to_dict() for name, tally in tallies.items()},
    }
    result = json.loads(arguments.out.read_text(encoding="utf-8"))
    result["fuzzing"] = figure
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if any(tally.failures for tally in tallies.values()):
        sys.exit(f"some inputs failed: see {arguments.failures}")


def fuzz(seconds: float, first_seed: int) -> dict[str, Tally]:
    """Try all targets for some time in turns, so that each gets a share of it."""
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        all_targets = targets(Path(folder))
        for target in all_targets:
            tally = tallies.setdefault(target.name, Tally())
            end = time.monotonic() + seconds / len(all_targets)
            round_seed = first_seed
            while time.monotonic() < end:
                try_target(target, tally, examples=_EXAMPLES_A_ROUND, random_seed=round_seed)
                round_seed += 1
    return tallies


def try_target(target: Target, tally: Tally, *, examples: int, random_seed: int) -> None:
    """Try a target with some inputs; the smallest input that fails is added to the tally.

    Args:
        target: what is tried.
        tally: where outcomes are counted.
        examples: how many inputs.
        random_seed: the same seed gives the same inputs.
    """
    last: list[Any] = []

    @seed(random_seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(target.inputs)
    def try_one(content: Any) -> None:
        last[:] = [content]
        start = time.process_time()
        outcome = target.check(content)
        tally.slowest_s = max(tally.slowest_s, time.process_time() - start)
        tally.outcomes[outcome] += 1

    # Whatever it is: a failure is written down, and the next round begins.
    try:
        try_one()
    except Exception as error:
        content = last[0].content if isinstance(last[0], WrittenTable) else last[0]
        text = " ".join(f"{type(error).__name__}: {error}".split())
        tally.failures.append((content, text[:300]))


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m tools.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--minutes", type=float, default=60)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--failures", type=Path, default=Path("build") / "fuzz")
    options.add_argument("--out", type=Path, default=ROOT / "results" / "reliability.json")
    return options


if __name__ == "__main__":
    main()
