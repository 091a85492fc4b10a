"""Do class weights help rare labels?

    python -m experiments.class_weights DATA RUNS/parts.json RUNS/weights [--seeds 0 1 2]

A plain EfficientNet-Lite0 at 128 px is fine-tuned from ImageNet weights on the `train` part of
RUNS/parts.json (see python -m experiments.parts) with `data.class_weights` none, sqrt and inverse,
and judged on its `report` part: each label by itself at threshold 0.5, and with the fitted
decision. Finished trainings are kept in RUNS/weights and skipped. Writes
results/experiments/class-weights.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.measured_runs import cached_sources
from experiments.publishing import write_result
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import training_split
from leafzoom.dataset.table import read_table
from leafzoom.evaluation.bootstrap import ResampledScores, paired_difference, resample_scores
from leafzoom.evaluation.evaluate import Evaluation, evaluate
from leafzoom.inference.loading import open_network
from leafzoom.metrics import HeadMetrics
from leafzoom.recipe import load_recipe
from leafzoom.training.memory import keep_freed_memory
from leafzoom.training.run import train
from tools.provenance import commit, machine

__all__ = ["main", "measure_class_weights"]

_NAME = "class-weights"
_KINDS = ("none", "sqrt", "inverse")
_HEAD = "scale1"  # the fine-tuned backbone as it is
_SETTINGS = (
    "model.proposals=centre",
    "warm_up.epochs=0",
    "fine_tuning.epochs=3",
    "alternation.classifier_epochs=0",
)


@dataclass(frozen=True)
class _Trained:
    """The evaluation of one training: with which weights, and with which seed."""

    kind: str
    seed: int
    evaluation: Evaluation


def main() -> None:
    """Train what is missing, judge all, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    arguments = parser.parse_args()

    keep_freed_memory()
    result = measure_class_weights(
        arguments.data, arguments.parts, arguments.runs, arguments.seeds, arguments.changes
    )
    print(write_result(_NAME, result))


def measure_class_weights(
    data: Path, parts: Path, runs: Path, seeds: Sequence[int], changes: Sequence[str] = ()
) -> dict[str, Any]:
    """Train with every kind of weights and every seed, and judge on the test part.

    Args:
        data: the photographs.
        parts: the split in JSON.
        runs: the folder of all trainings.
        seeds: of the trainings.
        changes: of the recipe, besides the weights.
    """
    base = str(Path(__file__).with_name("base.toml"))
    settings = [*_SETTINGS, *changes]
    size = load_recipe(base, settings).data.source_size
    cache = cached_sources(data, read_table(data), size)

    trained = []
    for seed in seeds:
        for kind in _KINDS:
            values = [*settings, f"seed={seed}", f"data.class_weights={kind}"]
            trained.append(_train(cache, parts, runs / f"{kind}-{seed}", base, values))
            print(f"{kind} {seed}: {_scores(trained[-1].evaluation.heads[_HEAD])}", flush=True)

    first = trained[0].evaluation
    counts = dict(zip(first.manifest.labels.names, first.targets.sum(axis=0).tolist(), strict=True))
    return {
        "name": _NAME,
        "commit": commit(),
        "machine": machine(),
        "settings": settings,
        "seeds": list(seeds),
        "judged": {"photographs": len(first.image_names), "of each label": counts},
        "kinds": {kind: _rows_of_kind(trained, kind) for kind in _KINDS},
        "differences from none": {
            kind: _differences(trained, kind) for kind in _KINDS if kind != "none"
        },
    }


def _train(cache: Cache, parts: Path, run: Path, base: str, values: Sequence[str]) -> _Trained:
    """Train, unless it is done, and evaluate on the test part."""
    recipe = load_recipe(base, [f"name={run.name}", *values])
    split = training_split(cache, str(parts))
    train(
        cache,
        split,
        recipe,
        run,
        resume=(run / "run.json").is_file(),
        echo=lambda _: None,
    )
    network = open_network(str(run), prefer="torch")
    evaluation = evaluate(network, cache, split.test, (_HEAD,))
    return _Trained(recipe.data.class_weights, recipe.seed, evaluation)


def _rows_of_kind(trained: Sequence[_Trained], kind: str) -> dict[str, Any]:
    """The scores of one kind of weights: the mean over the seeds, and each seed's."""
    rows: dict[str, Any] = {}
    chosen = [entry for entry in trained if entry.kind == kind]
    for decision in ("heads", "heads_fitted"):
        metrics = [getattr(entry.evaluation, decision)[_HEAD] for entry in chosen]
        by_seed = {str(entry.seed): _scores(m) for entry, m in zip(chosen, metrics, strict=True)}
        rows[decision] = {
            "mean": _mean(list(by_seed.values())),
            "by seed": by_seed,
            "f1 by label": _mean([_f1_by_label(m) for m in metrics]),
        }
    return rows


def _scores(metrics: HeadMetrics) -> dict[str, float]:
    """The scores that are compared."""
    return {
        "exact_match": round(metrics.exact_match, 4),
        "micro_f1": round(metrics.micro.f1, 4),
        "macro_f1": round(metrics.macro.f1, 4),
        "map": round(metrics.map, 4),
    }


def _f1_by_label(metrics: HeadMetrics) -> dict[str, float]:
    return {label: scores.f1 for label, scores in metrics.per_label.items()}


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each entry."""
    means = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        means[key] = round(float(np.mean(values)), 4)
    return means


def _differences(trained: Sequence[_Trained], kind: str) -> dict[str, Any]:
    """The mean difference over seeds from no weights, with its paired 95 % interval."""
    result: dict[str, Any] = {}
    for decision in ("answers", "answers_fitted"):
        with_weights = _resampled(trained, kind, decision)
        without = _resampled(trained, "none", decision)
        heads = "heads_fitted" if decision == "answers_fitted" else "heads"
        for score in ("exact_match", "macro_f1"):
            values = [_mean_score(trained, name, heads, score) for name in (kind, "none")]
            difference = paired_difference(
                values[0] - values[1], _mean_of(with_weights, score), _mean_of(without, score)
            )
            result[f"{score}, {heads}"] = difference.to_dict()
    return result


def _resampled(trained: Sequence[_Trained], kind: str, decision: str) -> list[ResampledScores]:
    """The scores of every seed on the same resamples of the photographs."""
    resampled = []
    for entry in trained:
        if entry.kind == kind:
            answers = getattr(entry.evaluation, decision)[_HEAD]
            scores = resample_scores(entry.evaluation.targets, {_HEAD: answers})
            resampled.append(scores[_HEAD])
    return resampled


def _mean_of(resampled: Sequence[ResampledScores], score: str) -> NDArray[np.float64]:
    """The mean over seeds of a score on every resample, [R]."""
    return np.asarray(np.mean([getattr(scores, score) for scores in resampled], axis=0))


def _mean_score(trained: Sequence[_Trained], kind: str, heads: str, score: str) -> float:
    """The mean over seeds of a score on all photographs."""
    metrics = [getattr(entry.evaluation, heads)[_HEAD] for entry in trained if entry.kind == kind]
    if score == "macro_f1":
        return float(np.mean([head.macro.f1 for head in metrics]))
    return float(np.mean([head.exact_match for head in metrics]))


if __name__ == "__main__":
    main()
