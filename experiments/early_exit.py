"""What does an early exit cost and save?

    python -m experiments.early_exit RUN PREDICTIONS.csv --photos DATA

RUN is a finished run; its threshold is fitted on `inner-validation`, as `leafzoom train` does.
PREDICTIONS.csv is what `leafzoom evaluate RUN --split inner-test` wrote: photographs on which
nothing was chosen. Writes results/experiments/early-exit.json and docs/experiments/early-exit.svg.
Cost is in looks: an exit takes one. A photograph whose first look is not sure enough takes one for
that look and all three again, because the exported model starts from the beginning.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.publishing import new_figure, save_figure, style_axes, write_result
from leafzoom.evaluation.bootstrap import percentile_interval, resample_means
from leafzoom.fitting.early_exit import fit_early_exit
from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction import Prediction
from leafzoom.inference.predictor import Predictor
from leafzoom.labels import answer_confidence, decide, log_odds
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.manifest import Manifest
from leafzoom.photo_files import FoundPhoto, find_photos

__all__ = ["main"]

_NAME = "early-exit"
_FIRST_HEAD = "scale1"
_THRESHOLDS = (*(np.arange(0, 100, 5) / 100), 0.99)
_TIMED_PHOTOS = 300
_TIMED_ROUNDS = 3

Table = tuple[NDArray[np.uint8], dict[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class _Answers:
    """Answers to n photographs.

    `correct`: {head: [n]}, whether each is exact. `confidence`: of the first look, [n].
    """

    scales: int
    last_head: str
    correct: dict[str, NDArray[np.bool_]]
    confidence: NDArray[np.float64]


@dataclass(frozen=True)
class _Point:
    """One threshold: the share of exits, the mean cost (1: all looks, always), and the exact match.

    `change`: of the exact match, against all looks; `interval`: its 95 %.
    """

    threshold: float
    exits: float
    cost: float
    cost_if_the_first_look_were_kept: float
    exact_match: float
    change: float
    interval: list[float]


def main() -> None:
    """Fit, measure, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument(
        "--photos",
        type=Path,
        required=True,
        help="a folder: 300 of it time the model that ships",
    )
    arguments = parser.parse_args()

    # The threshold is fitted on `inner-validation` and judged on other photographs.
    manifest = load_checkpoint(arguments.run / "model.safetensors").manifest
    threshold = _fit_threshold(arguments.run, manifest)
    answers = _read_answers(arguments.predictions, manifest)
    exact_match = {head: round(float(hits.mean()), 4) for head, hits in answers.correct.items()}
    fitted = None if threshold is None else _point(answers, threshold)
    times = _time(arguments.photos)
    curve = [_point(answers, value) for value in _THRESHOLDS]

    run_name = arguments.run.name
    result = {
        "name": _NAME,
        "title": "Stopping after the first look where it is sure",
        "command": f"python -m experiments.early_exit {run_name} PREDICTIONS.csv --photos DATA",
        "photographs": len(answers.confidence),
        "exact_match": exact_match,
        "fitted": None if fitted is None else asdict(fitted),
        "time": times,
        "curve": [asdict(point) for point in curve],
    }
    write_result(_NAME, result)
    _draw(curve, fitted, full_exact_match=exact_match[answers.last_head])
    print(json.dumps({key: result[key] for key in ("exact_match", "fitted", "time")}))


def _fit_threshold(run: Path, manifest: Manifest) -> float | None:
    """The least confidence for an early exit, from `inner-validation`; None: no early exit."""
    heads = (_FIRST_HEAD, manifest.head)
    targets, logits = _read_table(run / "selection.csv", manifest.labels.names, heads)
    return fit_early_exit(logits[_FIRST_HEAD], logits[manifest.head], targets, manifest.labels)


def _read_answers(predictions: Path, manifest: Manifest) -> _Answers:
    """The decided answers of the first look and of all looks."""
    labels = manifest.labels
    heads = (_FIRST_HEAD, manifest.head)
    targets, probabilities = _read_table(predictions, labels.names, heads)
    decided = {
        head: decide(values, manifest.decisions[head], labels)
        for head, values in probabilities.items()
    }

    # How sure the first look is decides whether it is the only one.
    first = probabilities[_FIRST_HEAD]
    assert np.isfinite(log_odds(first)).all()
    decision = manifest.decisions[_FIRST_HEAD]
    confidence = answer_confidence(first, decided[_FIRST_HEAD], decision, labels)
    correct = {head: (answer == targets).all(axis=1) for head, answer in decided.items()}
    return _Answers(manifest.scales, manifest.head, correct, confidence)


def _point(answers: _Answers, threshold: float) -> _Point:
    """What a threshold costs and saves."""
    # The first look's answer where it is sure enough, elsewhere that of all looks.
    exits = answers.confidence >= threshold
    full = answers.correct[answers.last_head]
    correct = np.where(exits, answers.correct[_FIRST_HEAD], full)
    change = correct.astype(np.float64) - full

    # In looks, as a share of all looks.
    cost = np.where(exits, 1, 1 + answers.scales) / answers.scales
    cost_if_kept = np.where(exits, 1 / answers.scales, 1.0)
    resampled = resample_means({"change": change})["change"]
    bounds = percentile_interval(resampled).to_list()
    return _Point(
        threshold=round(float(threshold), 2),
        exits=round(float(exits.mean()), 4),
        cost=round(float(cost.mean()), 4),
        cost_if_the_first_look_were_kept=round(float(cost_if_kept.mean()), 4),
        exact_match=round(float(correct.mean()), 4),
        change=round(float(change.mean()), 4),
        interval=[round(bound, 4) for bound in bounds],
    )


def _time(folder: Path) -> dict[str, Any]:
    """The shipped model from files to diagnoses, with an early exit and without, in turns."""
    # The same photos in every run, drawn at random from the folder.
    photos = find_photos([folder])
    random.Random(0).shuffle(photos)
    photos = photos[:_TIMED_PHOTOS]
    network = open_network("bundled")
    full = Predictor(network)
    early = Predictor(network, early_exit=True)

    # The first turn warms up.
    _timed_predictions(full, photos)
    _timed_predictions(early, photos)

    # In turns, so that a busy machine slows both alike; the median ratio counts.
    ratios = []
    for _ in range(_TIMED_ROUNDS):
        full_predictions, full_seconds = _timed_predictions(full, photos)
        early_predictions, early_seconds = _timed_predictions(early, photos)
        ratios.append(early_seconds / full_seconds)

    # How often one look was enough, and how often an early exit keeps the labels.
    pairs = list(zip(early_predictions, full_predictions, strict=True))
    one_look = [len(early_one.scales) == 1 for early_one, _ in pairs]
    same_labels = [early_one.labels == full_one.labels for early_one, full_one in pairs]
    ratios.sort()
    return {
        "photographs": len(pairs),
        "ratio": round(ratios[len(ratios) // 2], 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "one_look": round(sum(one_look) / len(pairs), 3),
        "same_labels": round(sum(same_labels) / len(pairs), 3),
    }


def _timed_predictions(
    predictor: Predictor, photos: list[FoundPhoto]
) -> tuple[list[Prediction], float]:
    """The predictions of all photos that can be read, and the seconds that they take."""
    started = time.perf_counter()
    results = list(predictor.predict_many(photos))
    seconds = time.perf_counter() - started
    return [result for result in results if isinstance(result, Prediction)], seconds


def _read_table(path: Path, names: tuple[str, ...], heads: tuple[str, ...]) -> Table:
    """Read a CSV of leafzoom's: targets [n, L], and a value [n, L] for each head."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    targets = np.zeros((len(rows), len(names)), np.uint8)
    values = {head: np.zeros(targets.shape) for head in heads}
    for index, row in enumerate(rows):
        labels = row["labels"].split()
        targets[index] = [name in labels for name in names]
        for head in heads:
            values[head][index] = [float(row[f"{head}_{name}"]) for name in names]
    return targets, values


def _draw(curve: list[_Point], fitted: _Point | None, full_exact_match: float) -> None:
    """Exact match against cost, the fitted threshold marked."""
    figure = new_figure(6.4, 3.4)
    axes = figure.add_subplot()
    costs = [point.cost for point in curve]
    exact_matches = [100 * point.exact_match for point in curve]
    axes.plot(costs, exact_matches, "o-", color="#0072B2", ms=4, lw=1.5)

    # What looking at everything, always, reaches.
    full = 100 * full_exact_match
    axes.axhline(full, color="#444444", lw=0.8, ls="--")
    axes.annotate(
        "all looks, always",
        (max(costs), full),
        ha="right",
        va="bottom",
        fontsize=9,
        color="#444444",
    )

    # There is no threshold if no early exit was good enough.
    if fitted is not None:
        position = (fitted.cost, 100 * fitted.exact_match)
        axes.plot(*position, "o", color="#D55E00", ms=9)
        axes.annotate(
            f"fitted: from a confidence of {fitted.threshold:.2f}",
            position,
            xytext=(8, -14),
            textcoords="offset points",
            fontsize=9,
            color="#D55E00",
        )

    axes.set_xlabel("mean cost, looks of three (1 = all looks, always)")
    axes.set_ylabel("exact match, %")
    style_axes([axes])
    save_figure(figure, _NAME)


if __name__ == "__main__":
    main()
