"""One training in one folder.

RUN/run.json            what ran, on what, how long, how far ("status": "training" or "finished")
RUN/recipe.json         every value of the recipe
RUN/split.json          the photographs of the three parts
RUN/log.csv             epoch, stage/phase/metric, value
RUN/zooms/*.png         where the network looks after every epoch; RUN/attention.gif their film
RUN/states/             what --resume goes on from
RUN/selection.csv       every head's logits on the validation part, if there is one
RUN/backbone.safetensors, RUN/model.safetensors, RUN/model.onnx
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.stratification import subset
from leafzoom.errors import TrainingError
from leafzoom.fitting.selection import write_selection
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_network, network_tensors
from leafzoom.model.pretrained import (
    initial_checkpoint,
    pretrained_backbone,
    start_backbone,
    start_digest,
)
from leafzoom.model_file.checkpoint import Checkpoint, save_checkpoint
from leafzoom.recipe import Recipe
from leafzoom.storage import folder_name, make_folder, remove_partial, write_json
from leafzoom.training.attention_film import write_film
from leafzoom.training.checks import check_held_out, check_recipe, check_shares
from leafzoom.training.epoch_outputs import EpochOutputs
from leafzoom.training.last_stage import fit_heads, fitted_part, part_lines
from leafzoom.training.launch import build_fabric, is_first_process, running_together
from leafzoom.training.loggers import logger_openers
from leafzoom.training.memory import MemoryWatch, keep_freed_memory
from leafzoom.training.model_record import model_manifest
from leafzoom.training.outliers import find_negatives
from leafzoom.training.processes import (
    by_the_first,
    equal_weights,
    first_before_others,
    share_gradients,
    synchronise_batch_norms,
)
from leafzoom.training.record import run_facts, run_status, stored_start_weights, training_labels
from leafzoom.training.settings import DEFAULT_SETTINGS, Settings
from leafzoom.training.stage_loop import Progress, StageCallbacks, StagePlan, run_stage
from leafzoom.training.stage_order import training_stages
from leafzoom.training.stages import TrainingContext
from leafzoom.training.state import Cursor, State, load_state, save_state
from leafzoom.training.teachers import find_teachers, load_teachers, with_sources

__all__ = ["Settings", "train"]


def train(
    cache: Cache,
    split: Split,
    recipe: Recipe,
    out: Path,
    *,
    init: str | None = None,
    resume: bool = False,
    settings: Settings = DEFAULT_SETTINGS,
    echo: Callable[[str], None] = print,
) -> Path:
    """Train all stages of a recipe into a folder, or go on with what a stop left there.

    Args:
        cache: the photographs.
        split: its three parts.
        recipe: what is trained and how.
        out: the run's folder.
        init: a checkpoint, or `bundled`, whose backbone (and, with `fine_tuning.epochs = 0`, scales
            and APNs) the training starts from.
        resume: go on with the run in `out`; a finished one is left as it is.
        settings: devices and precision.
        echo: prints a line for people.

    Returns:
        The checkpoint of the trained network, `out/model.safetensors`.

    Raises:
        TrainingError: the folder holds a run (without `resume`), or another one is at work there;
            with `resume`, recipe, split, data or the number of processes differ from the run's; a
            loss that is not finite; a process that has ended.
        LeafzoomError: the folder cannot be written; the errors of the data and of the start
            weights.
    """
    # What cannot be used is an error before anything is written.
    if not is_first_process(settings.devices * settings.nodes):
        echo = _silent
    run = _Run(cache, split, recipe, out, init=init, settings=settings, echo=echo)

    make_folder(out)
    keep_freed_memory()
    with running_together(run.fabric):
        is_first = run.fabric.is_global_zero
        try:
            with FileLock(out / "lock", timeout=0) if is_first else nullcontext():
                # Only under the lock is a partial file surely a leftover.
                if is_first:
                    for folder in (out, out / "states", out / "zooms"):
                        remove_partial(folder)
                return run.go(resume=resume)
        except Timeout as error:
            raise TrainingError(
                f"another training is at work in {out}: wait for it or choose another folder"
            ) from error


def _silent(_: str) -> None:
    """Print nothing: only the first process prints."""


class _Run:
    """The parts of a training while it runs."""

    def __init__(
        self,
        cache: Cache,
        split: Split,
        recipe: Recipe,
        out: Path,
        *,
        init: str | None,
        settings: Settings,
        echo: Callable[[str], None],
    ) -> None:
        self.cache = cache
        self.split = split
        self.recipe = recipe
        self.out = out
        self.settings = settings
        self.echo = echo

        self.fabric = build_fabric(
            settings.accelerator,
            settings.precision,
            devices=settings.devices,
            nodes=settings.nodes,
        )

        tensorboard = ("tensorboard",) if settings.tensorboard else ()
        named = logger_openers((*tensorboard, *settings.loggers))
        self.loggers = [*named, *settings.more_loggers]

        # A folder that cannot be used fails now, not after the last epoch.
        negatives = settings.negatives
        self.negatives = find_negatives(negatives, echo) if negatives else []
        self.labels = training_labels(cache, split, recipe)
        self.init = initial_checkpoint(init) if init else None
        teachers = load_teachers(settings.teachers)
        self.teachers = find_teachers(
            recipe, teachers, self.init, self.labels, settings.source_sizes
        )
        self.facts = run_facts(
            cache,
            split,
            recipe,
            self.labels.names,
            self.init,
            teachers,
            settings.precision,
            settings.devices * settings.nodes,
        )
        self.progress = Progress()
        self.start_weights = ""

    def go(self, *, resume: bool) -> Path:
        """Run every stage that is not done yet."""
        path = self.out / "model.safetensors"
        is_first = self.fabric.is_global_zero
        status = by_the_first(
            self.fabric,
            lambda: run_status(self.out, self.facts, self.recipe, resume=resume, echo=self.echo),
        )
        context = self._context()

        # A resumed run keeps the digest of the weights that it began with.
        digest = start_digest(context.backbone)
        self.start_weights = digest if status == "new" else stored_start_weights(self.out, digest)
        if status == "finished":
            self.echo(f"{self.out} is finished: its network is {path}")
            return path

        # run.json comes last: without it the folder holds no run.
        if status == "new" and is_first:
            write_json(self.out / "recipe.json", self.facts.recipe)
            write_json(self.out / "split.json", self.split.to_dict())
            write_json(self.out / "run.json", {**self._record(), "status": "training"})
        if not context.frozen:
            sizes = self.settings.source_sizes
            teachers = tuple(with_sources(teacher, self.cache, sizes) for teacher in self.teachers)
            context = replace(context, teachers=teachers)
        table = self.cache.table.take(self.split.train + self.split.validation + self.split.test)
        for line in part_lines(context, table, self.split):
            self.echo(line)
        outputs = self._run_stages(context)
        if outputs:
            self._finish(context, path)
            outputs.finish(path)
        return path

    def _context(self) -> TrainingContext:
        """Data, networks and device, all as they are before the first stage."""
        recipe = self.recipe
        train_part = self._part(self.split.train, recipe.data.train_limit)
        validation_part = self._part(self.split.validation, recipe.data.validation_limit)

        # New weights depend on the seed alone, not on what was drawn before.
        torch.manual_seed(recipe.seed)
        fabric = self.fabric
        backbone = _start_backbone(recipe, self.labels.names, self.init)
        network = build_network(recipe, len(self.labels.names))
        check_recipe(recipe, self.labels, self.init)
        photographs = len(train_part) + len(validation_part)
        frozen = recipe.freezes_scales(photographs)
        check_held_out(recipe, photographs, len(validation_part))
        check_shares(fabric, recipe, backbone, len(train_part), frozen=frozen)

        backbone.to(fabric.device).to(memory_format=torch.channels_last)
        network.to(fabric.device)
        return TrainingContext(
            fabric=fabric,
            recipe=recipe,
            labels=self.labels,
            network=network,
            backbone=backbone,
            train_part=train_part,
            validation_part=validation_part,
            init=self.init,
            out=self.out,
            echo=self.echo,
            frozen=frozen,
        )

    def _part(self, image_names: tuple[str, ...], limit: int) -> DatasetPart:
        """A part of the data, cut to a number of photographs."""
        table = self.cache.table
        chosen = set(subset(table.take(image_names), limit, seed=self.recipe.seed))
        rows = [row for row, name in enumerate(table.image_names) if name in chosen]
        return DatasetPart(
            sources=self.cache.sources,
            targets=table.targets(self.labels),
            image_names=table.image_names,
            rows=np.array(rows, np.int64),
            checksums=self.cache.checksums,
        )

    def _run_stages(self, context: TrainingContext) -> EpochOutputs | None:
        """Run the stages from the last saved state on; the first process's outputs."""
        with first_before_others(context.fabric):
            stored = load_state(self.out / "states", self.echo)
        if stored:
            self._restore(context, stored)
            cursor = stored.cursor
            self.echo(f"going on with stage {cursor.stage + 1}, epoch {cursor.epoch + 1}")

        augmentation = Augmentation(
            source_size=self.recipe.data.source_size,
            **self.recipe.augmentation.photograph_changes(),
        )
        outputs = None
        if context.fabric.is_global_zero:
            name = folder_name(self.out)
            loggers = [open_log(self.out, name) for open_log in self.loggers]
            outputs = EpochOutputs(context, self.progress, loggers)
        stages = training_stages(context)
        for number in range(self.progress.cursor.stage, len(stages)):
            stage = stages[number]

            # A stage that is resumed in its middle has been prepared already.
            if self.progress.cursor == Cursor(number):
                stage.prepare()

            # All processes start the stage from the same weights.
            equal_weights(context.fabric, context.backbone)
            equal_weights(context.fabric, context.network)
            plan = stage.plan()
            synchronise_batch_norms(context.fabric, plan.module)
            for optimization in plan.optimizations.values():
                share_gradients(context.fabric, optimization)

            # Momentum, schedule and average go on where the state left them.
            if stored and stored.cursor.stage == number:
                for name, state in stored.optimizations.items():
                    plan.optimizations[name].load_state_dict(state)
                if plan.average and "average" in stored.tensors:
                    plan.average.load_state_dict(stored.tensors["average"])

            run_stage(
                context.fabric,
                plan,
                stage.training_data(),
                augmentation,
                self.progress,
                self._callbacks(context, plan, outputs),
                seed=self.recipe.seed,
            )

            # Between stages there is no best epoch, and no optimizer to go on with.
            self.progress.cursor = Cursor(number + 1)
            self.progress.best = None
            if plan.module is context.backbone and outputs:
                save_checkpoint(
                    self.out / "backbone.safetensors",
                    _backbone_tensors(context.backbone),
                    model_manifest(context, self.facts, self.split, None),
                )
            self._save(context, None)
        return outputs

    def _callbacks(
        self, context: TrainingContext, plan: StagePlan, outputs: EpochOutputs | None
    ) -> StageCallbacks:
        """What a stage calls as it goes on; only the first process has outputs."""
        return StageCallbacks(
            save=lambda: self._save(context, plan),
            after_epoch=outputs.after_epoch if outputs else lambda plan, epoch: None,
            echo=self.echo,
        )

    def _save(self, context: TrainingContext, plan: StagePlan | None) -> None:
        """Write the state, in the first process; between stages there are no optimizers in it."""
        if not context.fabric.is_global_zero:
            return
        optimizations = {}
        tensors = {
            "backbone": context.backbone.state_dict(),
            "racnn": context.network.state_dict(),  # every framework's under the older name
        }
        if plan:
            optimizations = {name: o.state_dict() for name, o in plan.optimizations.items()}
        if plan and plan.average:
            tensors["average"] = plan.average.state_dict()
        progress = self.progress
        state = State(
            cursor=progress.cursor,
            tensors=tensors,
            optimizations=optimizations,
            best=progress.best,
            log=progress.log,
            seconds=progress.seconds,
            memory=progress.memory,
        )
        save_state(self.out / "states", state)

    def _restore(self, context: TrainingContext, stored: State) -> None:
        """Put a state into the networks and the progress."""
        context.backbone.load_state_dict(stored.tensors["backbone"])

        # Batch norms that were folded during the run have no tensors in the state.
        tensors = stored.tensors["racnn"]
        for index, scale in enumerate(context.network.backbones):
            assert isinstance(scale, Backbone)
            prefix = f"backbones.{index}."
            scale.match_batch_norm(name for name in tensors if name.startswith(prefix))
        context.network.load_state_dict(tensors)

        self.progress = Progress(
            cursor=stored.cursor,
            best=stored.best,
            log=stored.log,
            seconds=stored.seconds,
            memory=stored.memory,
        )

    def _finish(self, context: TrainingContext, path: Path) -> None:
        """Fit the heads, write the network's file and the film; then the run is finished."""
        started = time.perf_counter()
        self.echo("fusion and thresholds")
        with MemoryWatch(context.fabric.device) as watch:
            heads = fit_heads(context, self.negatives)
        self.progress.record_memory("fusion", watch)

        # The files.
        tensors = {**_backbone_tensors(context.backbone), **network_tensors(heads.network)}
        if context.holds_out:
            write_selection(self.out / "selection.csv", heads, fitted_part(context), self.labels)
        save_checkpoint(path, tensors, model_manifest(context, self.facts, self.split, heads))
        write_film(self.out / "zooms", self.out / "attention.gif")

        # The record, last: from now on the run is finished.
        memory = {stage: asdict(peak) for stage, peak in self.progress.memory.items()}
        record = {
            **self._record(),
            "status": "finished",
            "seconds": {**self.progress.seconds, "fusion": time.perf_counter() - started},
            "memory": memory,
            "machine": {
                "platform": platform.platform(),
                "device": str(context.fabric.device),
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
            },
            "metrics": heads.metrics(),
        }
        write_json(self.out / "run.json", record)

        part = "validation" if heads.holds_out else "on the photographs it was trained on:"
        for head, scores in heads.scores.items():
            values = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
            self.echo(f"{head}: {part} {values}")

    def _record(self) -> dict[str, Any]:
        """The part of `run.json` that is known from the start."""
        return {**self.facts.to_dict(), "start_weights": self.start_weights}


def _start_backbone(recipe: Recipe, names: tuple[str, ...], init: Checkpoint | None) -> Backbone:
    """The plain backbone with its start weights."""
    if init:
        return pretrained_backbone(recipe, names, init)
    return start_backbone(recipe, names)


def _backbone_tensors(backbone: Backbone) -> dict[str, Tensor]:
    """The plain backbone's tensors under their names in a checkpoint."""
    return {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
