"""How many photographs are enough to train on one's own leaves?

    python -m experiments.few_photographs DATA RUNS [--new DATA] [--seeds 0 1 2]

What the recipe `own-leaves` fits to 2, 5, 10, 20, 50 and 200 photographs a label, judged on others,
drawn alike. Its scales are frozen, so their descriptors are computed once, for all trainings, and
kept below RUNS: it can be called again after a stop. One training is run as a whole, and timed.
Writes results/experiments/few-photographs.json and docs/experiments/few-photographs.svg. Arms:

known       photographs of `inner-train` of DATA, from the bundled model, which has learned these
            labels with these photographs, so it is surer of them than of a user's; judged on a
            fixed part of `inner-validation`
imagenet    the same photographs, from ImageNet weights and zooms at the centre: no part of the
            network has learned from a leaf
new         photographs of --new, another data set, from the bundled model, which has learned
            neither from them nor from any of their kind; 3 to 20 a label
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from scipy.special import expit

from experiments.few_photographs_report import Judged, arm_rows, draw_curves
from experiments.measured_runs import cached_sources, rows_of
from experiments.publishing import write_result
from leafzoom.dataset.audit import duplicate_groups, near_duplicates_of
from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import grouped_split, training_split
from leafzoom.dataset.table import Table, read_table
from leafzoom.fitting.decision import combination_priors, fit_decision
from leafzoom.fitting.frozen_layers import fit_frozen_layers
from leafzoom.fitting.scale_outputs import scale_outputs
from leafzoom.labels import LabelSet, answer_confidence, decide
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_fusions, build_racnn
from leafzoom.model.fusion import Fusion, fusion_head
from leafzoom.model.pretrained import initial_checkpoint, pretrained_backbone, start_backbone
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import Recipe, load_recipe
from leafzoom.storage import make_folder
from leafzoom.training.run import train
from leafzoom.training.stages import TrainingContext, WarmUpStage
from tools.provenance import commit, machine

__all__ = ["draw", "main"]

_NAME = "few-photographs"
_SOURCE_SIZE_PX = 256
_SIZES = (2, 5, 10, 20, 50, 200)
_SEEDS = (0, 1, 2)
_JUDGED_SEED = 100
_ROWS_AT_ONCE = 128
_TIMED_A_LABEL = 8  # some 50 photographs in all
_FROM_IMAGENET = (
    "model.pretrained=package",
    "model.proposals=centre",
    "model.apn_normalise=none",
)


@dataclass(frozen=True)
class _Arm:
    """An arm: which photographs it may draw, and what judges it.

    `pool`, `judged`: names of photographs. `init`: as `--init`. `changes`: of the recipe.
    """

    name: str
    cache: Cache
    pool: tuple[str, ...]
    judged: tuple[str, ...]
    sizes: tuple[int, ...]
    init: str | None
    changes: tuple[str, ...] = ()

    @property
    def recipe(self) -> Recipe:
        """What is trained."""
        return load_recipe("own-leaves", self.changes)

    def draw(self, size: int, seed: int) -> tuple[str, ...]:
        """Photographs to train on."""
        return draw(self.cache.table.take(self.pool), size, seed)


def main() -> None:
    """Compute descriptors, fit, judge, write, draw."""
    arguments = _parser().parse_args()
    arms = list(_arms(arguments.data, arguments.new))

    rows = {}
    for arm in arms:
        judged = _judge_arm(arm, arguments.runs / arm.name, arguments.seeds)
        rows[arm.name] = arm_rows(judged)
        for row in rows[arm.name]:
            print(arm.name, row, flush=True)

    result = {
        "name": _NAME,
        "title": "How many photographs are enough?",
        "command": "python -m experiments.few_photographs DATA RUNS --new PLANTVILLAGE",
        "commit": commit("src", "experiments"),
        "machine": machine(),
        "recipe": "own-leaves",
        "whole_training": _time_training(arms[0], arguments.runs / "timed"),
        "arms": rows,
    }
    write_result(_NAME, result)
    draw_curves(_NAME, rows)


def draw(table: Table, size: int, seed: int) -> tuple[str, ...]:
    """Photographs of a table at random, until every label is on `size` of them, or on all it has.

    More photographs of the same seed hold all those of fewer.
    """
    order = np.random.default_rng(seed).permutation(len(table))
    labels = sorted({label for row in table.rows for label in row.labels})

    chosen: set[int] = set()
    for label in labels:
        having = [int(row) for row in order if label in table.rows[row].labels]
        chosen.update(having[:size])
    return tuple(sorted(table.rows[row].image_name for row in chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--new", type=Path, help="another data set")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(_SEEDS))
    return parser


def _arms(data: Path, new: Path | None) -> Iterator[_Arm]:
    """The arms whose data are given."""
    cache = cached_sources(data, read_table(data), _SOURCE_SIZE_PX)
    inner = training_split(cache, "inner-train")
    judged = draw(cache.table.take(inner.validation), 67, _JUDGED_SEED)
    yield _Arm("known", cache, inner.train, judged, _SIZES, "bundled")
    if new is not None:
        yield _new_arm(cached_sources(new, read_table(new), _SOURCE_SIZE_PX))
    yield _Arm("imagenet", cache, inner.train, judged, _SIZES, None, _FROM_IMAGENET)


def _new_arm(cache: Cache) -> _Arm:
    """The arm of another data set, of whose photographs 30 a label and more judge."""
    judged = draw(cache.table, 30, _JUDGED_SEED)

    # What is judged, and its near-duplicates, is not drawn.
    groups = duplicate_groups(len(cache.table), near_duplicates_of(cache))
    judged_groups = set(groups[rows_of(cache.table, judged)].tolist())
    pool = tuple(
        name
        for name, group in zip(cache.table.image_names, groups.tolist(), strict=True)
        if group not in judged_groups
    )
    return _Arm("new", cache, pool, judged, (3, 5, 10, 20), "bundled")


def _judge_arm(arm: _Arm, folder: Path, seeds: Sequence[int]) -> dict[int, list[Judged]]:
    """All trainings of an arm, judged: {photographs a label: one a seed}."""
    context = _context(arm, folder)
    drawn = {(size, seed): arm.draw(size, seed) for size in arm.sizes for seed in seeds}
    needed = sorted({*arm.judged, *(name for names in drawn.values() for name in names)})
    descriptors = _descriptors(context, needed, folder)

    judged: dict[int, list[Judged]] = {size: [] for size in arm.sizes}
    for (size, seed), names in drawn.items():
        judged[size].append(_judge(arm, context, descriptors, names, seed))
        print(arm.name, size, seed, flush=True)
    return judged


def _context(arm: _Arm, folder: Path) -> TrainingContext:
    """The networks as `leafzoom train` has them before it fits the linear layers."""
    recipe = arm.recipe
    labels = arm.cache.table.label_set()
    init = initial_checkpoint(arm.init) if arm.init else None
    torch.manual_seed(recipe.seed)
    if init is None:
        backbone = start_backbone(recipe, labels.names)
    else:
        backbone = pretrained_backbone(recipe, labels.names, init)

    part = _part(arm.cache, labels, ())
    context = TrainingContext(
        fabric=Fabric(accelerator="cpu"),
        recipe=recipe,
        labels=labels,
        network=build_racnn(recipe, len(labels.names)),
        backbone=backbone,
        train_part=part,
        validation_part=part,
        init=init,
        out=folder,
        echo=print,
        frozen=True,
    )
    WarmUpStage(context).prepare()
    return context


def _part(cache: Cache, labels: LabelSet, image_names: Sequence[str]) -> DatasetPart:
    """Some photographs of a cache, in its order."""
    table = cache.table
    rows = rows_of(table, image_names).astype(np.int64)
    return DatasetPart(cache.sources, table.targets(labels), table.image_names, rows)


def _descriptors(
    context: TrainingContext, image_names: Sequence[str], folder: Path
) -> dict[str, NDArray[np.float32]]:
    """All scales' descriptors, [scales * D] a photograph; those in the folder are read."""
    make_folder(folder)
    known: dict[str, NDArray[np.float32]] = {}
    files = sorted(folder.glob("descriptors-*.npz"))
    for file in files:
        with np.load(file) as stored:
            known |= dict(zip(stored["names"].tolist(), stored["descriptors"], strict=True))

    missing = [name for name in image_names if name not in known]
    whole = context.train_part
    for number, start in enumerate(range(0, len(missing), _ROWS_AT_ONCE), start=len(files)):
        chosen = set(missing[start : start + _ROWS_AT_ONCE])
        rows = [row for row, name in enumerate(whole.image_names) if name in chosen]
        part = DatasetPart(
            whole.sources, whole.targets, whole.image_names, np.array(rows, np.int64)
        )
        tta = context.recipe.prediction.tta
        outputs = scale_outputs(context.fabric, context.racnn, part, tta=tta)
        names = [whole.image_names[row] for row in rows]
        np.savez(
            folder / f"descriptors-{number:04d}.npz", names=names, descriptors=outputs.descriptors
        )
        known |= dict(zip(names, outputs.descriptors, strict=True))
        print(f"{folder.name}: {start + len(rows)} of {len(missing)} photographs", flush=True)
    return known


def _judge(
    arm: _Arm,
    context: TrainingContext,
    descriptors: dict[str, NDArray[np.float32]],
    image_names: tuple[str, ...],
    seed: int,
) -> Judged:
    """Fit what `own-leaves` fits to some photographs, and judge it."""
    recipe = context.recipe
    table = arm.cache.table.take(image_names)
    labels = table.label_set(context.labels.names).with_possible_combinations(
        recipe.decision.exclusive
    )
    targets = table.targets(labels)

    # Fit.
    started = time.process_time()
    fusion = build_fusions(recipe.fusion, context.racnn)[-1]
    own = np.stack([descriptors[name] for name in image_names])
    layers = fit_frozen_layers(context.racnn, [fusion], own, targets, seed)
    seconds = time.process_time() - started

    # Judge.
    others = np.stack([descriptors[name] for name in arm.judged])
    others_targets = arm.cache.table.take(arm.judged).targets(labels)
    correct = {}
    confidence = {}
    for head, logits in _logits(context.racnn, fusion, others).items():
        decision = fit_decision(
            layers.logits[head], targets, labels, combination_priors(labels, targets)
        )
        probabilities = expit(logits.astype(np.float64))
        answers = decide(probabilities, decision, labels)
        correct[head] = (answers == others_targets).all(axis=1)
        confidence[head] = answer_confidence(probabilities, answers, decision, labels)
    head = fusion_head(fusion.scales)
    return Judged(seed, len(image_names), seconds, head, correct, confidence)


@torch.no_grad()
def _logits(
    racnn: RACNN, fusion: Fusion, descriptors: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """The logits [n, L] of every scale and of a fusion, from all scales' descriptors."""
    inputs = torch.from_numpy(descriptors)
    by_scale = inputs.chunk(racnn.scales, dim=1)

    logits = {}
    for number, part in enumerate(by_scale, start=1):
        scale = racnn.backbones[number - 1]
        assert isinstance(scale, Backbone)
        logits[f"scale{number}"] = scale.classifier_layer()(part).numpy()
    logits[fusion_head(fusion.scales)] = fusion(inputs).numpy()
    return logits


def _time_training(arm: _Arm, out: Path) -> dict[str, Any]:
    """A whole training of some 50 photographs: minutes of the clock and of the processor."""
    shutil.rmtree(out, ignore_errors=True)
    table = arm.cache.table
    rows = rows_of(table, arm.draw(_TIMED_A_LABEL, 0))
    drawn = table.take([table.image_names[row] for row in rows])
    groups = duplicate_groups(len(table), near_duplicates_of(arm.cache))
    split = grouped_split(drawn, groups[rows])

    started = time.perf_counter()
    processor_started = time.process_time()
    train(arm.cache, split, arm.recipe, out, init=arm.init, echo=lambda line: None)
    return {
        "photographs": len(split.train) + len(split.validation),
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "processor_minutes": round((time.process_time() - processor_started) / 60, 2),
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
