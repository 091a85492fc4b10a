"""Training and evaluation in PyTorch, against plain backbones of the same kind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.networks import EFFICIENTNET_B0, LABELS, Settings, Subject, random_sources
from benchmarks.step_process import Kind, run_steps
from benchmarks.timing import in_turns, median_and_range
from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.batches import DatasetPart, epoch_batches
from leafzoom.fitting.fusion import LinearLayer, fit_lbfgs
from leafzoom.model.fusion import Fusion
from leafzoom.training.memory import keep_freed_memory

__all__ = ["VALIDATION_PHOTOGRAPHS", "fusion", "kept_memory", "memory", "pipeline", "steps"]

VALIDATION_PHOTOGRAPHS = 1_677  # of inner-select

_TRAINING_PHOTOGRAPHS = 13_414  # of inner-train
_DESCRIPTOR_WIDTH = 1280
_SOURCE_SIZE = 256  # of the pipeline's photographs, in pixels
_PIPELINE_BATCHES = 4
_MEMORY_STEPS = 3
_WARM_UP_STEPS = 2


def steps(
    *, batch_size: int, rounds: int, backbone: Settings = EFFICIENTNET_B0, device: str = "cpu"
) -> dict[str, Any]:
    """Both phases' steps and the evaluation pass, against three of the plain backbone.

    With sources of the view's size, the default recipe's, and the paper's. Where the source is
    larger than the view, the first view is cut too. The paper's two APNs have 64 million weights.
    """
    keep_freed_memory()
    subjects = {
        "source of the view's size": ("default", [f"data.source_size={_view_size(backbone)}"]),
        "default": ("default", []),
        "paper": ("paper", []),
    }

    figures: dict[str, Any] = {"batch": batch_size}
    for name, (recipe, settings) in subjects.items():
        subject = Subject.build(
            recipe, [*backbone, *settings], batch_size=batch_size, device=device
        )
        candidates = {
            "classifier": subject.classifier_step,
            "apn": subject.apn_step,
            "plain": subject.plain_step,
            "evaluation": subject.evaluation_pass,
            "plain_pass": subject.plain_pass,
        }
        timings = in_turns(candidates, rounds=rounds)
        figures[name] = {
            "classifier_over_three_plain_steps": timings.ratio("classifier", "plain", 3),
            "apn_over_three_plain_steps": timings.ratio("apn", "plain", 3),
            "evaluation_over_three_plain_passes": timings.ratio("evaluation", "plain_pass", 3),
            **{candidate: timings.milliseconds(candidate) for candidate in candidates},
        }
    return figures


def memory(*, batch_size: int, turns: int, backbone: Settings = EFFICIENTNET_B0) -> dict[str, Any]:
    """The most memory that a process takes for three classifier steps, and for three plain steps.

    Each beyond what a process takes that has imported everything: network, optimizer, gradients and
    activations.
    """
    kinds: tuple[Kind, ...] = ("classifier", "plain", "imports")
    megabytes: dict[Kind, list[float]] = {kind: [] for kind in kinds}
    for _ in range(turns):
        for kind in kinds:
            process = run_steps(kind, backbone, batch_size=batch_size, steps=_MEMORY_STEPS)
            megabytes[kind].append(process.peak_mb)

    # Beyond the imports.
    imports = np.array(megabytes["imports"])
    classifier = np.array(megabytes["classifier"]) - imports
    plain = np.array(megabytes["plain"]) - imports
    return {
        "batch": batch_size,
        "classifier_over_plain": median_and_range([float(x) for x in classifier / plain], 3),
        "process_mb": {kind: _rounded(values) for kind, values in megabytes.items()},
    }


def kept_memory(
    *, batch_size: int, rounds: int, turns: int, subjects: Mapping[str, Settings]
) -> dict[str, Any]:
    """A classifier step with and without `keep_freed_memory`, processes in turns."""
    figures: dict[str, Any] = {"batch": batch_size}
    for name, settings in subjects.items():
        median_seconds: dict[bool, list[float]] = {False: [], True: []}

        for _ in range(turns):
            for keep in (False, True):
                process = run_steps(
                    "classifier",
                    settings,
                    batch_size=batch_size,
                    steps=_WARM_UP_STEPS + rounds,
                    keep_memory=keep,
                )

                # The steps after the warm-up.
                timed = sorted(process.seconds[_WARM_UP_STEPS:])
                median_seconds[keep].append(timed[len(timed) // 2])

        pairs = zip(median_seconds[True], median_seconds[False], strict=True)
        ratios = [kept / given_back for kept, given_back in pairs]
        figures[name] = {
            "kept_over_given_back": median_and_range(ratios, 3),
            "seconds": {"given_back": median_seconds[False], "kept": median_seconds[True]},
        }
    return figures


def pipeline(*, batch_size: int, rounds: int, subjects: Mapping[str, Settings]) -> dict[str, Any]:
    """Augmented batches from a memory-mapped cache, against the classifier phase that consumes
    them.
    """
    keep_freed_memory()
    figures: dict[str, Any] = {"batch": batch_size}
    with tempfile.TemporaryDirectory() as folder:
        part = _mapped_part(Path(folder) / "sources.npy", _PIPELINE_BATCHES * batch_size)
        for name, settings in subjects.items():
            subject = Subject.build("default", settings, batch_size=batch_size)

            # As a training with this recipe augments.
            augmentation = Augmentation(
                source_size=_SOURCE_SIZE, **subject.recipe.augmentation.photograph_changes()
            )
            candidates: dict[str, Callable[[], object]] = {
                "four_batches": partial(_read_epoch, part, augmentation, batch_size),
                "classifier": subject.classifier_step,
            }
            timings = in_turns(candidates, rounds=rounds)

            read_seconds = timings.median("four_batches")
            step_seconds = timings.median("classifier")
            ratio = _PIPELINE_BATCHES * step_seconds / read_seconds
            figures[name] = {
                "read_over_consumed": {"value": round(ratio, 2), "rounds": rounds},
                "photographs_a_second_read": round(len(part) / read_seconds, 1),
                "photographs_a_second_consumed": round(batch_size / step_seconds, 1),
            }
    return figures


def fusion(
    *, rounds: int, batch_size: int, subjects: Mapping[str, Settings], photographs: int
) -> dict[str, Any]:
    """Fitting both fusions on cached descriptors, against a classifier epoch of 13,414 photographs.

    Args:
        rounds: of the fit.
        batch_size: of the classifier steps.
        subjects: changes of the default recipe, by name.
        photographs: of the fit.
    """
    keep_freed_memory()
    candidates = {
        name: Subject.build("default", settings, batch_size=batch_size).classifier_step
        for name, settings in subjects.items()
    }
    step_timings = in_turns(candidates, rounds=rounds + 2)

    descriptors, targets = _random_descriptors(photographs)
    fit = partial(_fit_fusions, descriptors, targets)
    fit_seconds = in_turns({"fit": fit}, rounds=rounds, warm_up=0).seconds["fit"]

    figures: dict[str, Any] = {}
    for name in subjects:
        # An epoch's time, from one step's.
        epoch_seconds = step_timings.median(name) * _TRAINING_PHOTOGRAPHS / batch_size
        ratios = [seconds / epoch_seconds for seconds in fit_seconds]
        figures[name] = {
            "fit_over_epoch": median_and_range(ratios, 4),
            "epoch_seconds": round(epoch_seconds, 1),
        }
    return {**figures, "fit_seconds": [round(seconds, 2) for seconds in fit_seconds]}


def _rounded(values: list[float]) -> list[float]:
    return [round(value, 1) for value in values]


def _view_size(settings: Settings) -> str:
    """The view's side that settings ask for; EfficientNet-B0's without."""
    sizes = [setting.split("=")[1] for setting in settings if "model.input_size" in setting]
    return sizes[0] if sizes else "224"


def _mapped_part(path: Path, count: int) -> DatasetPart:
    """Photographs of noise in a memory-mapped file."""
    shape = (count, _SOURCE_SIZE, _SOURCE_SIZE, 3)
    stored = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    stored[:] = random_sources(count, _SOURCE_SIZE)
    targets = np.zeros((count, LABELS), np.uint8)
    return DatasetPart(stored, targets, ("",) * count, np.arange(count))


def _read_epoch(part: DatasetPart, augmentation: Augmentation, batch_size: int) -> None:
    """Read and augment all batches of an epoch."""
    cpu = torch.device("cpu")
    for _ in epoch_batches(part, augmentation, batch_size=batch_size, seed=0, device=cpu):
        pass


def _random_descriptors(photographs: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Descriptors [n, 3 D] of three scales from which noisy targets [n, L] can be learned."""
    random = np.random.default_rng(0)
    width = 3 * _DESCRIPTOR_WIDTH
    targets = (random.random((photographs, LABELS)) < 0.25).astype(np.uint8)
    prototypes = random.normal(size=(LABELS, width))
    noise = random.normal(size=(photographs, width))
    return (targets @ prototypes + 4 * noise).astype(np.float32), targets


def _fit_fusions(descriptors: NDArray[np.float32], targets: NDArray[np.uint8]) -> None:
    """Fit the fusions of two and of three scales."""
    for scales in (2, 3):
        width = scales * _DESCRIPTOR_WIDTH
        head = Fusion(
            scales=scales,
            width=_DESCRIPTOR_WIDTH,
            labels=LABELS,
            inputs="descriptors",
            normalise="rescale",
        )

        # Random descriptors have no classifiers to start from.
        prior = LinearLayer(np.zeros((LABELS, width)), np.zeros(LABELS))
        fit_lbfgs(head, descriptors[:, :width], targets, prior, 0)
