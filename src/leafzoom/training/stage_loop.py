"""Running a stage: epochs of phases over the training part, each followed by a validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from lightning.fabric import Fabric
from torch import nn
from tqdm import tqdm

from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.batches import Batch, DatasetPart, batch_count, epoch_batches, seed_for
from leafzoom.errors import DivergedError
from leafzoom.fitting.optimization import Optimization
from leafzoom.training.memory import MemoryWatch
from leafzoom.training.phases import Phase
from leafzoom.training.processes import mean_over_processes, share_of
from leafzoom.training.state import BestEpoch, Cursor, LogRow, PeakMemory
from leafzoom.training.weight_average import WeightAverage

__all__ = ["PartMetrics", "Progress", "StageCallbacks", "StagePlan", "run_stage"]

_SAVE_INTERVAL_S = 600.0
_ADVICE = "look at these photographs, or train in another folder with a lower learning rate"


@dataclass(frozen=True)
class PartMetrics:
    """The metrics that are logged after every epoch, all in eval(), "loss" among them.

    `validate`: of the validation part; None where nothing is held out. `measure_training`: of a
    fixed sample of the training part.
    """

    validate: Callable[[], dict[str, float]] | None
    measure_training: Callable[[], dict[str, float]]


@dataclass(frozen=True)
class StagePlan:
    """What a stage trains, and how.

    `phases`: one an epoch. `module`: what is trained, validated and kept. `optimizations`: by name.
    `metrics`: of the parts of the data; without a validation the last epoch is kept. `patience`:
    validations without a better loss that end the stage (0: never). `selecting`: names of the
    phases after which an epoch can be the best; the last of `phases` is one of them. `average`: of
    the module's weights; it is what is measured and kept.
    """

    name: str
    phases: Sequence[Phase]
    module: nn.Module
    optimizations: Mapping[str, Optimization]
    metrics: PartMetrics
    batch_size: int
    patience: int = 0
    selecting: frozenset[str] = frozenset({"classifier", "joint"})
    average: WeightAverage | None = None


@dataclass
class Progress:
    """How far a training is, changed as it goes on.

    `cursor`: the next batch. `best`: the best epoch of the stage so far. `log`: rows of log.csv.
    `seconds`: by stage. `memory`: the peak by stage.
    """

    cursor: Cursor = field(default_factory=Cursor)
    best: BestEpoch | None = None
    log: list[LogRow] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, PeakMemory] = field(default_factory=dict)

    def record_memory(self, stage: str, watch: MemoryWatch) -> None:
        """Raise a stage's peak memory to that of a watch."""
        peak = PeakMemory(watch.process_mb, watch.device_mb)
        self.memory[stage] = self.memory.get(stage, PeakMemory()).maximum(peak)

    def record_metrics(self, plan: StagePlan, epoch: int, values: Mapping[str, float]) -> None:
        """Append rows with the keys `stage/phase/metric` to the log."""
        prefix = f"{plan.name}/{plan.phases[epoch].name}"
        self.log += [LogRow(epoch + 1, f"{prefix}/{name}", value) for name, value in values.items()]


@dataclass(frozen=True)
class StageCallbacks:
    """What a stage calls as it goes on.

    `save`: writes the state; called after every epoch and every ten minutes. `after_epoch`: called
    with the epoch that ended, before its state is saved. `echo`: prints a line for people.
    """

    save: Callable[[], None]
    after_epoch: Callable[[StagePlan, int], None]
    echo: Callable[[str], None]


def run_stage(
    fabric: Fabric,
    plan: StagePlan,
    part: DatasetPart,
    augmentation: Augmentation,
    progress: Progress,
    callbacks: StageCallbacks,
    *,
    seed: int,
) -> None:
    """Run a stage from where `progress` is to its end, and leave its best state in its module.

    Args:
        fabric: device and precision.
        plan: what to run.
        part: the training part.
        augmentation: of its batches.
        progress: where to start; moved on.
        callbacks: see `StageCallbacks`.
        seed: of the run.

    Raises:
        DivergedError: a training or validation loss, or a weight, is not finite; the last saved
            state is from before.
        DataError: a photograph's pixels have changed (see `DatasetPart`).
    """
    while progress.cursor.epoch < len(plan.phases) and not _stops_early(plan, progress):
        epoch = progress.cursor.epoch
        started = time.perf_counter()

        # Train, validate.
        with MemoryWatch(fabric.device) as watch:
            trained = _run_epoch(fabric, plan, part, augmentation, progress, callbacks, seed)
            with _averaged(plan):
                validated = plan.metrics.validate() if plan.metrics.validate else {}
                sampled = plan.metrics.measure_training()
        progress.record_memory(plan.name, watch)
        _require_finite_loss(plan, epoch, "validation", validated)
        _require_finite_loss(plan, epoch, "training", sampled)

        # Keep what was learned about this epoch.
        progress.record_metrics(plan, epoch, _prefixed("train_", trained))
        progress.record_metrics(plan, epoch, _prefixed("sample_", sampled))
        progress.record_metrics(plan, epoch, _prefixed("select_", validated))
        with _averaged(plan):
            if validated:
                _keep_best(plan, epoch, validated["loss"], progress)
            callbacks.after_epoch(plan, epoch)

        # The state is saved with its time, so that a resumed training adds up.
        seconds = time.perf_counter() - started
        progress.seconds[plan.name] = progress.seconds.get(plan.name, 0.0) + seconds
        progress.cursor = Cursor(progress.cursor.stage, epoch + 1)
        callbacks.save()
        callbacks.echo(_epoch_line(plan, epoch, trained, validated, seconds))

    # Without a validation the last epoch is kept, as its average where there is one.
    if plan.metrics.validate is None and plan.average:
        plan.average.keep()

    # Otherwise the next stage starts from the best epoch.
    best = progress.best
    if best is not None:
        plan.module.load_state_dict(best.tensors)
        callbacks.echo(f"{plan.name}: kept epoch {best.epoch + 1}, validation loss {best.loss:.4f}")


def _averaged(plan: StagePlan) -> AbstractContextManager[None]:
    """The module has its average in the meantime, where the plan has one."""
    return plan.average.in_place() if plan.average else nullcontext()


def _run_epoch(
    fabric: Fabric,
    plan: StagePlan,
    part: DatasetPart,
    augmentation: Augmentation,
    progress: Progress,
    callbacks: StageCallbacks,
    seed: int,
) -> dict[str, float]:
    """Train one epoch from the cursor's batch on; means over the epoch of what its phase logs."""
    # A resumed epoch goes on at its next batch, with the sums of those before.
    epoch = progress.cursor.epoch
    first = progress.cursor.batch
    sums = dict(progress.cursor.sums)
    phase = plan.phases[epoch]
    phase.begin()

    # The order and the augmentation come from the seed, so they are as before a stop.
    count = batch_count(len(part), plan.batch_size)
    batches = epoch_batches(
        part,
        augmentation,
        batch_size=plan.batch_size,
        seed=seed_for(seed, plan.name, epoch),
        device=fabric.device,
        first=first,
        share=share_of(fabric),
    )
    title = f"{plan.name} {epoch + 1}/{len(plan.phases)} {phase.name}"
    saved = time.perf_counter()
    with tqdm(
        batches,
        title,
        total=count,
        initial=first,
        unit="batch",
        disable=None if fabric.is_global_zero else True,
        leave=False,
    ) as bar:
        for batch in bar:
            with fabric.autocast():
                own_means = phase.step(batch.images, batch.targets, batch.share)
            logged = mean_over_processes(fabric, own_means, batch.share)
            if plan.average:
                plan.average.update()

            # Stop before a loss that is not finite gets into a saved state.
            for name, value in logged.items():
                number = float(value)
                if not math.isfinite(number):
                    where = _batch_description(batch, count)
                    raise DivergedError(f"{title}: {name} is {number} at {where}: {_ADVICE}")
                sums[name] = sums.get(name, 0.0) + number
            bar.set_postfix(_first_means(sums, batch.index + 1))
            progress.cursor = replace(progress.cursor, batch=batch.index + 1, sums=dict(sums))

            # The epoch's last state is saved after its validation.
            is_last = batch.index + 1 == count
            save_now = time.perf_counter() - saved > _SAVE_INTERVAL_S and not is_last
            if save_now or is_last:
                _require_finite_weights(plan, title, _batch_description(batch, count))
            if save_now:
                callbacks.save()
                saved = time.perf_counter()

    return {name: total / count for name, total in sums.items()}


def _first_means(sums: Mapping[str, float], batches: int) -> dict[str, str]:
    """The means so far of the first two logged values, for the progress bar."""
    return {name: f"{total / batches:.3f}" for name, total in list(sums.items())[:2]}


def _batch_description(batch: Batch, count: int) -> str:
    """The batch's number in its epoch, and its photographs."""
    return f"batch {batch.index + 1} of {count} ({', '.join(batch.image_names)})"


def _require_finite_weights(plan: StagePlan, title: str, last_batch: str) -> None:
    """Stop before a state with spoilt weights is saved: the loss shows it one batch later."""
    for name, tensor in plan.module.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DivergedError(
                f"{title}: {name} is no longer finite after {last_batch}: {_ADVICE}"
            )


def _require_finite_loss(
    plan: StagePlan, epoch: int, part: str, metrics: Mapping[str, float]
) -> None:
    """Stop before a state is saved whose weights the last steps have spoilt."""
    loss = metrics.get("loss", 0.0)
    if not math.isfinite(loss):
        raise DivergedError(
            f"{plan.name} {epoch + 1}/{len(plan.phases)}: the {part} loss is {loss}, so the "
            "weights are spoilt: train in another folder with a lower learning rate"
        )


def _keep_best(plan: StagePlan, epoch: int, loss: float, progress: Progress) -> None:
    """Keep the module's state if its phase can be the best and its loss is the lowest so far."""
    if plan.phases[epoch].name not in plan.selecting:
        return
    if progress.best is None or loss < progress.best.loss:
        # Copies on the CPU: the next steps change the module's own tensors.
        state = plan.module.state_dict()
        tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
        progress.best = BestEpoch(loss, epoch, tensors)


def _stops_early(plan: StagePlan, progress: Progress) -> bool:
    """Whether `patience` validations have passed since the best one."""
    if not plan.patience or progress.best is None:
        return False

    # Epochs that cannot be the best do not count.
    epochs_since = range(progress.best.epoch + 1, progress.cursor.epoch)
    validations = [epoch for epoch in epochs_since if plan.phases[epoch].name in plan.selecting]
    return len(validations) >= plan.patience


def _epoch_line(
    plan: StagePlan,
    epoch: int,
    trained: Mapping[str, float],
    validated: Mapping[str, float],
    seconds: float,
) -> str:
    """The line that is printed after an epoch."""
    values = [f"{name} {value:.4f}" for name, value in trained.items()]
    for name, value in validated.items():
        if name == "loss" or "exact" in name:
            values.append(f"validation {name} {value:.4f}")
    phase = plan.phases[epoch].name
    title = f"{plan.name} {epoch + 1}/{len(plan.phases)} {phase} ({seconds:.0f} s)"
    return f"{title}: {', '.join(values)}"


def _prefixed(prefix: str, values: Mapping[str, float]) -> dict[str, float]:
    """The same values with a prefix before their names."""
    return {f"{prefix}{name}": value for name, value in values.items()}
