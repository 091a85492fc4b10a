"""Scores of a run on `inner-select` by its stored logits, with decisions fitted out of fold.

A run's selection.csv holds every head's logits of these photographs; those of the fusions are out
of fold already. A photograph's decision is fitted on the other nine tenths.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lightning.fabric import Fabric
from numpy.typing import NDArray
from scipy.special import logit

from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.bootstrap import paired_difference, resample_scores
from leafzoom.evaluation.evaluate import Evaluation, evaluate
from leafzoom.evaluation.uncertainty import estimate_uncertainty
from leafzoom.fitting.decision import fit_decision
from leafzoom.fitting.fusion import fit_lbfgs
from leafzoom.fitting.likelihood import label_probabilities
from leafzoom.fitting.scale_classifiers import mean_classifier
from leafzoom.fitting.scale_outputs import scale_outputs
from leafzoom.inference.network import OnnxNetwork
from leafzoom.labels import decide, plain_answers
from leafzoom.metrics import score
from leafzoom.model.build import build_fusions, network_from_checkpoint
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.manifest import Manifest
from leafzoom.recipe import recipe_from_dict

__all__ = [
    "Selection",
    "compare_with_earlier",
    "decide_out_of_fold",
    "fused_logits_out_of_fold",
    "read_selection",
    "score_out_of_fold",
]

_FOLDS = 10
_MIN_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Selection:
    """A run's selection.csv: n photographs, their targets [n, L] and every head's logits [n, L]."""

    image_names: tuple[str, ...]
    targets: NDArray[np.uint8]
    logits: dict[str, NDArray[np.float64]]


def read_selection(run: Path, manifest: Manifest) -> Selection:
    """Read a run's selection.csv; the manifest names labels and heads."""
    with (run / "selection.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    labels = manifest.labels
    targets = np.array([labels.encode(row["labels"].split()) for row in rows])
    logits = {}
    for head in manifest.decisions:
        columns = [f"{head}_{name}" for name in labels.names]
        logits[head] = _numbers(rows, columns)

    return Selection(tuple(row["image"] for row in rows), targets, logits)


def decide_out_of_fold(
    logits: NDArray[np.float64], targets: NDArray[np.uint8], manifest: Manifest
) -> NDArray[np.uint8]:
    """The labels [n, L] of photographs, each decided as fitted on the other nine tenths."""
    fold_of = np.random.default_rng(0).permutation(len(logits)) % _FOLDS
    answers = np.zeros_like(targets)

    for fold in range(_FOLDS):
        inside = fold_of == fold
        decision = fit_decision(logits[~inside], targets[~inside], manifest.labels)
        probabilities = _probabilities(logits[inside], manifest)
        answers[inside] = decide(probabilities, decision, manifest.labels)

    return answers


def score_out_of_fold(run: Path, manifest: Manifest) -> dict[str, Any]:
    """The scores of a run on `inner-select`, in the form of `metrics.json`."""
    selection = read_selection(run, manifest)
    targets = selection.targets
    label_names = manifest.labels.names

    # Both ways to decide: at threshold 0.5, and as fitted out of fold.
    probabilities = {}
    answers = {}
    answers_fitted = {}
    for head, logits in selection.logits.items():
        probabilities[head] = _probabilities(logits, manifest)
        answers[head] = plain_answers(probabilities[head], manifest.labels)
        answers_fitted[head] = decide_out_of_fold(logits, targets, manifest)

    heads = {}
    heads_fitted = {}
    score_head = partial(score, targets, single_label=manifest.labels.single_label)
    for head, values in probabilities.items():
        heads[head] = score_head(answers[head], values, label_names)
        heads_fitted[head] = score_head(answers_fitted[head], values, label_names)

    # Intervals need an evaluation; boxes and verdicts are not stored.
    evaluation = Evaluation(
        manifest=manifest,
        head=manifest.head,
        image_names=selection.image_names,
        targets=targets,
        probabilities=probabilities,
        boxes=(),
        answers=answers,
        answers_fitted=answers_fitted,
        heads=heads,
        heads_fitted=heads_fitted,
        selective_predictions=(),
    )
    return {
        "dataset": {
            "split": "inner-select",
            "photographs": len(targets),
            "out_of_fold": _FOLDS,
        },
        "model": {"name": manifest.name, "trained_on": manifest.data.get("trained_on")},
        "heads": {head: metrics.to_dict() for head, metrics in heads.items()},
        "heads_fitted": {head: metrics.to_dict() for head, metrics in heads_fitted.items()},
        **estimate_uncertainty(evaluation).to_dict(),
    }


def compare_with_earlier(run: Path, earlier: Path, cache: Cache) -> dict[str, Any]:
    """The exact match of the answering heads of a run and of an earlier model on `inner-select`.

    Args:
        run: a run folder.
        earlier: a run folder, or an `.onnx` file.
        cache: the photographs, for an `.onnx` file.

    Returns:
        Both exact matches, decisions out of fold, and their difference with its 95 % interval.
    """
    manifest = load_checkpoint(run / "model.safetensors").manifest
    selection = read_selection(run, manifest)
    targets = selection.targets

    # The earlier model's logits of the same photographs.
    if earlier.suffix == ".onnx":
        earlier_manifest = manifest
        earlier_logits = _logits_of_file(earlier, selection.image_names, cache)
    else:
        earlier_manifest = load_checkpoint(earlier / "model.safetensors").manifest
        earlier_selection = read_selection(earlier, earlier_manifest)
        if earlier_selection.image_names != selection.image_names:
            raise SystemExit(f"{run} and {earlier} were not selected on the same photographs")
        earlier_logits = earlier_selection.logits[earlier_manifest.head]

    # Both decided in the same way.
    answers = {
        "now": decide_out_of_fold(selection.logits[manifest.head], targets, manifest),
        "before": decide_out_of_fold(earlier_logits, targets, earlier_manifest),
    }
    exact_match = {
        name: float((answer == targets).all(axis=1).mean()) for name, answer in answers.items()
    }

    resampled = resample_scores(targets, answers)
    difference = paired_difference(
        exact_match["now"] - exact_match["before"],
        resampled["now"].exact_match,
        resampled["before"].exact_match,
    )
    return {
        "run": earlier.stem,
        "photographs": len(targets),
        "exact_match": exact_match,
        **difference.to_dict(),
    }


def fused_logits_out_of_fold(
    model: Path, cache: Cache, rows: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """The answering fusion's logits [n, L] of photographs that it was fitted on, out of fold.

    The fusion is cross-validated as in a training, on the outputs of the file's own scales.

    Args:
        model: a checkpoint, or an `.onnx` file that can be read as one.
        cache: of the data set.
        rows: of the photographs in it, all that the fusion was fitted on.

    Returns:
        None where the answering head was not fitted there, so that it needs no cross-validation.
    """
    checkpoint = load_checkpoint(model)
    manifest = checkpoint.manifest
    recipe = recipe_from_dict(manifest.recipe, str(model))
    if recipe.fusion.fit != "lbfgs" or manifest.scales == 1:
        return None

    racnn = network_from_checkpoint(checkpoint).racnn
    fusion = build_fusions(recipe.fusion, racnn)[-1]
    targets = cache.table.targets(manifest.labels)
    part = DatasetPart(cache.sources, targets, cache.table.image_names, rows)

    fabric = Fabric(accelerator="cpu", devices=1)
    outputs = scale_outputs(fabric, racnn, part, (fusion,), tta=recipe.prediction.tta)
    prior = mean_classifier(racnn, fusion)
    fit = fit_lbfgs(
        fusion,
        outputs.fusion_inputs[0],
        part.part_targets,
        prior,
        recipe.seed,
        single_label=manifest.labels.single_label,
    )
    return fit.out_of_fold


def _probabilities(logits: NDArray[np.float64], manifest: Manifest) -> NDArray[np.float32]:
    """A head's probabilities [n, L] from its logits [n, L]."""
    single_label = manifest.labels.single_label
    return label_probabilities(logits, single_label=single_label).astype(np.float32)


def _numbers(rows: Sequence[dict[str, str]], columns: Sequence[str]) -> NDArray[np.float64]:
    """Some columns of a CSV's rows, [n, columns]."""
    numbers = np.zeros((len(rows), len(columns)))
    for index, row in enumerate(rows):
        numbers[index] = [float(row[column]) for column in columns]
    return numbers


def _logits_of_file(path: Path, image_names: tuple[str, ...], cache: Cache) -> NDArray[np.float64]:
    """The answering head's logits [n, L] of a model file for photographs of a cache."""
    network = OnnxNetwork(path)
    head = network.manifest.head
    probabilities = evaluate(network, cache, image_names, (head,)).probabilities[head]

    clipped = np.clip(probabilities.astype(np.float64), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    single_label = network.manifest.labels.single_label
    return np.asarray(np.log(clipped) if single_label else logit(clipped))
