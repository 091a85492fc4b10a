"""Whole trainings on `inner-train`, from the files that `leafzoom train` and `evaluate` leave."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.statistics import BySeed, means, rounded, rounded_by_seed
from leafzoom.model_file.checkpoint import load_checkpoint
from tools.out_of_fold import decide_out_of_fold, read_selection

__all__ = [
    "Answers",
    "TrainedRun",
    "box_distances",
    "read_answers",
    "read_predictions",
    "read_trained_run",
    "training_row",
]

_CORNERS = ("x0", "y0", "x1", "y1")

Boxes = dict[str, NDArray[np.float64]]
CsvRow = dict[str, str]


@dataclass(frozen=True)
class Answers:
    """Which photographs of a predictions.csv are answered exactly.

    `correct`: by the last fusion, [n]. `correct_at_half`: by every scale at threshold 0.5, {head:
    [n]}.
    """

    image_names: list[str]
    correct: NDArray[np.bool_]
    correct_at_half: dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class TrainedRun:
    """A run, and which photographs it answers exactly.

    `image_names`: of `inner-test`, sorted. `validation_names`: of `inner-validation`, sorted.
    `correct`, `correct_at_half`: see `Answers`. `boxes`: {"box2": [n, 4]}, x0, y0, x1, y1 in pixels
    of the source. `correct_both_parts`: `correct`, and the same of `inner-validation` (out of fold)
    after it.
    """

    folder: Path
    seed: int
    image_names: list[str]
    validation_names: list[str]
    correct: NDArray[np.bool_]
    correct_at_half: dict[str, NDArray[np.bool_]]
    boxes: Boxes
    correct_both_parts: NDArray[np.bool_]

    def json(self, *parts: str) -> dict[str, Any]:
        """A JSON file of the run's folder."""
        content: dict[str, Any] = json.loads(
            self.folder.joinpath(*parts).read_text(encoding="utf-8")
        )
        return content


def read_trained_run(folder: Path) -> TrainedRun:
    """Read a finished run that was evaluated into FOLDER/report."""
    table = read_predictions(folder / "report" / "predictions.csv")
    answers = read_answers(table)

    # The validation part, decided out of fold.
    manifest = load_checkpoint(folder / "model.safetensors").manifest
    selection = read_selection(folder, manifest)
    decided = decide_out_of_fold(selection.logits[manifest.head], selection.targets, manifest)
    is_correct = (decided == selection.targets).all(axis=1)
    validation_correct = is_correct[np.argsort(selection.image_names)]

    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return TrainedRun(
        folder=folder,
        seed=run["recipe"]["seed"],
        image_names=answers.image_names,
        validation_names=sorted(selection.image_names),
        correct=answers.correct,
        correct_at_half=answers.correct_at_half,
        boxes=_read_boxes(table),
        correct_both_parts=np.concatenate([answers.correct, validation_correct]),
    )


def read_predictions(path: Path) -> list[CsvRow]:
    """The rows of a predictions.csv, sorted by image name."""
    with path.open(encoding="utf-8", newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["image"])


def read_answers(table: Sequence[CsvRow]) -> Answers:
    """Compare the answers of a predictions.csv with its labels."""
    # As sets, because the order of labels does not matter.
    targets = [set(row["labels"].split()) for row in table]
    answer_column = next(key for key in table[0] if key.startswith("predicted_"))
    answers = [set(row[answer_column].split()) for row in table]

    # Every scale at threshold 0.5.
    correct_at_half = {}
    for head, names in _scale_labels(table[0]).items():
        at_half = [_labels_at_half(row, head, names) for row in table]
        correct_at_half[head] = _matches(targets, at_half)

    image_names = [row["image"] for row in table]
    return Answers(image_names, _matches(targets, answers), correct_at_half)


def training_row(runs: Sequence[TrainedRun]) -> dict[str, Any]:
    """A training's settings and scores over its seeds, as JSON holds them.

    Settings and boxes are those of the first seed.
    """
    exact_match: BySeed = {}
    micro_f1: BySeed = {}
    for run in runs:
        for head, scores in run.json("report", "metrics.json")["heads_fitted"].items():
            exact_match.setdefault(head, []).append(scores["exact_match"])
            micro_f1.setdefault(head, []).append(scores["micro"]["f1"])

    recipe = runs[0].json("run.json")["recipe"]
    return {
        **_settings(recipe),
        "seeds": len(runs),
        "exact_match": means(exact_match),
        "exact_match_by_seed": rounded_by_seed(exact_match),
        "micro_f1": means(micro_f1),
        "boxes": _box_statistics(runs[0].boxes, recipe["data"]["source_size"]),
    }


def box_distances(boxes: Boxes, other_boxes: Boxes) -> dict[str, Any]:
    """The distance of boxes from others, in source pixels, and their correlation."""
    distances = {}
    for scale in boxes:
        centres = _centres(boxes[scale])
        other_centres = _centres(other_boxes[scale])
        distance = np.linalg.norm(centres - other_centres, axis=1)
        correlation = [
            round(float(np.corrcoef(centres[:, axis], other_centres[:, axis])[0, 1]), 3)
            for axis in (0, 1)
        ]
        distances[scale] = {
            "median_distance": round(float(np.median(distance)), 1),
            "correlation": correlation,
        }
    return distances


def _settings(recipe: dict[str, Any]) -> dict[str, Any]:
    """The settings in which trainings differ; recipes of older runs say `held_scales`."""
    alternation = recipe["alternation"]
    frozen_scales = alternation.get("frozen_scales", alternation.get("held_scales"))
    return {
        "model": {key: recipe["model"].get(key) for key in ("proposals", "apn_normalise")},
        "warm_up": {key: recipe["warm_up"].get(key) for key in ("epochs", "target")},
        "alternation": {
            "soft_labels": alternation.get("soft_labels"),
            "held_scales": frozen_scales,
        },
    }


def _box_statistics(boxes: Boxes, source_size: int) -> dict[str, float]:
    """Sides and spread of the boxes, as shares of the source's side."""
    statistics = {}
    for scale, corners in boxes.items():
        sides = corners[:, 2:] - corners[:, :2]
        spread = _centres(corners).std(axis=0)
        statistics[f"{scale}_side_mean"] = rounded(sides.mean() / source_size)
        statistics[f"{scale}_centre_spread"] = rounded(spread.mean() / source_size)
    return statistics


def _scale_labels(row: CsvRow) -> dict[str, list[str]]:
    """The labels that each scale has a column of, {"scale1": [label]}."""
    columns: dict[str, list[str]] = {}
    for key in row:
        head, _, label = key.partition("_")
        if head.startswith("scale"):
            columns.setdefault(head, []).append(label)
    return columns


def _labels_at_half(row: CsvRow, head: str, labels: list[str]) -> set[str]:
    """The labels whose probability is 0.5 or more."""
    return {label for label in labels if float(row[f"{head}_{label}"]) >= 0.5}


def _matches(targets: list[set[str]], answers: list[set[str]]) -> NDArray[np.bool_]:
    """Which answers are exact, [n]."""
    pairs = zip(targets, answers, strict=True)
    return np.array([target == answer for target, answer in pairs])


def _read_boxes(table: Sequence[CsvRow]) -> Boxes:
    """The boxes of every zoom, {"box2": [n, 4]}, x0, y0, x1, y1 in pixels of the source."""
    scales = {key.split("_")[1] for key in table[0] if key.startswith("box_scale")}
    boxes = {}
    for scale in sorted(scales - {"scale1"}):
        corners = np.zeros((len(table), len(_CORNERS)))
        for index, row in enumerate(table):
            corners[index] = [float(row[f"box_{scale}_{corner}"]) for corner in _CORNERS]
        boxes[scale.replace("scale", "box")] = corners
    return boxes


def _centres(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The centres [n, 2] of boxes [n, 4]."""
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)
