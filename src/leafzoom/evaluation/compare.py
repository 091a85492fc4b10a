"""Runs side by side: the paper's figures 7-12 over any runs, and their final scores.

Read from the files of every run: `log.csv` (a row an epoch and metric), `run.json` and, of a
finished run, `selection.csv` (every head's logits on the validation part, on which the differences
are paired).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from leafzoom.evaluation.bootstrap import (
    Difference,
    Interval,
    ResampledScores,
    paired_difference,
    percentile_interval,
    resample_scores,
)
from leafzoom.evaluation.figures import Curve, curves
from leafzoom.evaluation.run_record import RunRecord, read_run
from leafzoom.labels import most_probable
from leafzoom.storage import make_folder, write_json, write_text

__all__ = ["compare_runs", "smoothed"]

_SMOOTHING = 0.6  # weight of the smoothed value before


@dataclass(frozen=True)
class _Line:
    """A line of a figure: which metric of the alternation, and its name where there are several.

    `otherwise`: what is drawn of runs whose log lacks the metric.
    """

    name: str
    metric: str
    dashed: bool = False
    otherwise: _Line | None = None

    def in_log_of(self, run: RunRecord) -> _Line | None:
        """This line or the other one, whichever a run has logged."""
        if ("alternation", self.metric) in run.log:
            return self
        return self.otherwise.in_log_of(run) if self.otherwise else None


@dataclass(frozen=True)
class _Section:
    """A figure of the page, as SVG."""

    title: str
    figure: str


@dataclass(frozen=True)
class _ScoreRow:
    """A head's final scores on the validation part, at threshold 0.5 or of the most probable class.

    `difference`: of the exact match to the first run's; None where they cannot be paired.
    `has_one_label`: the exact match is top-1 accuracy, and is written as `top1` too.
    """

    run: str
    head: str
    photographs: int
    exact_match: float
    interval: Interval
    micro_f1: float
    difference: Difference | None
    has_one_label: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As in `compare.json`."""
        content = {
            "run": self.run,
            "head": self.head,
            "photographs": self.photographs,
            "exact_match": self.exact_match,
            "interval": self.interval.to_list(),
            "micro_f1": self.micro_f1,
        }
        if self.has_one_label:
            content["top1"] = self.exact_match
        if self.difference is not None:
            content["difference"] = self.difference.value
            content["difference_interval"] = self.difference.interval.to_list()
        return content


def compare_runs(folders: list[Path], out: Path) -> Path:
    """Write `index.html` and `compare.json` over some runs.

    Args:
        folders: of runs; the first is the reference of the differences.
        out: made if it does not exist.

    Returns:
        The page.

    Raises:
        DataError: a folder is no run, or is damaged.
        LeafzoomError: `out` cannot be written.
    """
    # A damaged run, or a folder that cannot be written to, is found before any work.
    runs = [read_run(folder) for folder in folders]
    names = _distinct_names([run.name for run in runs])
    make_folder(out)

    # The scores, for programs.
    rows = _score_rows(runs, names)
    write_json(out / "compare.json", {"runs": names, "scores": [row.to_dict() for row in rows]})

    # The same scores with the paper's figures, for people.
    page = _template().render(
        runs=list(zip(names, runs, strict=True)),
        sections=_sections(runs, names),
        rows=rows,
        first=names[0],
        accuracy=_accuracy_name(runs),
    )
    write_text(out / "index.html", page)
    return out / "index.html"


def smoothed(values: list[float]) -> list[float]:
    """An exponential average that starts at the first value."""
    result: list[float] = []
    for value in values:
        if result:
            value = _SMOOTHING * result[-1] + (1 - _SMOOTHING) * value
        result.append(value)
    return result


def _template() -> jinja2.Template:
    source = resources.files("leafzoom.evaluation") / "compare.html"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    return environment.from_string(source.read_text(encoding="utf-8"))


def _sections(runs: Sequence[RunRecord], names: Sequence[str]) -> list[_Section]:
    """The paper's figures, without those that no run has values for."""
    sections = []
    accuracy = _accuracy_name(runs)
    for title, lines in _figure_lines(_scales(runs), accuracy).items():
        drawn = []
        for index, (run, name) in enumerate(zip(runs, names, strict=True)):
            for line in lines:
                # Runs may have other numbers of scales, or no validation part.
                logged = line.in_log_of(run)
                if logged:
                    curve_name = f"{name}: {logged.name}" if len(lines) > 1 else name
                    drawn.append(_curve(run, logged, curve_name, colour=index))

        if drawn:
            figure = curves(drawn, title, "epoch of the alternation")
            sections.append(_Section(title, figure))
    return sections


def _scales(runs: Sequence[RunRecord]) -> int:
    """The greatest number of scales of which a run has logged a loss."""
    scales = 0
    for run in runs:
        for _, metric in run.log:
            if "_loss_scale" in metric:
                scales = max(scales, int(metric[-1]))
    return scales


def _accuracy_name(runs: Sequence[RunRecord]) -> str:
    """Exact match, which is top-1 accuracy where all runs know one class a photograph."""
    return "top-1 accuracy" if all(run.single_label for run in runs) else "exact match"


def _figure_lines(scales: int, accuracy: str) -> dict[str, list[_Line]]:
    """The lines of the paper's figures, by title."""
    figures: dict[str, list[_Line]] = {}

    # Figures 7 and 8: the finer scales.
    for scale in range(2, scales + 1):
        number = {2: " (figure 7)", 3: " (figure 8)"}.get(scale, "")
        title = f"Validation {accuracy} of scale {scale}{number}"
        figures[title] = [_Line(f"scale {scale}", f"select_exact_match_scale{scale}")]

    for scale in range(1, scales + 1):
        # Figures 9 and 10: training beside validation.
        title = f"Training and validation {accuracy} of scale {scale} (figures 9 and 10)"
        figures[title] = _validation_and_training(f"exact_match_scale{scale}")

    for scale in range(1, scales + 1):
        title = f"Classifier loss of scale {scale} (figure 11)"
        figures[title] = _validation_and_training(f"loss_scale{scale}")

    # Figure 12: the loss that asks every scale to do better than the one before.
    for scale in range(1, scales):
        title = f"Ranking loss of scales {scale} and {scale + 1} a photograph (figure 12)"
        lines = _validation_and_training(f"ranking_loss{scale}{scale + 1}")

        # Older runs logged it as the recipe reduces a batch, which may be a sum.
        figures[title] = [replace(line, otherwise=None) for line in lines]

    return figures


def _validation_and_training(metric: str) -> list[_Line]:
    """One metric on both parts, in eval(); older runs have the training's running mean instead."""
    running = _Line("training, in train()", f"train_{metric}", dashed=True)
    return [
        _Line("validation", f"select_{metric}"),
        _Line("training", f"sample_{metric}", dashed=True, otherwise=running),
    ]


def _curve(run: RunRecord, line: _Line, name: str, *, colour: int) -> Curve:
    """A run's values of a line's metric."""
    points = run.log["alternation", line.metric]
    values = [value for _, value in points]
    return Curve(
        name=name,
        epochs=[epoch for epoch, _ in points],
        raw=values,
        smooth=smoothed(values),
        colour=colour,
        dashed=line.dashed,
    )


def _score_rows(runs: Sequence[RunRecord], names: Sequence[str]) -> list[_ScoreRow]:
    """A row a run and head."""
    first = runs[0]
    rows = []
    for run, name in zip(runs, names, strict=True):
        is_paired = run is not first and run.has_same_validation_part(first)
        reference = first if is_paired else None
        rows += [_score_row(run, name, head, reference) for head in run.logits]
    return rows


def _plain_answers(run: RunRecord, logits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Answers [N, L]: a logit above 0 is a probability above one half."""
    return most_probable(logits) if run.single_label else logits > 0


def _score_row(run: RunRecord, name: str, head: str, reference: RunRecord | None) -> _ScoreRow:
    """A head's scores, and the difference to the same head of a reference, if there is one."""
    answers = {"run": _plain_answers(run, run.logits[head])}
    if reference is not None and head in reference.logits:
        answers["reference"] = _plain_answers(reference, reference.logits[head])
    resampled = resample_scores(run.targets, answers)

    exact_match = _exact_match(run.targets, answers["run"])

    # Micro F1 is computed from sums over all labels.
    true_positives = (answers["run"] & (run.targets > 0)).sum()
    positives = answers["run"].sum() + run.targets.sum()
    return _ScoreRow(
        run=name,
        head=head,
        photographs=len(run.image_names),
        exact_match=exact_match,
        interval=percentile_interval(resampled["run"].exact_match),
        micro_f1=float(2 * true_positives / max(positives, 1)),
        difference=_difference(run.targets, answers, resampled),
        has_one_label=run.single_label,
    )


def _difference(
    targets: NDArray[np.uint8],
    answers: dict[str, NDArray[np.bool_]],
    resampled: dict[str, ResampledScores],
) -> Difference | None:
    """The run's exact match minus the reference's; None without a reference."""
    if "reference" not in answers:
        return None

    exact_matches = {key: _exact_match(targets, values) for key, values in answers.items()}
    return paired_difference(
        exact_matches["run"] - exact_matches["reference"],
        resampled["run"].exact_match,
        resampled["reference"].exact_match,
    )


def _exact_match(targets: NDArray[np.uint8], answers: NDArray[np.bool_]) -> float:
    return float((answers == targets).all(axis=1).mean())


def _distinct_names(names: list[str]) -> list[str]:
    """The names, numbered where several are alike."""
    distinct = []
    for number, name in enumerate(names, start=1):
        distinct.append(name if names.count(name) == 1 else f"{name} ({number})")
    return distinct
