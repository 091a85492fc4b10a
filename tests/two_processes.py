"""Calls of a function in processes that train together, and the phases whose gradients they add."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import training_split
from leafzoom.fitting.optimization import Optimization
from leafzoom.model.backbone import Backbone
from leafzoom.model.grouping_loss import GroupingLoss
from leafzoom.model.macnn import MACNN
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import load_recipe
from leafzoom.training import launch
from leafzoom.training.apn_phase import ApnPhase, FinerLoss, RankingLoss
from leafzoom.training.classifier_phase import ClassifierPhase
from leafzoom.training.joint_phase import JointPhase
from leafzoom.training.part_phases import GroupingPhase, GroupingStartPhase, PartClassifierPhase
from leafzoom.training.phases import FineTuningPhase, Phase
from leafzoom.training.processes import mean_over_processes, share_gradients, share_of
from leafzoom.training.run import Settings, train
from leafzoom.training.shared_phases import SharedApnPhase, SharedClassifierPhase
from leafzoom.training.warm_up import WarmUpPhase
from network_helpers import random_batch, sgd, small_macnn, small_racnn

COUNT = 2

Gradients = dict[str, NDArray[np.float32]]

AS_WRITTEN = ("model.surrogate=paper", "model.surrogate_scale=sum")
PER_SAMPLE = ("model.surrogate=balanced", "model.surrogate_scale=per_sample")
EXACT = ("model.surrogate=exact",)


class Stop(Exception):  # noqa: N818
    """Stands for a kill between two epochs."""


def in_processes(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function of a module returns in each of two processes that train together.

    The processes start from a server that has imported everything: an import takes seconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["two_processes"])
    port = free_port()
    ends = []
    processes = []
    for rank in range(COUNT):
        here, there = context.Pipe()
        process = context.Process(target=_run, args=(there, rank, port, function, arguments))
        process.start()
        there.close()
        ends.append(here)
        processes.append(process)

    results = [end.recv() for end in ends]
    for process in processes:
        process.join()
    return results


def free_port() -> int:
    """A port that no service of this machine uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _run(
    end: Connection, rank: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    """Call a function as one of the processes, and send what it returns, or its error."""
    os.environ |= {
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    launch._GRACE_S = 0.0
    try:
        end.send(function(*arguments))
    except BaseException as error:
        end.send(repr(error))


# Gradients.


def all_gradients(devices: int) -> dict[str, Gradients]:
    """The gradients of one step of every phase, by the case's name."""
    fabric = Fabric(accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto")
    fabric.launch()
    return {name: gradients_of(fabric, name) for name in CASES}


def gradients_of(fabric: Fabric, name: str) -> Gradients:
    """The gradients that the optimizers of a case read, and the means that it logs.

    The batch has seven photographs, so two processes have three and four.
    """
    module, phase, optimizations = CASES[name](fabric)
    gradients: Gradients = {}
    for optimization in optimizations:
        share_gradients(fabric, optimization)
        record_gradients(module, optimization, gradients)

    images, targets = random_batch(7)
    own = share_of(fabric).of(len(images))
    share = (own.stop - own.start) / len(images)
    phase.begin()
    logged = phase.step(images[own], targets[own], share)
    means = mean_over_processes(fabric, logged, share)
    return gradients | {f"log {key}": value.numpy() for key, value in means.items()}


def record_gradients(module: nn.Module, optimization: Optimization, gradients: Gradients) -> None:
    """Copy a module's gradients before each step, once they are added up."""
    add_up = optimization.before_step

    def record() -> None:
        if add_up:
            add_up()
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                gradients[name] = parameter.grad.numpy().copy()

    optimization.before_step = record


Case = tuple[nn.Module, Phase, Iterable[Optimization]]


def racnn_without_batch_norms(*changes: str) -> RACNN:
    """A small RA-CNN whose batch norms are folded, so that photographs do not see each other."""
    racnn = small_racnn("model.drop_rate=0", *changes)
    for backbone in racnn.backbones:
        assert isinstance(backbone, Backbone)
        backbone.fold_batch_norm()
    return racnn


def macnn_without_batch_norms() -> MACNN:
    """A small MA-CNN whose batch norms are folded."""
    macnn = small_macnn("model.drop_rate=0")
    macnn.backbone.fold_batch_norm()
    return macnn


def fine_tuning(fabric: Fabric) -> Case:
    """The plain backbone."""
    racnn = racnn_without_batch_norms()
    backbone = racnn_without_batch_norms().backbones[0]
    assert isinstance(backbone, Backbone)
    optimization = sgd([backbone])
    phase = FineTuningPhase(racnn, backbone, optimization, fabric.backward)
    return backbone, phase, [optimization]


def classifiers(fabric: Fabric) -> Case:
    """The scales' classifiers."""
    racnn = racnn_without_batch_norms()
    optimization = sgd(racnn.backbones)
    return racnn, ClassifierPhase(racnn, optimization, fabric.backward), [optimization]


def end_to_end(fabric: Fabric, *changes: str) -> Case:
    """Classifiers and APNs from one loss."""
    racnn = racnn_without_batch_norms(*changes)
    optimization = sgd(racnn.backbones)
    apn = sgd(racnn.apns)
    phase = ClassifierPhase(racnn, optimization, fabric.backward, apn=apn)
    return racnn, phase, [optimization, apn]


def ranking(fabric: Fabric, reduction: Any, *changes: str) -> Case:
    """The APNs from the ranking loss, with every photograph inside the margin."""
    racnn = racnn_without_batch_norms(*changes)
    optimization = sgd(racnn.apns)
    loss = RankingLoss(margin=1.0, labels="present", reduction=reduction)
    return racnn, ApnPhase(racnn, optimization, fabric.backward, loss), [optimization]


def finer(fabric: Fabric, *changes: str) -> Case:
    """The APNs from the finer scale's classification loss."""
    racnn = racnn_without_batch_norms(*changes)
    optimization = sgd(racnn.apns)
    return racnn, ApnPhase(racnn, optimization, fabric.backward, FinerLoss()), [optimization]


def warm_up(fabric: Fabric) -> Case:
    """The APNs from the places of the largest response."""
    racnn = racnn_without_batch_norms()
    optimization = sgd(racnn.apns)
    phase = WarmUpPhase(racnn, optimization, fabric.backward, target="response", size_target=0.5)
    return racnn, phase, [optimization]


def joint(fabric: Fabric, reduction: Any, *changes: str) -> Case:
    """Everything from one loss."""
    racnn = racnn_without_batch_norms(*changes)
    optimizations = [sgd(racnn.backbones), sgd(racnn.apns)]
    phase = JointPhase(
        racnn, optimizations, fabric.backward, margin=1.0, labels="present", reduction=reduction
    )
    return racnn, phase, optimizations


def shared_classifiers(fabric: Fabric) -> Case:
    """All classifiers from the sum of their losses."""
    racnn = racnn_without_batch_norms(*PER_SAMPLE)
    optimization = sgd(racnn.backbones)
    return racnn, SharedClassifierPhase(racnn, optimization, fabric.backward), [optimization]


def shared_apns(fabric: Fabric) -> Case:
    """All APNs from the sum of the ranking losses."""
    racnn = racnn_without_batch_norms(*AS_WRITTEN)
    optimization = sgd(racnn.apns)
    phase = SharedApnPhase(
        racnn, optimization, fabric.backward, margin=1.0, labels="present", reduction="mean"
    )
    return racnn, phase, [optimization]


def grouping_start(fabric: Fabric) -> Case:
    """The MA-CNN's grouping, from its clusters."""
    macnn = macnn_without_batch_norms()
    optimization = sgd([macnn.grouping])
    return macnn, GroupingStartPhase(macnn, optimization, fabric.backward), [optimization]


def grouping(fabric: Fabric) -> Case:
    """The MA-CNN's grouping, from the channel grouping loss."""
    macnn = macnn_without_batch_norms()
    optimization = sgd([macnn.grouping])
    loss = GroupingLoss(2.0, 0.02)
    return macnn, GroupingPhase(macnn, optimization, fabric.backward, loss), [optimization]


def part_classifiers(fabric: Fabric) -> Case:
    """The MA-CNN's classifiers."""
    macnn = macnn_without_batch_norms()
    optimization = sgd([macnn.backbone, macnn.part_classifiers, macnn.classifier])
    return macnn, PartClassifierPhase(macnn, optimization, fabric.backward), [optimization]


CASES: dict[str, Callable[[Fabric], Case]] = {
    "fine-tuning": fine_tuning,
    "classifiers": classifiers,
    "end to end, per sample": lambda fabric: end_to_end(fabric, *PER_SAMPLE),
    "end to end, as written": lambda fabric: end_to_end(fabric, *AS_WRITTEN),
    "ranking sum, as written": lambda fabric: ranking(fabric, "sum", *AS_WRITTEN),
    "ranking mean, as written": lambda fabric: ranking(fabric, "mean", *AS_WRITTEN),
    "ranking sum, per sample": lambda fabric: ranking(fabric, "sum", *PER_SAMPLE),
    "ranking mean, exact": lambda fabric: ranking(fabric, "mean", *EXACT),
    "finer, exact": lambda fabric: finer(fabric, *EXACT),
    "finer, per sample": lambda fabric: finer(fabric, *PER_SAMPLE),
    "warm-up": warm_up,
    "joint sum, as written": lambda fabric: joint(fabric, "sum", *AS_WRITTEN),
    "joint mean, per sample": lambda fabric: joint(fabric, "mean", *PER_SAMPLE),
    "shared classifiers": shared_classifiers,
    "shared APNs": shared_apns,
    "grouping start": grouping_start,
    "grouping": grouping,
    "part classifiers": part_classifiers,
}


# Trainings.


def train_together(
    cache: Cache, changes: tuple[str, ...], out: Path, devices: int, stop_after: int = 0
) -> list[str]:
    """Train, or go on with a run; the lines that this process printed.

    Args:
        cache: the photographs.
        changes: of the recipe `default`.
        out: the run's folder.
        devices: the number of processes.
        stop_after: after this many epochs; 0: not at all.
    """
    lines: list[str] = []

    def echo(line: str) -> None:
        lines.append(line)
        if stop_after and sum("(" in line for line in lines) == stop_after:
            raise Stop

    try:
        train(
            cache,
            training_split(cache, "inner-train"),
            load_recipe("default", changes),
            out,
            resume=(out / "run.json").exists(),
            settings=Settings(accelerator="cpu", devices=devices),
            echo=echo,
        )
    except Stop:
        lines.append("stopped")
    return lines
