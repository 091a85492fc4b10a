"""What does an early exit cost and save?

    python -m experiments.early_exit DATA [--model MODEL] [--keep FOLDER]

Measures a model file on `inner-validation`, which its scales were not trained on; fusion and
decisions are out of fold. Writes results/experiments/early-exit.json and
docs/experiments/early-exit.svg. Cost is in looks: an exit takes one. A photograph whose first look
is not sure enough takes one for that look and all three again, because the exported model starts
from the beginning. Time is from files to diagnoses, with an early exit and without, in turns.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.head_logits import logits_of_model
from experiments.publishing import new_figure, save_figure, style_axes, write_result
from leafzoom.evaluation.bootstrap import percentile_interval, resample_means
from leafzoom.fitting.early_exit import (
    MAX_LOSS,
    FirstLooks,
    first_looks,
    fit_early_exit,
    greatest_loss,
)
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.prediction import Prediction
from leafzoom.inference.predictor import Predictor
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.paths import model_path
from tools.evaluation_data import open_data, rows_of_part
from tools.model_digest import model_digest
from tools.provenance import commit, machine

__all__ = ["main"]

_NAME = "early-exit"
_PART = "inner-validation"
_FIRST_HEAD = "scale1"
_THRESHOLDS = (*(np.arange(0, 100, 5) / 100), 0.99)
_HALF = 0.5  # of the cost, which an early exit has to save to be the default
_TIMED_PHOTOS = 96
_TIMED_ROUNDS = 5
_THREADS = 1


@dataclass(frozen=True)
class _Point:
    """One threshold: the share of exits, the mean cost (1: all looks, always), and the exact match.

    `change`: of the exact match, against all looks; `interval`: its 95 %. `losses`: right answers
    made wrong; `greatest_loss`: the share of them that cannot be ruled out (one-sided 95 %).
    """

    threshold: float
    exits: float
    cost: float
    cost_if_the_first_look_were_kept: float
    exact_match: float
    change: float
    interval: list[float]
    losses: int
    greatest_loss: float


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--keep", type=Path, help="folder for the network's logits")
    arguments = parser.parse_args()

    # Both heads, out of fold.
    path = model_path(arguments.model)
    manifest = OnnxNetwork(path).manifest
    logits = logits_of_model(path, arguments.data, arguments.keep)
    first = logits.as_predicted[_FIRST_HEAD]
    last = logits.as_predicted[manifest.head]
    looks = first_looks(first, last, logits.targets, manifest.labels)

    # The threshold that the file has, and the one that is fitted here.
    refitted = fit_early_exit(first, last, logits.targets, manifest.labels)
    shipped = None if manifest.early_exit is None else _point(looks, manifest, manifest.early_exit)
    curve = [_point(looks, manifest, threshold) for threshold in _THRESHOLDS]
    full = round(float(looks.last_right.mean()), 4)
    result = {
        "name": _NAME,
        "title": "Stopping after the first look where it is sure",
        "command": "python -m experiments.early_exit DATA",
        "commit": commit("src", "experiments", "tools"),
        "model_digest": model_digest(bundled_model()),
        "machine": machine(),
        "photographs": len(looks.confidence),
        "exact_match": {
            _FIRST_HEAD: round(float(looks.first_right.mean()), 4),
            manifest.head: full,
        },
        "fitted": None if shipped is None else asdict(shipped),
        "refitted_threshold": refitted,
        "may_be_the_default": shipped is not None and _may_be_the_default(shipped),
        "time": _time(path, arguments.data, manifest),
        "curve": [asdict(point) for point in curve],
    }
    write_result(_NAME, result)
    _draw(curve, shipped, full_exact_match=full)
    print(json.dumps({key: value for key, value in result.items() if key != "curve"}))


def _may_be_the_default(point: _Point) -> bool:
    """Whether half the mean cost is saved, and surely at most 0.2 points are lost."""
    return point.cost <= _HALF and point.greatest_loss <= MAX_LOSS


def _point(looks: FirstLooks, manifest: Manifest, threshold: float) -> _Point:
    """What a threshold costs and saves."""
    # The first look's answer where it is sure enough, elsewhere that of all looks.
    exits = looks.confidence >= threshold
    correct = np.where(exits, looks.first_right, looks.last_right)
    change = correct.astype(np.float64) - looks.last_right
    losses = int((change < 0).sum())

    # In looks, as a share of all looks.
    cost = np.where(exits, 1, 1 + manifest.scales) / manifest.scales
    cost_if_kept = np.where(exits, 1 / manifest.scales, 1.0)
    bounds = percentile_interval(resample_means({"change": change})["change"]).to_list()
    return _Point(
        threshold=round(float(threshold), 2),
        exits=round(float(exits.mean()), 4),
        cost=round(float(cost.mean()), 4),
        cost_if_the_first_look_were_kept=round(float(cost_if_kept.mean()), 4),
        exact_match=round(float(correct.mean()), 4),
        change=round(float(change.mean()), 4),
        interval=[round(bound, 4) for bound in bounds],
        losses=losses,
        greatest_loss=round(greatest_loss(losses, len(change)), 5),
    )


def _time(path: Path, data: Path, manifest: Manifest) -> dict[str, Any]:
    """The model from files to diagnoses, with an early exit and without, in turns."""
    # Photographs that it was not trained on, drawn at random.
    cache = open_data(data, manifest.source_size)
    rows = list(rows_of_part(cache, _PART, manifest))
    random.Random(0).shuffle(rows)
    photos = [cache.table.rows[row].path for row in rows[:_TIMED_PHOTOS]]

    network = OnnxNetwork(path, _THREADS)
    full = Predictor(network, workers=1)
    early = Predictor(network, workers=1, early_exit=True)

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
        "threads": _THREADS,
        "ratio": round(ratios[len(ratios) // 2], 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "one_look": round(sum(one_look) / len(pairs), 3),
        "same_labels": round(sum(same_labels) / len(pairs), 3),
    }


def _timed_predictions(predictor: Predictor, photos: list[Path]) -> tuple[list[Prediction], float]:
    """The predictions of all photos that can be read, and the seconds that they take."""
    started = time.perf_counter()
    results = list(predictor.predict_many(photos))
    seconds = time.perf_counter() - started
    return [result for result in results if isinstance(result, Prediction)], seconds


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
        (min(costs), full),
        ha="left",
        va="bottom",
        fontsize=9,
        color="#444444",
    )

    # There is no threshold if no early exit was good enough.
    if fitted is not None:
        position = (fitted.cost, 100 * fitted.exact_match)
        axes.plot(*position, "o", color="#D55E00", ms=9)
        axes.annotate(
            f"the model's: from {fitted.threshold:.2f} on",
            position,
            xytext=(6, -28),
            ha="left",
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
