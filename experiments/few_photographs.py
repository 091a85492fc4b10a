"""How many photographs are enough to train on one's own leaves?

    python -m experiments.few_photographs DATA RUNS [--new DATA] [--most N] [--seeds 0 1 2]

Trains the recipe `own-leaves` on 2, 5, 10, 20, 50 and 200 photographs a label and judges it on
others, drawn alike. Finished trainings below RUNS are skipped, so it can be called again. Writes
results/experiments/few-photographs.json and docs/experiments/few-photographs.svg. Three arms:

known       photographs of `inner-train` of DATA, from the bundled model, which has learned these
            labels with these photographs, so it is surer of them than of a user's; judged on a
            fixed part of `inner-validation`
imagenet    the same photographs, from ImageNet weights and zooms at the centre: no part of the
            network has learned from a leaf
new         photographs of --new, another data set, from the bundled model, which has learned
            neither from them nor from any of their kind; from 3 a label on, because a split needs
            10 photographs
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
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
from leafzoom.dataset.split import Split, grouped_split, training_split
from leafzoom.dataset.table import Table, read_table
from leafzoom.fitting.scale_outputs import scale_outputs
from leafzoom.labels import LabelSet, answer_confidence, decide
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.fusion import Fusion, fusion_head
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.run import train
from tools.provenance import commit, machine

__all__ = ["draw", "main"]

_NAME = "few-photographs"
_SOURCE_SIZE_PX = 256
_SIZES = (2, 5, 10, 20, 50, 200)
_NEW_SIZES = (3, 5, 10, 20)
_SEEDS = (0, 1, 2)
_JUDGED_SEED = 100
_JUDGED_A_LABEL = {"known": 67, "imagenet": 67, "new": 30}
_CENTRE_OF_IMAGENET = (
    "model.pretrained=package",
    "model.proposals=centre",
    "model.apn_normalise=none",
)


@dataclass(frozen=True)
class _Arm:
    """An arm: which photographs it may draw, and what judges it.

    `init`: as `--init`. `changes`: of the recipe.
    """

    name: str
    cache: Cache
    pool: tuple[str, ...]
    judged: tuple[str, ...]
    sizes: tuple[int, ...]
    init: str | None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Outputs:
    """What the frozen scales compute of the judged photographs.

    `descriptors`: [n, scales * D]. `targets`: [n, L]. `labels`: in the order of the targets.
    """

    descriptors: NDArray[np.float32]
    targets: NDArray[np.uint8]
    labels: tuple[str, ...]


def main() -> None:
    """Train what is missing, judge, write, draw."""
    arguments = _parser().parse_args()

    rows: dict[str, list[dict[str, Any]]] = {}
    for arm in _arms(arguments.data, arguments.new):
        if arm.name not in arguments.arms:
            continue
        sizes = [size for size in arm.sizes if size <= arguments.most]
        judged = _judged_runs(arm, arguments.runs, sizes, arguments.seeds)
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
        "arms": rows,
    }
    write_result(_NAME, result)
    draw_curves(_NAME, rows)


def draw(table: Table, size: int, seed: int) -> tuple[str, ...]:
    """Photographs of a table at random until every label is on `size` of them, or on all it has.

    The rarest label is drawn first. More photographs of the same seed hold all those of fewer.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(table))
    labels = sorted({label for row in table.rows for label in row.labels})
    having = {
        label: [int(row) for row in order if label in table.rows[row].labels] for label in labels
    }

    chosen: set[int] = set()
    for label in sorted(labels, key=lambda label: (len(having[label]), label)):
        chosen.update(having[label][:size])
    return tuple(sorted(table.rows[row].image_name for row in chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--new", type=Path, help="another data set")
    parser.add_argument("--arms", nargs="+", default=list(_JUDGED_A_LABEL))
    parser.add_argument("--most", type=int, default=max(_SIZES), help="photographs a label")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(_SEEDS))
    return parser


def _arms(data: Path, new: Path | None) -> Iterator[_Arm]:
    """The arms whose data are given."""
    cache = cached_sources(data, read_table(data), _SOURCE_SIZE_PX)
    inner = training_split(cache, "inner-train")
    judged = draw(cache.table.take(inner.validation), _JUDGED_A_LABEL["known"], _JUDGED_SEED)
    yield _Arm("known", cache, inner.train, judged, _SIZES, "bundled")
    yield _Arm("imagenet", cache, inner.train, judged, _SIZES, None, _CENTRE_OF_IMAGENET)

    if new is not None:
        cache = cached_sources(new, read_table(new), _SOURCE_SIZE_PX)
        judged = draw(cache.table, _JUDGED_A_LABEL["new"], _JUDGED_SEED)

        # What is judged, and its near-duplicates, is not drawn.
        groups = duplicate_groups(len(cache.table), near_duplicates_of(cache))
        judged_groups = set(groups[rows_of(cache.table, judged)].tolist())
        pool = tuple(
            name
            for name, group in zip(cache.table.image_names, groups.tolist(), strict=True)
            if group not in judged_groups
        )
        yield _Arm("new", cache, pool, judged, _NEW_SIZES, "bundled")


def _judged_runs(
    arm: _Arm, runs: Path, sizes: Sequence[int], seeds: Sequence[int]
) -> Mapping[int, list[Judged]]:
    """All trainings of an arm, judged: {photographs a label: one a seed}."""
    outputs: _Outputs | None = None
    judged: dict[int, list[Judged]] = {}
    for size in sizes:
        judged[size] = []
        for seed in seeds:
            image_names = draw(arm.cache.table.take(arm.pool), size, seed)
            checkpoint = _trained(arm, image_names, runs / arm.name / f"{size}-{seed}", seed)

            # The scales are frozen: what they compute is the same after every training.
            if outputs is None:
                outputs = _outputs(arm, checkpoint)
            seconds = _seconds(checkpoint)
            judged[size].append(_judge(checkpoint, outputs, seed, len(image_names), seconds))
    return judged


def _trained(arm: _Arm, image_names: tuple[str, ...], out: Path, seed: int) -> Checkpoint:
    """The training of an arm on some photographs, gone on with where it was stopped."""
    table = arm.cache.table
    groups = duplicate_groups(len(table), near_duplicates_of(arm.cache))
    rows = rows_of(table, image_names)
    drawn = table.take(tuple(table.image_names[row] for row in rows))
    inner = grouped_split(drawn, groups[rows], seed=seed)

    # As `--split all`: others judge it.
    split = Split("few", inner.train + inner.test, inner.validation, ())
    recipe = load_recipe("own-leaves", (*arm.changes, f"seed={seed}"))
    path = train(arm.cache, split, recipe, out, init=arm.init, resume=True, echo=lambda line: None)
    shutil.rmtree(out / "states", ignore_errors=True)
    return load_checkpoint(path)


def _seconds(checkpoint: Checkpoint) -> float:
    """What the training took, from its record."""
    record = json.loads((checkpoint.path.parent / "run.json").read_text(encoding="utf-8"))
    return float(sum(record["seconds"].values()))


def _outputs(arm: _Arm, checkpoint: Checkpoint) -> _Outputs:
    """What an arm's scales compute of the photographs that judge it."""
    if not checkpoint.manifest.data["cross_validated"]:
        raise SystemExit(f"{checkpoint.path}: its scales are not frozen, so they differ by run")

    labels = checkpoint.manifest.labels
    table = arm.cache.table
    part = DatasetPart(
        sources=arm.cache.sources,
        targets=table.targets(labels),
        image_names=table.image_names,
        rows=rows_of(table, arm.judged).astype(np.int64),
    )
    network = network_from_checkpoint(checkpoint)
    outputs = scale_outputs(Fabric(accelerator="cpu"), network.racnn, part, tta=network.tta)
    return _Outputs(outputs.descriptors, part.part_targets, labels.names)


def _judge(
    checkpoint: Checkpoint, outputs: _Outputs, seed: int, photographs: int, seconds: float
) -> Judged:
    """What a trained network answers to the judged photographs."""
    manifest = checkpoint.manifest
    labels: LabelSet = manifest.labels
    if labels.names != outputs.labels:
        raise SystemExit(f"{checkpoint.path} has other labels than the first training of its arm")

    correct = {}
    confidence = {}
    for head, logits in _logits(checkpoint, outputs.descriptors).items():
        probabilities = expit(logits.astype(np.float64))
        answers = decide(probabilities, manifest.decisions[head], labels)
        correct[head] = (answers == outputs.targets).all(axis=1)
        confidence[head] = answer_confidence(
            probabilities, answers, manifest.decisions[head], labels
        )
    return Judged(seed, photographs, seconds, manifest.head, correct, confidence)


@torch.no_grad()
def _logits(
    checkpoint: Checkpoint, descriptors: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """The logits [n, L] of every scale and of the last fusion, from all descriptors."""
    network = network_from_checkpoint(checkpoint)
    inputs = torch.from_numpy(descriptors)

    logits = {}
    by_scale = inputs.chunk(network.racnn.scales, dim=1)
    for number, (scale, part) in enumerate(
        zip(network.racnn.backbones, by_scale, strict=True), start=1
    ):
        assert isinstance(scale, Backbone)
        logits[f"scale{number}"] = scale.classifier_layer()(part).numpy()

    fusion = network.fusions[-1]
    assert isinstance(fusion, Fusion)
    logits[fusion_head(fusion.scales)] = fusion(inputs).numpy()
    return logits


if __name__ == "__main__":
    main()
