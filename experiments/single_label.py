"""What does the softmax reach where each leaf has one label?

    python -m experiments.single_label OUT [--arm NAME ...]

Renders leaves of one label each into OUT/leaves-SIDE, a folder a class, and trains two RA-CNNs with
`model.loss = "softmax"`: an EfficientNet-Lite0 that starts from ImageNet's weights, and a small VGG
with the original RA-CNN's recipe, from random weights. Both are short trainings: they show
that the loss trains, not what it can reach. Judges every head by its top-1 accuracy on leaves
that no choice was based on, exports the models and compares them with their checkpoints. Finished
arms are not trained again. Writes results/experiments/single-label.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from experiments.publishing import result_path, write_result
from leafzoom.dataset.cache import Cache, build_cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.synthetic import write_class_folders
from leafzoom.dataset.table import Table, read_table
from leafzoom.evaluation.evaluate import Evaluation, evaluate
from leafzoom.evaluation.uncertainty import estimate_uncertainty
from leafzoom.inference.export import export_onnx
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.memory import keep_freed_memory
from leafzoom.training.run import train
from tools.provenance import commit, machine

__all__ = ["ARMS", "Arm", "main", "measure_arm"]

_NAME = "single-label"
_SEED = 17
_COMPARED_LEAVES = 16


@dataclass(frozen=True)
class Arm:
    """A training: its recipe, what it changes, and how many leaves do what."""

    recipe: str
    changes: tuple[str, ...]
    train: int
    validation: int
    test: int


ARMS = {
    "EfficientNet-Lite0": Arm(
        recipe="demo",
        changes=("model.loss=softmax",),
        train=1200,
        validation=150,
        test=300,
    ),
    "VGG-11": Arm(
        recipe="ra-cnn",
        changes=(
            "data.source_size=192",
            "model.backbone=vgg11_bn",
            "model.pretrained=none",
            "model.input_size=96",
            "model.drop_rate=0.2",
            "model.apn_hidden=64",
            "model.zoom_from=source",
            "model.crop_mask=none",
            "model.surrogate=balanced",
            "model.surrogate_scale=per_sample",
            "fine_tuning.epochs=8",
            "fine_tuning.optimizer.name=adamw",
            "warm_up.epochs=1",
            "alternation.rounds=1",
            "alternation.classifier.name=adamw",
            "alternation.apn.learning_rate=1e-3",
        ),
        train=1200,
        validation=150,
        test=300,
    ),
}


def main() -> None:
    """Train and judge the arms, and write after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--arm",
        dest="names",
        action="append",
        choices=ARMS,
        help="Only this arm (may be repeated); the others keep their results.",
    )
    arguments = parser.parse_args()
    keep_freed_memory()

    # Arms that are not measured now keep the results that are published.
    path = result_path(_NAME)
    stored = json.loads(path.read_text(encoding="utf-8"))["arms"] if path.is_file() else {}
    for name in arguments.names or ARMS:
        origin = {"commit": commit("src", "experiments"), "machine": machine()}
        figures = measure_arm(ARMS[name], arguments.out / name, seed=_SEED)
        stored[name] = {**figures, **origin}
        result = {
            "name": _NAME,
            "command": "python -m experiments.single_label OUT",
            "seed": _SEED,
            "arms": {arm: stored[arm] for arm in ARMS if arm in stored},
        }
        print(write_result(_NAME, result))


def measure_arm(arm: Arm, out: Path, *, seed: int) -> dict[str, Any]:
    """Render, train, judge on the test part, export.

    Args:
        arm: what is trained.
        out: its folder; a finished training there is not repeated.
        seed: of the leaves and of the training.
    """
    started = time.process_time()
    recipe = load_recipe(arm.recipe, [*arm.changes, f"seed={seed}"])
    side = recipe.data.source_size
    leaves = out / "leaves"
    if not leaves.is_dir():
        write_class_folders(leaves, arm.train + arm.validation + arm.test, size=side, seed=seed)
    table = read_table(leaves).require_clean()
    cache = build_cache(table, out / "cache", side, workers=1)
    split = _split(table, arm)

    checkpoint_path = train(cache, split, recipe, out / "run", resume=True)
    checkpoint = load_checkpoint(checkpoint_path)
    evaluation = evaluate(TorchNetwork(checkpoint), cache, split.test)
    parity = export_onnx(checkpoint, out / "model.onnx", _compared_sources(cache, split))

    return {
        "recipe": arm.recipe,
        "changes": list(arm.changes),
        "photographs": {"train": arm.train, "validation": arm.validation, "test": arm.test},
        "heads": _heads(evaluation),
        "cpu_seconds": round(time.process_time() - started, 1),
        "threads": torch.get_num_threads(),
        "export": asdict(parity) | {"worst": list(parity.worst)},
    }


def _split(table: Table, arm: Arm) -> Split:
    """Leaves in the order in which they were rendered, so that every part is balanced."""
    names = sorted(table.image_names, key=lambda name: Path(name).name)
    first_test = arm.train + arm.validation
    return Split(
        name="rendered",
        train=tuple(names[: arm.train]),
        validation=tuple(names[arm.train : first_test]),
        test=tuple(names[first_test:]),
    )


def _compared_sources(cache: Cache, split: Split) -> Any:
    """The sources of the first test leaves."""
    rows = [cache.table.image_names.index(name) for name in split.test[:_COMPARED_LEAVES]]
    return cache.sources[rows]


def _heads(evaluation: Evaluation) -> dict[str, Any]:
    """Every head's top-1 accuracy with its 95 % interval, F1 by class, and confusion matrix."""
    intervals = estimate_uncertainty(evaluation).heads_fitted.intervals
    heads = {}
    for head, metrics in evaluation.heads_fitted.items():
        heads[head] = {
            "top1": metrics.top1,
            "interval": intervals[head].exact_match.to_list(),
            "macro_f1": metrics.macro.f1,
            "f1": {label: score.f1 for label, score in metrics.per_label.items()},
            "confusion": _rows(metrics.confusion or ()),
        }
    return heads


def _rows(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    return [list(row) for row in matrix]


if __name__ == "__main__":
    main()
