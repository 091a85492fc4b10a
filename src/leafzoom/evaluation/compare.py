"""Runs side by side: figures 7-12 of the paper over any runs, and their final scores with paired differences.

Read from what every run leaves: `log.csv` (a row an epoch and metric), `run.json` and, of a finished run,
`selection.csv` (every head's logits on the selection part, on which the differences are paired).
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import DataError
from leafzoom.evaluation.bootstrap import interval, resample_scores
from leafzoom.evaluation.figures import Curve, curves
from leafzoom.storage import make_folder, write_json, write_text

__all__ = ["RunRecord", "compare_runs", "read_run", "smoothed"]

_WEIGHT = 0.6  # of the smoothed value before, in the smoothed curve


@dataclass(frozen=True)
class RunRecord:
    """What a run left.

    `name`: of its folder. `log`: {(stage, metric): [(epoch, value)]}, epochs counted over the stage.
    `logits`: {head: [n, L]} and `targets` [n, L] of the photographs `images`, a column for each of `labels`; all but
    these empty before it has finished.
    """

    name: str
    recipe: str
    finished: bool
    log: dict[tuple[str, str], list[tuple[int, float]]]
    images: tuple[str, ...]
    targets: NDArray[np.uint8]
    logits: dict[str, NDArray[np.float64]]
    labels: tuple[str, ...]


def read_run(folder: Path) -> RunRecord:
    """What a run's folder says.

    Raises:
        DataError: no run, or one of its files is damaged.
    """
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        labels, recipe, finished = sorted(run["labels"]), run["recipe"]["name"], run["status"] == "finished"
        log: dict[tuple[str, str], list[tuple[int, float]]] = {}
        with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                stage, _, metric = row["key"].split("/")
                log.setdefault((stage, metric), []).append((int(row["epoch"]), float(row["value"])))
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} is no run with a finished epoch ({Path(str(error.filename)).name} is missing): name folders "
            "that leafzoom train wrote"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{folder}: run.json or log.csv cannot be read ({error}): the run is damaged") from error
    nothing = np.zeros((0, len(labels)), np.uint8)
    empty = RunRecord(folder.resolve().name, recipe, finished, log, (), nothing, {}, tuple(labels))
    if not (folder / "selection.csv").is_file():
        return empty
    return _with_selection(empty, folder / "selection.csv")


def _with_selection(run: RunRecord, path: Path) -> RunRecord:
    """The run with its answers on the selection part."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        columns = rows[0][2:]
        heads = list(dict.fromkeys(column.split("_", 1)[0] for column in columns))
        values = np.array([[float(cell) for cell in row[2:]] for row in rows[1:]])
        place = {column: index for index, column in enumerate(columns)}
        targets = np.array([[label in row[1].split() for label in run.labels] for row in rows[1:]], np.uint8)
        logits = {head: values[:, [place[f"{head}_{label}"] for label in run.labels]] for head in heads}
    except (OSError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}): the run is damaged") from error
    return replace(run, images=tuple(row[0] for row in rows[1:]), targets=targets, logits=logits)


def smoothed(values: list[float]) -> list[float]:
    """An exponential average that starts at the first value."""
    result: list[float] = []
    for value in values:
        result.append(_WEIGHT * result[-1] + (1 - _WEIGHT) * value if result else value)
    return result


def compare_runs(folders: list[Path], out: Path) -> Path:
    """Write `index.html` and `compare.json` over some runs.

    Args:
        folders: of runs; the first is what the others' differences are taken to.
        out: made if it is not there.

    Returns:
        The page.

    Raises:
        DataError: a folder is no run, or is damaged.
        LeafzoomError: `out` cannot be written.
    """
    runs = [read_run(folder) for folder in folders]
    names = _different_names([run.name for run in runs])
    make_folder(out)
    scales = 1 + max(
        (int(metric[-1]) for run in runs for _, metric in run.log if metric.startswith("select_loss_scale")),
        default=0,
    )
    table = _scores(runs, names)
    sections = []
    for title, wanted in _figures(scales - 1).items():
        drawn = [
            Curve(f"{name}: {label}" if len(wanted) > 1 else name, *_curve(run, metric), place, dashed)
            for place, (run, name) in enumerate(zip(runs, names, strict=True))
            for label, metric, dashed in wanted
            if ("alternation", metric) in run.log
        ]
        if drawn:
            sections.append({"title": title, "figure": curves(drawn, title, "epoch of the alternation")})
    write_json(out / "compare.json", {"runs": names, "scores": table})
    template = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(
        (resources.files("leafzoom.evaluation") / "compare.html").read_text(encoding="utf-8")
    )
    write_text(
        out / "index.html",
        template.render(
            runs=[
                {"name": name, "recipe": run.recipe, "finished": run.finished}
                for name, run in zip(names, runs, strict=True)
            ],
            sections=sections,
            table=table,
            first=names[0],
        ),
    )
    return out / "index.html"


def _figures(scales: int) -> dict[str, list[tuple[str, str, bool]]]:
    """The paper's figures: {title: [(name, metric, dashed)]}."""
    found: dict[str, list[tuple[str, str, bool]]] = {}
    for scale in range(2, scales + 1):
        number = {2: " (figure 7)", 3: " (figure 8)"}.get(scale, "")
        found[f"Validation exact match of scale {scale}{number}"] = [
            (f"scale {scale}", f"select_exact_match_scale{scale}", False)
        ]
    for scale in range(1, scales + 1):
        found[f"Training and validation exact match of scale {scale} (figures 9 and 10)"] = [
            ("validation", f"select_exact_match_scale{scale}", False),
            ("training", f"train_exact_match_scale{scale}", True),
        ]
    for scale in range(1, scales + 1):
        found[f"Classifier loss of scale {scale} (figure 11)"] = [
            ("validation", f"select_loss_scale{scale}", False),
            ("training", f"train_loss_scale{scale}", True),
        ]
    for scale in range(1, scales):
        found[f"Ranking loss of scales {scale} and {scale + 1} (figure 12)"] = [
            ("validation", f"select_ranking_loss{scale}{scale + 1}", False),
            ("training", f"train_ranking_loss{scale}{scale + 1}", True),
        ]
    return found


def _curve(run: RunRecord, metric: str) -> tuple[list[int], list[float], list[float]]:
    """Epochs, raw values and smoothed values of one metric of the alternation."""
    points = run.log[("alternation", metric)]
    values = [value for _, value in points]
    return [epoch for epoch, _ in points], values, smoothed(values)


def _scores(runs: list[RunRecord], names: list[str]) -> list[dict[str, Any]]:
    """Final scores at threshold 0.5 on the selection part, a row a run and head, with the difference to the first."""
    rows = []
    first = runs[0]
    for run, name in zip(runs, names, strict=True):
        same = run.images == first.images and run.labels == first.labels and bool(run.images)
        for head, logits in run.logits.items():
            answers = {"this": logits > 0}
            if same and head in first.logits and run is not first:
                answers["first"] = first.logits[head] > 0
            found = resample_scores(run.targets, answers)
            exact = (answers["this"] == run.targets).all(axis=1)
            hits = (answers["this"] & (run.targets > 0)).sum()
            row: dict[str, Any] = {
                "run": name,
                "head": head,
                "photographs": len(run.images),
                "exact_match": float(exact.mean()),
                "interval": interval(found["this"].exact_match),
                "micro_f1": float(2 * hits / max(answers["this"].sum() + run.targets.sum(), 1)),
            }
            if "first" in answers:
                before = (answers["first"] == run.targets).all(axis=1)
                row["difference"] = float(exact.mean() - before.mean())
                row["difference_interval"] = interval(found["this"].exact_match - found["first"].exact_match)
            rows.append(row)
    return rows


def _different_names(names: list[str]) -> list[str]:
    """The names, numbered where two are alike."""
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
