"""Train and measure arms: python -m experiments.run DATA PARTS.json SHARED RUNS --arm NAME...

Or all arms of a comparison of comparisons.toml: --comparison NAME.

An arm is base.toml (or the recipe here that it `extends`) with the changes that arms.toml names.
With every seed it is trained from the SHARED checkpoint (or its `start`, a file beside it) on the
`train` part of PARTS.json (see python -m experiments.parts), and measured on its `report` part.
RUNS/ARM-SEED is a run as `leafzoom train` leaves it, and measured.npz beside: every head's logits
and every box of the `report` part, and which boxes meet lesions where DATA has them. Finished runs
are skipped. `python -m experiments.report` makes results/experiments/*.json from them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

from experiments.definitions import Arm, Comparison, read_arms, read_comparisons
from experiments.measure import measure
from experiments.measured_runs import MeasuredRun, cached_sources
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.lesions import read_lesions
from leafzoom.dataset.split import training_split
from leafzoom.dataset.table import Table, read_table
from leafzoom.recipe import load_recipe
from leafzoom.training.memory import keep_freed_memory
from leafzoom.training.run import train

__all__ = ["Experiment", "main"]


def main() -> None:
    """Train and measure every arm with every seed; print the scores and the times."""
    arms = read_arms()
    comparisons = read_comparisons()
    arguments = _arguments(arms, comparisons)
    names = [*arguments.arm]
    for name in arguments.comparison:
        names += [arm for arm in comparisons[name].trained_arms if arm not in names]

    keep_freed_memory()
    experiment = Experiment(
        data=arguments.data,
        table=read_table(arguments.data),
        parts=arguments.parts,
        shared=arguments.shared,
        runs=arguments.runs,
        limit=arguments.limit,
    )
    for seed in arguments.seeds:
        for name in names:
            experiment.train_and_measure(arms[name], seed)


@dataclass(frozen=True)
class Experiment:
    """What all arms have in common.

    `data`, `table`: the photographs. `parts`: the split. `shared`: the checkpoint that arms start
    from. `runs`: the folder of all runs. `limit`: so many photographs are trained on and measured;
    0: all.
    """

    data: Path
    table: Table
    parts: Path
    shared: Path
    runs: Path
    limit: int = 0
    _caches: dict[int, Cache] = field(default_factory=dict)

    def train_and_measure(self, arm: Arm, seed: int) -> None:
        """Train an arm with one seed and measure it; what is finished is skipped, or resumed."""
        folder = self.runs / f"{arm.name}-{seed}"
        if MeasuredRun(folder).is_measured:
            return

        started = time.perf_counter()
        changes = self._changes(arm, seed)
        recipe = load_recipe(str(arm.recipe_file), changes)
        cache = self._cache(recipe.data.source_size)
        split = training_split(cache, str(self.parts))

        # A run that is trained already is left as it is, and measured.
        start = arm.start_checkpoint(self.shared)
        train(
            cache,
            split,
            recipe,
            folder,
            init=None if start is None else str(start),
            resume=(folder / "run.json").is_file(),
            echo=lambda _: None,
        )
        training_seconds = time.perf_counter() - started

        # On photographs that neither the training nor any choice has used.
        exact_matches = measure(
            folder,
            cache,
            split.test[: self.limit] if self.limit else split.test,
            nine_boxes=arm.nine,
            changes=changes,
            lesions=read_lesions(self.data, cache),
        )
        seconds = time.perf_counter() - started
        print(
            f"{arm.name} {seed}: {exact_matches} ({training_seconds:.0f} s, {seconds:.0f} s)",
            flush=True,
        )

    def _changes(self, arm: Arm, seed: int) -> list[str]:
        """What is changed in the arm's recipe."""
        changes = [f"name={arm.name}", f"seed={seed}", *arm.changes]
        if self.limit:
            changes.append(f"data.train_limit={self.limit}")
            changes.append(f"data.validation_limit={self.limit}")
        return changes

    def _cache(self, source_size: int) -> Cache:
        """The sources of one size, opened once."""
        if source_size not in self._caches:
            self._caches[source_size] = cached_sources(self.data, self.table, source_size)
        return self._caches[source_size]


def _arguments(arms: dict[str, Arm], comparisons: dict[str, Comparison]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", type=Path)
    parser.add_argument("shared", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--arm", action="append", default=[], metavar="NAME")
    parser.add_argument(
        "--comparison",
        action="append",
        default=[],
        metavar="NAME",
        choices=list(comparisons),
        help="all arms of a comparison of comparisons.toml",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--limit", type=int, default=0, help="photographs to train on and to measure (a trial)"
    )

    arguments = parser.parse_args()
    if not arguments.arm and not arguments.comparison:
        parser.error("name an --arm or a --comparison")
    for name in arguments.arm:
        if name not in arms:
            parser.error(f"no arm {name}: there are {', '.join(arms)}")
    return arguments


if __name__ == "__main__":
    main()
