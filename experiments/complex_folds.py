"""F1 of `complex` over five folds of all photographs, by how answers are decided.

    python -m experiments.complex_folds DATA RUNS [--set KEY=VALUE]

One validation part has some 200 photographs with `complex`, too few to see two points. Here a plain
EfficientNet-Lite0 at 128 px is fine-tuned five times from ImageNet weights, each time without a
fifth of the photographs, near-duplicates kept together. So every photograph has one answer of a
network that was not trained on it. It is the decisions that are compared, not the network that
ships. A fold's best epoch is chosen on the fold itself. Finished trainings are kept in RUNS and
skipped. Writes results/experiments/complex-folds.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.complex_decisions import DECISIONS, CostSensitive, Decide, f1_of, stacked_posterior
from experiments.complex_label import scores_of_answers
from experiments.measured_runs import cached_sources
from experiments.publishing import write_result
from leafzoom.dataset.audit import duplicate_groups, near_duplicates_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.dataset.stratification import stratified_parts
from leafzoom.dataset.table import read_table
from leafzoom.fitting.out_of_fold import out_of_fold_answers
from leafzoom.labels import LabelSet
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.memory import keep_freed_memory
from leafzoom.training.run import train
from tools.out_of_fold import Selection, read_selection
from tools.provenance import commit, machine

__all__ = ["fold_splits", "main", "measure_folds"]

_NAME = "complex-folds"
_LABEL = "complex"
_FOLDS = 5
_SEED = 0
_HEAD = "scale1"  # the fine-tuned backbone as it is
_SETTINGS = (
    "model.proposals=centre",
    "warm_up.epochs=0",
    "fine_tuning.epochs=2",
    "alternation.classifier_epochs=0",
)
_REFERENCE = "as `predict` decides"


def main() -> None:
    """Train what is missing, compare, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    arguments = parser.parse_args()

    keep_freed_memory()
    settings = [*_SETTINGS, *arguments.changes]
    base = str(Path(__file__).with_name("base.toml"))
    size = load_recipe(base, settings).data.source_size
    cache = cached_sources(arguments.data, read_table(arguments.data), size)

    selections = []
    for number, split in enumerate(fold_splits(cache), start=1):
        run = arguments.runs / f"fold-{number}"
        recipe = load_recipe(base, [f"name={run.name}", f"seed={_SEED}", *settings])
        train(cache, split, recipe, run, resume=(run / "run.json").is_file(), echo=print)
        manifest = load_checkpoint(run / "model.safetensors").manifest
        selections.append(read_selection(run, manifest))

    result = {
        "name": _NAME,
        "command": "python -m experiments.complex_folds DATA RUNS",
        "commit": commit("src", "experiments", "tools"),
        "machine": machine(),
        "settings": settings,
        **measure_folds(selections, manifest.labels, _LABEL),
    }
    print(write_result(_NAME, result))


def fold_splits(cache: Cache) -> list[Split]:
    """For each fold of a cache's photographs, the split that trains on all others.

    Near-duplicates are in one fold, and each fold has the same mix of label combinations.
    """
    groups = duplicate_groups(len(cache.table), near_duplicates_of(cache))
    folds = stratified_parts(cache.table, groups, (1 / _FOLDS,) * _FOLDS, _SEED)
    image_names = cache.table.image_names

    splits = []
    for number, rows in enumerate(folds, start=1):
        inside = set(rows)
        trained = tuple(name for row, name in enumerate(image_names) if row not in inside)
        held_out = tuple(image_names[row] for row in sorted(inside))
        splits.append(Split(f"fold-{number}", trained, held_out, ()))
    return splits


def measure_folds(selections: Sequence[Selection], labels: LabelSet, name: str) -> dict[str, Any]:
    """One label's F1 under all ways to decide, over all folds together and in each.

    Probabilities and decisions are fitted within each fold, out of fold there.

    Args:
        selections: of the folds, whose networks were trained on the other folds.
        labels: of the networks.
        name: of the label.
    """
    column = labels.names.index(name)
    targets = np.concatenate([selection.targets for selection in selections])
    by_fold = [_answers_of_fold(selection, labels, name) for selection in selections]
    ways = list(by_fold[0])
    answers = {}
    for way in ways:
        answers[way] = np.concatenate([fold[way] for fold in by_fold])

    scores = scores_of_answers(targets, answers, _REFERENCE, labels, column)
    for way in ways:
        scores[way]["label_f1"]["by_fold"] = [
            round(float(f1_of(selection.targets, fold[way])[column]), 4)
            for selection, fold in zip(selections, by_fold, strict=True)
        ]
    return {
        "label": name,
        "photographs": len(targets),
        "with_the_label": int(targets[:, column].sum()),
        "folds": [len(selection.targets) for selection in selections],
        "decisions": scores,
    }


def _answers_of_fold(
    selection: Selection, labels: LabelSet, name: str
) -> dict[str, NDArray[np.uint8]]:
    """The answers [n, L] to one fold's photographs, by way to decide."""
    targets = selection.targets
    logits = selection.logits[_HEAD]
    fitted = out_of_fold_answers(logits, targets, labels)
    ways: dict[str, Decide] = {**DECISIONS, f"{name} weighted by its cost": CostSensitive(name)}

    answers = {_REFERENCE: np.array(labels.combinations, np.uint8)[fitted.answers]}
    for way, decide in ways.items():
        answers[way] = decide(fitted.probabilities, targets, labels)
    stacked = stacked_posterior(logits, targets, labels)
    answers["one softmax over combinations"] = DECISIONS["most probable combination"](
        stacked, targets, labels
    )
    return answers


if __name__ == "__main__":
    main()
