"""Training and evaluation in PyTorch, against plain backbones of the same kind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import LABELS, Subject, random_sources
from slow_crop import slow_crop
from timing import in_turns, process_peak_mb

from leafzoom.dataset.augmentation import Augmentation
from leafzoom.model.attention_crop import attention_crop
from leafzoom.model.fusion import Fusion
from leafzoom.training.batches import Photographs, epoch_batches
from leafzoom.training.fusion_fit import fit_lbfgs
from leafzoom.training.memory import keep_freed_memory

__all__ = ["crop", "fusion", "kept_memory", "memory", "pipeline", "steps"]

B0 = ["model.backbone=efficientnet_b0", "model.batch_norm=keep"]
EPOCH, SELECT = 13_414, 1_677  # photographs of inner-train and of inner-select


def steps(*, batch: int, rounds: int, backbone: list[str] = B0, device: str = "cpu") -> dict[str, Any]:
    """Both phases' steps and the evaluation pass: sources of the view's size, the default recipe's, and the paper's.

    Where the source is larger than the view, the first view is cut too. The paper's two APNs have 64 million weights.
    """
    keep_freed_memory()
    found: dict[str, Any] = {}
    side = next((value.split("=")[1] for value in backbone if value.startswith("model.input_size")), "224")
    subjects = {
        "source of the view's size": ("default", [f"data.source_size={side}"]),
        "default": ("default", []),
        "paper": ("paper", []),
    }
    for name, (recipe, values) in subjects.items():
        subject = Subject.of(recipe, [*backbone, *values], batch=batch, device=device)
        things = {
            "classifier": subject.classifier_step,
            "apn": subject.apn_step,
            "plain": subject.plain_step,
            "evaluation": subject.evaluation_pass,
            "plain_pass": subject.plain_pass,
        }
        taken = in_turns(things, rounds=rounds)
        found[name] = {
            "classifier_over_three_plain_steps": taken.ratio("classifier", "plain", 3),
            "apn_over_three_plain_steps": taken.ratio("apn", "plain", 3),
            "evaluation_over_three_plain_passes": taken.ratio("evaluation", "plain_pass", 3),
            **{thing: taken.milliseconds(thing) for thing in things},
        }
    return {"batch": batch, **found}


def crop(*, batch: int, rounds: int, size: int = 224) -> dict[str, Any]:
    """The attention crop forward and backward against a loop over the batch, with and without eq. 5's mask."""
    keep_freed_memory()
    torch.manual_seed(0)
    pictures = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    plain = pictures.contiguous()
    half = size * (0.2 + 0.13 * torch.rand(batch))
    boxes = torch.stack([size / 2 + 20 * torch.randn(batch), size / 2 + 20 * torch.randn(batch), half], dim=1)
    boxes[:, :2] = boxes[:, :2].clamp(min=half.max(), max=size - half.max())
    proposals = torch.zeros(batch, 3, requires_grad=True)
    # The gradient that a convolution hands back is in its own memory format.
    fast_gradient = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    slow_gradient = fast_gradient.contiguous()

    def fast(mask: str) -> None:
        out = attention_crop(pictures, proposals, boxes, size, surrogate="paper", mask=mask)  # type: ignore[arg-type]
        out.backward(fast_gradient)

    def slow(boxcar: bool) -> None:
        slow_crop(plain, proposals, boxes, size, boxcar=boxcar).backward(slow_gradient)

    taken = in_turns(
        {
            "ours": lambda: fast("none"),
            "loop": lambda: slow(False),
            "ours_boxcar": lambda: fast("boxcar"),
            "loop_boxcar": lambda: slow(True),
        },
        rounds=rounds,
    )
    return {
        "batch": batch,
        "loop_over_ours": taken.ratio("loop", "ours"),
        "loop_over_ours_with_the_mask_of_eq_5": taken.ratio("loop_boxcar", "ours_boxcar"),
        **{name: taken.milliseconds(name) for name in taken.seconds},
    }


_PROGRAM = """
import sys
sys.path.insert(0, {here!r})
from networks import Subject
from leafzoom.training.memory import keep_freed_memory
import torch
keep_freed_memory()
{body}
"""


def memory(*, batch: int, turns: int, backbone: list[str] = B0) -> dict[str, Any]:
    """The most memory that a process takes for three classifier steps, and for three steps of the plain backbone.

    Each beyond what a process takes that has imported everything: network, optimizer, gradients and activations.
    """
    here = str(Path(__file__).parent)
    build = f"s = Subject.of('default', {backbone!r}, batch={batch})"
    bodies = {
        "classifier": f"{build}; s.plain = s.plain_optimization = None\nfor _ in range(3): s.classifier_step()",
        "plain": f"{build}; s.racnn = s.classifier = s.apn = None\nfor _ in range(3): s.plain_step()",
        "imports": "",
    }
    found: dict[str, list[float]] = {name: [] for name in bodies}
    for _ in range(turns):
        for name, body in bodies.items():
            found[name].append(process_peak_mb(_PROGRAM.format(here=here, body=body)))
    classifier, plain, imports = (np.array(mb) for mb in found.values())
    ratios = (classifier - imports) / (plain - imports)
    spread = {"value": float(np.median(ratios)), "lowest": float(ratios.min()), "highest": float(ratios.max())}
    return {
        "batch": batch,
        "classifier_over_plain": {**{key: round(value, 3) for key, value in spread.items()}, "rounds": turns},
        "process_mb": {name: [round(value, 1) for value in mb] for name, mb in found.items()},
    }


_STEPS = """
import time, json
if {keep}: keep_freed_memory()
s = Subject.of('default', {values!r}, batch={batch})
seconds = []
for _ in range({rounds} + 2):
    started = time.perf_counter(); s.classifier_step(); seconds.append(time.perf_counter() - started)
print(json.dumps(sorted(seconds[2:])[len(seconds[2:]) // 2]))
"""


def kept_memory(*, batch: int, rounds: int, turns: int, subjects: dict[str, list[str]]) -> dict[str, Any]:
    """A classifier step with and without `keep_freed_memory`, processes in turns: EfficientNet-B0 and the default."""
    here = str(Path(__file__).parent)
    found: dict[str, Any] = {}
    for name, values in subjects.items():
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(turns):
            for keep in (False, True):
                body = _STEPS.format(keep=keep, values=values, batch=batch, rounds=rounds)
                program = _PROGRAM.format(here=here, body=body).replace("\nkeep_freed_memory()\n", "\n", 1)
                done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
                seconds[keep].append(float(json.loads(done.stdout.splitlines()[-1])))
        ratios = [kept / given for kept, given in zip(seconds[True], seconds[False], strict=True)]
        found[name] = {
            "kept_over_given_back": {
                "value": round(float(np.median(ratios)), 3),
                "lowest": round(min(ratios), 3),
                "highest": round(max(ratios), 3),
                "rounds": turns,
            },
            "seconds": {"given_back": seconds[False], "kept": seconds[True]},
        }
    return {"batch": batch, **found}


def pipeline(*, batch: int, rounds: int, subjects: dict[str, list[str]]) -> dict[str, Any]:
    """Augmented batches from a memory-mapped cache, against the classifier phase that consumes them."""
    keep_freed_memory()
    found: dict[str, Any] = {"batch": batch}
    with tempfile.TemporaryDirectory() as folder:
        count = batch * 4
        stored = np.lib.format.open_memmap(Path(folder) / "sources.npy", "w+", np.uint8, (count, 256, 256, 3))
        stored[:] = random_sources(count, 256)
        photographs = Photographs(stored, np.zeros((count, LABELS), np.uint8), ("",) * count, np.arange(count))
        for name, values in subjects.items():
            subject = Subject.of("default", values, batch=batch)
            augmentation = Augmentation(source_size=256, **asdict(subject.recipe.augmentation))

            def read(augmentation: Augmentation = augmentation) -> None:
                for _ in epoch_batches(
                    photographs, augmentation, batch_size=batch, seed=0, device=torch.device("cpu")
                ):
                    pass

            taken = in_turns({"four_batches": read, "classifier": subject.classifier_step}, rounds=rounds)
            read_seconds, step_seconds = (float(np.median(s)) for s in taken.seconds.values())
            found[name] = {
                "read_over_consumed": {
                    "value": round(4 * step_seconds / read_seconds, 2),
                    "rounds": rounds,
                },
                "photographs_a_second_read": round(count / read_seconds, 1),
                "photographs_a_second_consumed": round(batch / step_seconds, 1),
            }
    return found


def fusion(*, rounds: int, batch: int, subjects: dict[str, list[str]], photographs: int = SELECT) -> dict[str, Any]:
    """Fitting both fusions on cached descriptors of 1,677 photographs, against a classifier epoch of 13,414."""
    keep_freed_memory()
    generator = np.random.default_rng(0)
    targets = (generator.random((photographs, LABELS)) < 0.25).astype(np.uint8)
    prototypes = generator.normal(size=(LABELS, 3 * 1280))
    descriptors = (targets @ prototypes + 4 * generator.normal(size=(photographs, 3 * 1280))).astype(np.float32)

    def fit() -> None:
        for scales in (2, 3):
            head = Fusion(scales=scales, width=1280, labels=LABELS, inputs="descriptors", normalise="rescale")
            start = torch.zeros(LABELS, scales * 1280), torch.zeros(LABELS)
            fit_lbfgs(head, descriptors[:, : scales * 1280], targets, start, 0)

    built = {name: Subject.of("default", values, batch=batch) for name, values in subjects.items()}
    seconds = in_turns({name: subject.classifier_step for name, subject in built.items()}, rounds=rounds + 2).seconds
    fitted = in_turns({"fit": fit}, rounds=rounds, warm_up=0).seconds["fit"]
    epochs = {name: float(np.median(taken)) * EPOCH / batch for name, taken in seconds.items()}
    return {
        name: {
            "fit_over_epoch": {
                "value": round(float(np.median(fitted)) / epoch, 4),
                "lowest": round(min(fitted) / epoch, 4),
                "highest": round(max(fitted) / epoch, 4),
                "rounds": rounds,
            },
            "epoch_seconds": round(epoch, 1),
        }
        for name, epoch in epochs.items()
    } | {"fit_seconds": [round(value, 2) for value in fitted]}
