"""How many photographs a second do two processes train, beside one with both cores?

    python -m experiments.two_processes [--batch-size N] [--rounds N]

In every round one process takes a step of the classifier phase with two threads, while the other
one waits; then both take the same step, half the batch each, with one thread each. Augmentation is
part of a step. The network has random weights and the photographs are noise, on which time does not
depend. Nothing else should run meanwhile. Takes some minutes on two cores, and writes
results/experiments/two-processes.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from lightning.fabric import Fabric

from experiments.publishing import write_result
from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.batches import Batch, DatasetPart, epoch_batches
from leafzoom.dataset.shares import WHOLE, Share
from leafzoom.fitting.optimization import Optimization
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_racnn
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.storage import write_json
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.launch import build_fabric, running_together
from leafzoom.training.processes import share_gradients, share_of, wait_for_all
from tools.provenance import commit, machine

__all__ = ["main", "measure", "parser"]

_NAME = "two-processes"
_LABELS = 6
_PROCESSES = 2
_WARM_UP_ROUNDS = 2
_RANDOM_WEIGHTS = ("model.pretrained=none", "model.batch_norm=fold")


@dataclass(frozen=True)
class _Training:
    """The classifier phase of a recipe in one of the processes."""

    fabric: Fabric
    phase: ClassifierPhase
    optimization: Optimization
    part: DatasetPart
    augmentation: Augmentation
    batch_size: int

    def batches(self, share: Share) -> Iterator[Batch]:
        """Batches of a share without an end."""
        seed = 0
        while True:
            yield from epoch_batches(
                self.part,
                self.augmentation,
                batch_size=self.batch_size,
                seed=seed,
                device=self.fabric.device,
                share=share,
            )
            seed += 1


def main() -> None:
    """Measure, and write the result in the first process."""
    arguments = parser().parse_args()
    fabric = build_fabric("cpu", "32-true", devices=_PROCESSES)
    with running_together(fabric):
        recipe = load_recipe("default", [*_RANDOM_WEIGHTS, *arguments.changes])
        rounds = measure(fabric, recipe, arguments.batch_size, arguments.rounds)
        if not fabric.is_global_zero:
            return

        options = [f"--batch-size {arguments.batch_size}", f"--rounds {arguments.rounds}"]
        options += [f"--set {change}" for change in arguments.changes]
        result = {
            "command": " ".join([f"experiments/{Path(__file__).stem}", *options]),
            "commit": commit("src", "experiments"),
            "machine": machine(),
            "recipe": recipe.name,
            "input_size": recipe.model.input_size,
            "batch_size": arguments.batch_size,
            **_summary(rounds, arguments.batch_size),
        }
        if arguments.out:
            write_json(arguments.out, result)
        else:
            write_result(_NAME, result)
        print(f"{result['ratio']:.3f} times the photographs a second of one process")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m experiments.two_processes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument(
        "--set", dest="changes", action="append", default=[], help="a value of the recipe"
    )
    options.add_argument("--out", type=Path, help="another file for the result")
    return options


def measure(
    fabric: Fabric, recipe: Recipe, batch_size: int, rounds: int
) -> list[tuple[float, float]]:
    """The seconds of a step of one process and of the same step of two, in each round."""
    training = _build(fabric, recipe, batch_size)
    whole = training.batches(WHOLE)
    shared = training.batches(share_of(fabric))
    add_up = training.optimization.before_step
    training.phase.begin()

    seconds = []
    for _ in range(rounds + _WARM_UP_ROUNDS):
        # One process with both threads; the other one sleeps until it is done.
        wait_for_all(fabric)
        started = time.perf_counter()
        if fabric.is_global_zero:
            torch.set_num_threads(_PROCESSES)
            training.optimization.before_step = None
            _step(training, whole)
        wait_for_all(fabric)
        alone = time.perf_counter() - started

        # Both with a thread each.
        torch.set_num_threads(1)
        training.optimization.before_step = add_up
        started = time.perf_counter()
        _step(training, shared)
        wait_for_all(fabric)
        seconds.append((alone, time.perf_counter() - started))
    return seconds[_WARM_UP_ROUNDS:]


def _step(training: _Training, batches: Iterator[Batch]) -> None:
    """Read a batch, and learn from it."""
    batch = next(batches)
    training.phase.step(batch.images, batch.targets, batch.share)


def _build(fabric: Fabric, recipe: Recipe, batch_size: int) -> _Training:
    """The phase with a network of random weights, and photographs of noise."""
    torch.manual_seed(0)
    racnn = build_racnn(recipe, _LABELS)
    for backbone in racnn.backbones:
        assert isinstance(backbone, Backbone)
        backbone.fold_batch_norm()
    steps = 1_000_000  # no schedule ends
    optimization = Optimization(list(racnn.backbones), recipe.alternation.classifier, steps)
    share_gradients(fabric, optimization)

    random = np.random.default_rng(0)
    size = recipe.data.source_size
    count = 4 * batch_size
    part = DatasetPart(
        sources=random.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
        targets=random.integers(0, 2, (count, _LABELS), dtype=np.uint8),
        image_names=tuple(f"{number}.jpg" for number in range(count)),
        rows=np.arange(count),
    )
    return _Training(
        fabric=fabric,
        phase=ClassifierPhase(
            racnn,
            optimization,
            fabric.backward,
            frozen_stages=recipe.alternation.frozen_stages,
            box_jitter=recipe.alternation.box_jitter,
        ),
        optimization=optimization,
        part=part,
        augmentation=Augmentation(source_size=size, **recipe.augmentation.photograph_changes()),
        batch_size=batch_size,
    )


def _summary(rounds: list[tuple[float, float]], batch_size: int) -> dict[str, object]:
    """Photographs a second, and the ratio of both in the same round: median and quartiles."""
    ratios = [alone / together for alone, together in rounds]
    return {
        "rounds": len(rounds),
        "one_per_s": round(median(batch_size / alone for alone, _ in rounds), 2),
        "two_per_s": round(median(batch_size / together for _, together in rounds), 2),
        "ratio": round(median(ratios), 3),
        "quartiles": [round(quantiles(ratios, n=4)[side], 3) for side in (0, 2)],
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


if __name__ == "__main__":
    main()
