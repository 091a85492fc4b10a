"""A stage: epochs of phases over the training part, each followed by a look at the selection part."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn
from tqdm import tqdm

from leafzoom.dataset.augmentation import Augmentation
from leafzoom.errors import TrainingError
from leafzoom.training.batches import Batch, Photographs, batch_count, epoch_batches, seed_for
from leafzoom.training.memory import MemoryWatch
from leafzoom.training.optimization import Optimization
from leafzoom.training.phases import Phase
from leafzoom.training.state import Cursor

__all__ = ["Progress", "Stage", "run_stage"]

_SAVE_SECONDS = 600.0
_ADVICE = ": look at these photographs, or train in another folder with a lower learning rate"


@dataclass(frozen=True)
class Stage:
    """One stage of a training.

    `phases`: one an epoch. `module`: what is trained, scored and kept. `optimizations`: by name. `measure`:
    the selection metrics, "loss" among them. `patience`: selections without a better loss that end the stage
    (0: never). `selecting`: the phases after which the state is scored for being the best; the last of `phases`
    is one of them.
    """

    name: str
    phases: Sequence[Phase]
    module: nn.Module
    optimizations: Mapping[str, Optimization]
    measure: Callable[[], dict[str, float]]
    batch_size: int
    patience: int = 0
    selecting: frozenset[str] = frozenset({"classifier", "joint"})


@dataclass
class Progress:
    """How far a training is, changed as it goes: the fields of a `State` that are not tensors of its modules."""

    cursor: Cursor
    best: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: dict[str, float]
    memory: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def remember(self, stage: str, watch: MemoryWatch) -> None:
        """Raise a stage's memory to what a watch saw."""
        before = self.memory.get(stage, {})
        seen = {"process_mb": watch.process_mb, "device_mb": watch.device_mb}
        self.memory[stage] = {
            name: max((v for v in (before.get(name), value) if v is not None), default=None)
            for name, value in seen.items()
        }

    def log(self, stage: Stage, epoch: int, values: Mapping[str, float]) -> None:
        """Append rows `stage/phase/metric` to the log."""
        phase = stage.phases[epoch].name
        self.history += [
            {"epoch": epoch + 1, "key": f"{stage.name}/{phase}/{name}", "value": value}
            for name, value in values.items()
        ]


def run_stage(
    fabric: Fabric,
    stage: Stage,
    photographs: Photographs,
    augmentation: Augmentation,
    progress: Progress,
    *,
    seed: int,
    save: Callable[[], None],
    after_epoch: Callable[[Stage, int], None],
    say: Callable[[str], None],
) -> None:
    """Run a stage from where `progress` is to its end, and leave its best state in its module.

    Args:
        fabric: device and precision.
        stage: what to run.
        photographs: the training part.
        augmentation: of its batches.
        progress: where to start; moved on.
        seed: of the run.
        save: writes the state; called after every epoch and every ten minutes.
        after_epoch: called with the epoch that ended, before its state is saved.
        say: prints a line for people.

    Raises:
        TrainingError: a loss of training or selection or a weight is not finite; the last saved state is from before.
        DataError: a photograph's pixels have changed (see `Photographs`).
    """
    while progress.cursor.epoch < len(stage.phases) and not _stops_early(stage, progress):
        epoch = progress.cursor.epoch
        started = time.perf_counter()
        with MemoryWatch(fabric.device) as watch:
            trained = _run_epoch(fabric, stage, photographs, augmentation, progress, seed=seed, save=save)
            selected = stage.measure()
        progress.remember(stage.name, watch)
        _require_finite(stage, epoch, selected["loss"])
        progress.log(stage, epoch, {f"train_{k}": v for k, v in trained.items()})
        progress.log(stage, epoch, {f"select_{k}": v for k, v in selected.items()})
        _keep_best(stage, epoch, selected["loss"], progress)
        after_epoch(stage, epoch)
        progress.seconds[stage.name] = progress.seconds.get(stage.name, 0.0) + time.perf_counter() - started
        progress.cursor = Cursor(progress.cursor.stage, epoch + 1)
        save()
        say(_line(stage, epoch, trained, selected, time.perf_counter() - started))
    if progress.best:
        stage.module.load_state_dict(progress.best["tensors"])
        say(f"{stage.name}: kept epoch {progress.best['epoch'] + 1}, selection loss {progress.best['loss']:.4f}")


def _run_epoch(
    fabric: Fabric,
    stage: Stage,
    photographs: Photographs,
    augmentation: Augmentation,
    progress: Progress,
    *,
    seed: int,
    save: Callable[[], None],
) -> dict[str, float]:
    """Train one epoch from the cursor's batch on; means over the epoch of what its phase logs."""
    epoch, first = progress.cursor.epoch, progress.cursor.batch
    phase = stage.phases[epoch]
    phase.begin()
    sums = dict(progress.cursor.sums)
    count = batch_count(len(photographs), stage.batch_size)
    batches = epoch_batches(
        photographs,
        augmentation,
        batch_size=stage.batch_size,
        seed=seed_for(seed, stage.name, epoch),
        device=fabric.device,
        first=first,
    )
    saved = time.perf_counter()
    title = f"{stage.name} {epoch + 1}/{len(stage.phases)} {phase.name}"
    with tqdm(batches, title, total=count, initial=first, unit="batch", disable=None, leave=False) as bar:
        for batch in bar:
            with fabric.autocast():
                logged = phase.step(batch.pictures, batch.targets)
            for name, value in logged.items():
                number = float(value)
                if not math.isfinite(number):
                    raise TrainingError(f"{title}: {name} is {number} at {_named(batch, count)}{_ADVICE}")
                sums[name] = sums.get(name, 0.0) + number
            bar.set_postfix({name: f"{total / (batch.index + 1):.3f}" for name, total in list(sums.items())[:2]})
            progress.cursor = replace(progress.cursor, batch=batch.index + 1, sums=dict(sums))
            last = batch.index + 1 == count
            due = time.perf_counter() - saved > _SAVE_SECONDS and not last
            if due or last:
                _require_finite_weights(stage, title, _named(batch, count))
            if due:
                save()
                saved = time.perf_counter()
    return {name: total / count for name, total in sums.items()}


def _named(batch: Batch, count: int) -> str:
    """Which batch of an epoch, and its photographs."""
    return f"batch {batch.index + 1} of {count} ({', '.join(batch.images)})"


def _require_finite_weights(stage: Stage, title: str, after: str) -> None:
    """Stop before a state is saved whose weights a step has spoilt: the loss tells only with the next batch."""
    for name, tensor in stage.module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"{title}: {name} is no longer finite after {after}{_ADVICE}")


def _require_finite(stage: Stage, epoch: int, loss: float) -> None:
    """Stop before a state is saved whose weights its last steps have spoilt."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"{stage.name} {epoch + 1}/{len(stage.phases)}: the selection loss is {loss}, so the weights are spoilt: "
            "train in another folder with a lower learning rate"
        )


def _keep_best(stage: Stage, epoch: int, loss: float, progress: Progress) -> None:
    """Keep the module's state if its phase is scored and its selection loss the lowest so far."""
    if stage.phases[epoch].name not in stage.selecting:
        return
    if not progress.best or loss < progress.best["loss"]:
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in stage.module.state_dict().items()}
        progress.best = {"loss": loss, "epoch": epoch, "tensors": tensors}


def _stops_early(stage: Stage, progress: Progress) -> bool:
    """Whether `patience` selections have passed since the best one."""
    if not stage.patience or not progress.best:
        return False
    since = range(progress.best["epoch"] + 1, progress.cursor.epoch)
    return sum(stage.phases[epoch].name in stage.selecting for epoch in since) >= stage.patience


def _line(
    stage: Stage, epoch: int, trained: Mapping[str, float], selected: Mapping[str, float], seconds: float
) -> str:
    """What is printed after an epoch."""
    shown = [f"{name} {value:.4f}" for name, value in trained.items()]
    shown += [f"select {name} {value:.4f}" for name, value in selected.items() if "exact" in name or name == "loss"]
    phase = stage.phases[epoch].name
    return f"{stage.name} {epoch + 1}/{len(stage.phases)} {phase} ({seconds:.0f} s): {', '.join(shown)}"
