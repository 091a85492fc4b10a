"""One training in one folder.

RUN/run.json            what ran, on what, how long, how far ("status": "training" or "finished")
RUN/recipe.json         every value of the recipe
RUN/split.json          the photographs of the three parts
RUN/log.csv             epoch, stage/phase/metric, value
RUN/zooms/*.png         where the network looks after every epoch; RUN/attention.gif their film
RUN/states/             what --resume goes on from
RUN/backbone.safetensors, RUN/model.safetensors, RUN/model.onnx
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from torch import Tensor, nn

from leafzoom import __version__
from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split, subset
from leafzoom.errors import TrainingError
from leafzoom.labels import Decision
from leafzoom.manifest import Manifest
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import (
    build_racnn,
    initial_checkpoint,
    load_backbone,
    pretrained_backbone,
    start_backbone,
    start_digest,
)
from leafzoom.model.checkpoint import load_part, network_tensors, save_checkpoint
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import Recipe
from leafzoom.storage import make_folder, remove_partial, write_json
from leafzoom.training.alternation import alternation_phases
from leafzoom.training.batches import Photographs, batch_count
from leafzoom.training.checks import check_recipe, read_otherwise
from leafzoom.training.evolution import draw_zooms, write_film
from leafzoom.training.heads import fit_heads, write_selection
from leafzoom.training.memory import MemoryWatch, keep_freed_memory
from leafzoom.training.optimization import Optimization
from leafzoom.training.phases import FineTuningPhase, WarmUpPhase
from leafzoom.training.record import run_facts, run_status, started_from, write_log
from leafzoom.training.selection import read_backbone, read_scales, selection_metrics
from leafzoom.training.soft_labels import softened
from leafzoom.training.stages import Progress, Stage, run_stage
from leafzoom.training.state import Cursor, State, load_state, save_state

__all__ = ["Settings", "train"]

_SAMPLE = 6  # photographs whose zooms are drawn


@dataclass(frozen=True)
class Settings:
    """How a training runs, as opposed to what it trains: not part of the recipe."""

    accelerator: str = "auto"
    precision: str = "32-true"
    tensorboard: bool = False


def train(
    cache: Cache,
    split: Split,
    recipe: Recipe,
    out: Path,
    *,
    init: str | None = None,
    resume: bool = False,
    settings: Settings = Settings(),
    say: Callable[[str], None] = print,
) -> Path:
    """Train all stages of a recipe into a folder, or go on with what a stop left there.

    Args:
        cache: the photographs.
        split: its three parts.
        recipe: what is trained and how.
        out: the run's folder.
        init: a checkpoint, or `bundled`, whose backbone (and, with `fine_tuning.epochs = 0`, scales and APNs)
            the training starts from.
        resume: go on with the run in `out`; a finished one is left as it is.
        settings: device and precision.
        say: prints a line for people.

    Returns:
        The checkpoint of the trained network, `out/model.safetensors`.

    Raises:
        TrainingError: the folder holds a run (without `resume`), or another one is at work there; with
            `resume`, recipe, split or data differ from the run's; a loss that is not finite.
        LeafzoomError: the folder cannot be written; the errors of the data and of the start weights.
    """
    make_folder(out)
    keep_freed_memory()
    try:
        with FileLock(out / "lock", timeout=0):
            for folder in (out, out / "states", out / "zooms"):
                remove_partial(folder)
            return _Run(cache, split, recipe, out, init, resume, settings, say).go()
    except Timeout as error:
        raise TrainingError(f"another training is at work in {out}: wait for it or choose another folder") from error


class _Run:
    """The parts of a training while it runs."""

    def __init__(
        self,
        cache: Cache,
        split: Split,
        recipe: Recipe,
        out: Path,
        init: str | None,
        resume: bool,
        settings: Settings,
        say: Callable[[str], None],
    ) -> None:
        self.recipe, self.out, self.say, self.settings = recipe, out, say, settings
        self.cache, self.split = cache, split
        names = cache.table.take(split.train + split.select + split.report).label_set(recipe.data.labels).names
        # Combinations that only the report part has are unknown to a decision, as they will be to a user's photos.
        self.labels = cache.table.take(split.train + split.select).label_set(names)
        self.init = initial_checkpoint(init) if init else None
        self.facts = run_facts(cache, split, recipe, self.labels.names, self.init, settings.precision)
        self.status = run_status(out, self.facts, recipe, resume=resume, say=say)
        self.train_part = self._part(split.train, recipe.data.train_limit)
        self.select_part = self._part(split.select, recipe.data.select_limit)
        sample = self.select_part.rows[:: max(1, len(self.select_part) // _SAMPLE)][:_SAMPLE]
        self.sample = replace(self.train_part, rows=sample)
        torch.manual_seed(recipe.seed)
        try:
            self.fabric = Fabric(accelerator=settings.accelerator, devices=1, precision=settings.precision)  # type: ignore[arg-type]
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f"--accelerator {settings.accelerator} cannot be had here ({error})") from error
        self.backbone: Backbone = (
            pretrained_backbone(recipe, self.labels.names, self.init)
            if self.init
            else start_backbone(recipe, self.labels.names)
        )
        digest = start_digest(self.backbone)
        self.facts["start_weights"] = digest if self.status == "new" else started_from(out, digest)
        self.racnn: RACNN = build_racnn(recipe, len(self.labels.names))
        check_recipe(recipe, self.labels, self.init)
        self.backbone.to(self.fabric.device).to(memory_format=torch.channels_last)
        self.racnn.to(self.fabric.device)
        self.augmentation = Augmentation(source_size=recipe.data.source_size, **asdict(recipe.augmentation))
        self.progress = Progress(Cursor(), {}, [], {})
        self.board = TensorBoardLogger(out, name="tensorboard", version="") if settings.tensorboard else None

    def go(self) -> Path:
        """Run every stage that is not done yet."""
        path = self.out / "model.safetensors"
        if self.status == "finished":
            self.say(f"{self.out} is finished: its network is {path}")
            return path
        builders = [self._fine_tuning, self._warm_up, self._alternation]
        if self.status == "new":
            write_json(self.out / "recipe.json", self.facts["recipe"])
            write_json(self.out / "split.json", self.split.to_dict())
            write_json(self.out / "run.json", {**self.facts, "status": "training"})
        self.say(
            f"{len(self.train_part)} photographs are trained on, {len(self.select_part)} select, "
            f"{len(self.split.report)} are kept for the report"
        )
        stored = load_state(self.out / "states", self.say)
        if stored:
            self._restore(stored)
            self.say(f"going on with stage {stored.cursor.stage + 1}, epoch {stored.cursor.epoch + 1}")
        for number in range(self.progress.cursor.stage, len(builders)):
            self._start_stage(number)
            stage = builders[number]()
            if stored and stored.cursor.stage == number:
                for name, state in stored.optimizations.items():
                    stage.optimizations[name].load_state_dict(state)
            run_stage(
                self.fabric,
                stage,
                self._learned(number),
                self.augmentation,
                self.progress,
                seed=self.recipe.seed,
                save=lambda stage=stage: self._save(stage),  # type: ignore[misc]
                after_epoch=self._after_epoch,
                say=self.say,
            )
            self.progress.cursor, self.progress.best = Cursor(number + 1), {}
            if number == 0:
                self._save_backbone()
            self._save(None)
        return self._finish(path)

    def _part(self, images: tuple[str, ...], limit: int) -> Photographs:
        """A part of the data, cut to a number of photographs."""
        table = self.cache.table
        chosen = set(subset(table.take(images), limit, seed=self.recipe.seed))
        rows = np.array([row for row, image in enumerate(table.images) if image in chosen], np.int64)
        return Photographs(self.cache.sources, table.targets(self.labels), table.images, rows, self.cache.checksums)

    def _start_stage(self, number: int) -> None:
        """What comes before a stage's first batch: after fine-tuning, the backbone is copied into every scale."""
        if number != 1 or self.progress.cursor != Cursor(1):
            return
        for index, scale in enumerate(self.racnn.backbones, start=1):
            assert isinstance(scale, Backbone)
            if self.init and not self.recipe.fine_tuning.epochs and f"scale{index}" in self.init.parts:
                load_backbone(scale, self.labels.names, self.init, f"scale{index}")
            else:
                scale.take_form(self.backbone.state_dict())
                scale.load_state_dict(self.backbone.state_dict())
            if self.recipe.model.batch_norm == "fold":
                scale.fold_batch_norm()
        if self.init and not self.recipe.fine_tuning.epochs:
            known = read_otherwise(self.init, self.recipe)
            if known:
                self.say(f"{self.init.path}: its APNs read maps with model.apn_normalise {known}: they start anew")
                return
            for index, apn in enumerate(self.racnn.apns, start=1):
                if f"apn{index}" in self.init.parts:
                    load_part(apn, self.init.part(f"apn{index}"), f"{self.init.path}: apn{index}")

    def _learned(self, number: int) -> Photographs:
        """The training part, for the alternation with the labels that it learns from."""
        weight = self.recipe.alternation.soft_labels
        if number != 2 or not weight or not self.init:
            return self.train_part
        return softened(self.fabric, self.init, self.train_part, weight, self.out / "soft-labels.npy", self.say)

    def _steps(self, batch_size: int) -> int:
        return batch_count(len(self.train_part), batch_size)

    def _fine_tuning(self) -> Stage:
        """The plain backbone: table 1's baseline, and the start of every scale."""
        recipe = self.recipe.fine_tuning
        steps = recipe.epochs * self._steps(recipe.batch_size)
        optimization = Optimization([self.backbone], recipe.optimizer, steps)
        phase = FineTuningPhase(self.racnn, self.backbone, optimization, self.fabric.backward)
        targets = self.select_part.part_targets

        def measure() -> dict[str, float]:
            logits = read_backbone(self.fabric, self.racnn, self.backbone, self.select_part)
            return selection_metrics((logits,), (), targets)

        return Stage(
            "fine_tuning", [phase] * recipe.epochs, self.backbone, {"backbone": optimization}, measure,
            recipe.batch_size, recipe.patience,
        )  # fmt: skip

    def _warm_up(self) -> Stage:
        """The APNs, from response maxima or class activation maps."""
        recipe = self.recipe.warm_up
        steps = recipe.epochs * self._steps(recipe.batch_size)
        optimization = Optimization(list(self.racnn.apns), recipe.optimizer, steps)
        phase = WarmUpPhase(
            self.racnn, optimization, self.fabric.backward, target=recipe.target, size_target=recipe.size_target
        )
        return Stage(
            "warm_up", [phase] * recipe.epochs, self.racnn, {"apn": optimization}, self._measure_scales,
            recipe.batch_size,
        )  # fmt: skip

    def _alternation(self) -> Stage:
        """The scales and the APNs: see `alternation_phases`."""
        recipe = self.recipe.alternation
        phases, optimizations = alternation_phases(
            self.recipe, self.racnn, self._steps(recipe.batch_size), self.fabric.backward
        )
        return Stage(
            "alternation", phases, self.racnn, optimizations, self._measure_scales, recipe.batch_size, recipe.patience
        )

    def _measure_scales(self) -> dict[str, float]:
        read = read_scales(self.fabric, self.racnn, self.select_part)
        recipe = self.recipe.alternation
        return selection_metrics(
            read.logits,
            read.boxes,
            self.select_part.part_targets,
            margin=recipe.margin,
            ranking_labels=recipe.ranking_labels,
        )

    # Files.

    def _after_epoch(self, stage: Stage, epoch: int) -> None:
        """Draw the zooms of a fixed sample; write the log."""
        if stage.name != "fine_tuning":
            name = f"{stage.name} {epoch + 1} ({stage.phases[epoch].name})"
            order = {"warm_up": 1, "alternation": 2}[stage.name]
            path = self.out / "zooms" / f"{order}-{stage.name}-{epoch + 1:03d}.png"
            draw_zooms(self.fabric, self.racnn, self.sample, path, name)
        write_log(self.out / "log.csv", self.progress.history)
        if self.board:
            for row in self.progress.history:
                if row["key"].startswith(stage.name) and row["epoch"] == epoch + 1:
                    self.board.log_metrics({row["key"]: row["value"]}, step=epoch + 1)

    def _save(self, stage: Stage | None) -> None:
        modules: dict[str, nn.Module] = {"backbone": self.backbone, "racnn": self.racnn}
        progress = self.progress
        save_state(
            self.out / "states",
            State(
                cursor=progress.cursor,
                tensors={name: module.state_dict() for name, module in modules.items()},
                optimizations={n: o.state_dict() for n, o in stage.optimizations.items()} if stage else {},
                best=progress.best,
                history=progress.history,
                seconds=progress.seconds,
                memory=progress.memory,
            ),
        )

    def _restore(self, stored: State) -> None:
        self.backbone.load_state_dict(stored.tensors["backbone"])
        for index, scale in enumerate(self.racnn.backbones):
            assert isinstance(scale, Backbone)
            start = f"backbones.{index}."
            scale.take_form([name for name in stored.tensors["racnn"] if name.startswith(start)])
        self.racnn.load_state_dict(stored.tensors["racnn"])
        self.progress = Progress(stored.cursor, stored.best, stored.history, stored.seconds, stored.memory)

    def _manifest(
        self, decisions: dict[str, Decision], metrics: dict[str, Any], early_exit: float | None = None
    ) -> Manifest:
        recipe = self.recipe
        return Manifest(
            labels=self.labels,
            source_size=recipe.data.source_size,
            input_size=recipe.model.input_size,
            scales=recipe.model.scales,
            decisions=decisions,
            recipe=self.facts["recipe"],
            data={
                **self.facts["data"],
                "split": self.split.name,
                "split_digest": self.split.digest(),
                "trained_on": len(self.train_part),
                "selected_on": len(self.select_part),
            },
            metrics=metrics,
            early_exit=early_exit,
            name=self.out.resolve().name,
            leafzoom_version=__version__,
        )

    def _save_backbone(self) -> None:
        save_checkpoint(self.out / "backbone.safetensors", self._backbone_tensors(), self._manifest({}, {}))

    def _backbone_tensors(self) -> dict[str, Tensor]:
        return {f"backbone.{name}": tensor for name, tensor in self.backbone.state_dict().items()}

    def _finish(self, path: Path) -> Path:
        """Fusion, decisions, the network's file, the film; then the run is finished."""
        started = time.perf_counter()
        self.say("fusion and thresholds")
        with MemoryWatch(self.fabric.device) as watch:
            heads = fit_heads(
                self.fabric,
                self.racnn,
                self.backbone,
                self.recipe.fusion,
                self.labels,
                mirrors=self.recipe.prediction.mirrors,
                train_part=self.train_part,
                select_part=self.select_part,
                seed=self.recipe.seed,
            )
        self.progress.remember("fusion", watch)
        tensors = {**self._backbone_tensors(), **network_tensors(heads.network)}
        write_selection(self.out / "selection.csv", heads, self.select_part, self.labels)
        save_checkpoint(path, tensors, self._manifest(heads.decisions, heads.metrics, heads.early_exit))
        write_film(self.out / "zooms", self.out / "attention.gif")
        seconds = {**self.progress.seconds, "fusion": time.perf_counter() - started}
        machine = {
            "platform": platform.platform(),
            "device": str(self.fabric.device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        done = {
            **self.facts,
            "status": "finished",
            "seconds": seconds,
            "memory": self.progress.memory,
            "machine": machine,
            "metrics": heads.metrics,
        }
        write_json(self.out / "run.json", done)
        for head, figures in heads.metrics["inner-select"].items():
            self.say(f"{head}: inner-select " + ", ".join(f"{k} {v:.4f}" for k, v in figures.items()))
        return path
