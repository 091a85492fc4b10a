"""The evaluation as one page that needs nothing else: tables 1-6, figures, zoom value, gallery."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import subset
from leafzoom.dataset.table import Table
from leafzoom.evaluation import figures
from leafzoom.evaluation.evaluate import Evaluation, uncertainty, verdict_shares, write_evaluation
from leafzoom.evaluation.gallery import Exhibit, choose, exhibit
from leafzoom.evaluation.zoom_value import ZoomValue, zoom_value
from leafzoom.labels import combination_probabilities
from leafzoom.metrics import HeadMetrics
from leafzoom.model.fusion import FusedRACNN
from leafzoom.storage import write_text

__all__ = ["report", "write_report"]

_SHOWN = 8
_GROUPS = {
    "right": ("Right", "Of every combination of labels in turn, drawn at random."),
    "wrong": ("Wrong", "Drawn at random from all wrong answers."),
    "uncertain": ("Most uncertain", "The answers with the least confidence."),
    "suspect": (
        "Suspect labels",
        "Answers nine tenths sure of something else than the given label, the surest first. Either the model is "
        "wrong and sure of it, or the label deserves a second look.",
    ),
}


def report(
    evaluation: Evaluation,
    cache: Cache,
    folder: Path,
    dataset: dict[str, Any],
    model: dict[str, Any],
    *,
    zooming: FusedRACNN | None = None,
    zooms: int = 500,
    lesions: Mapping[str, NDArray[np.float64]] | None = None,
    film: Path | None = None,
) -> ZoomValue | None:
    """Write `metrics.json`, `predictions.csv` and `index.html`, and give the zoom value that they hold.

    Args:
        evaluation: of photographs of the cache.
        cache: sources and files.
        folder: made if it is not there.
        dataset, model: what the report says of them.
        zooming: the network, if it can be given other boxes, for the zoom value.
        zooms: how many photographs that is measured on.
        lesions: known ones, {image: [m, 4]} in photo pixels, for the pointing game.
        film: of the run's attention, a GIF; left out where the file is missing.

    Raises:
        LeafzoomError: the folder cannot be written.
    """
    sure = uncertainty(evaluation)
    zoom = None
    if zooming is not None and zooms:
        chosen = set(subset(cache.table.take(evaluation.images), zooms))
        order = [place for place, image in enumerate(evaluation.images) if image in chosen]
        rows = {image: row for row, image in enumerate(cache.table.images)}
        looked_at = [rows[evaluation.images[place]] for place in order]
        known = [_shares(lesions or {}, cache, row) for row in looked_at]
        zoom = zoom_value(zooming, cache.sources[looked_at], evaluation.targets[order], lesions=known)
    write_evaluation(evaluation, sure, folder, dataset, model, zoom)
    write_report(evaluation, sure, zoom, cache.table, folder / "index.html", dataset, model, film=film)
    return zoom


def _shares(lesions: Mapping[str, NDArray[np.float64]], cache: Cache, row: int) -> NDArray[np.float64]:
    """The known lesions of a row of the cache, [m, 4], as shares of the photo's sides."""
    boxes = lesions.get(cache.table.images[row], np.zeros((0, 4)))
    shares: NDArray[np.float64] = boxes / np.tile(cache.photo_sizes[row], 2)
    return shares


def write_report(
    evaluation: Evaluation,
    sure: dict[str, Any],
    zoom: ZoomValue | None,
    table: Table,
    path: Path,
    dataset: dict[str, Any],
    model: dict[str, Any],
    *,
    film: Path | None = None,
) -> None:
    """Write `index.html`.

    Args:
        evaluation: every head's answers and scores.
        sure: what `uncertainty` gives for it.
        zoom: zoom value, where the network could be given other boxes.
        table: where the photographs' files are.
        path: of the page.
        dataset, model: as in `metrics.json`.
        film: of the run's attention, a GIF; left out where the file is missing.

    Raises:
        LeafzoomError: the page cannot be written.
    """
    manifest = evaluation.manifest
    head = next(reversed(evaluation.probabilities))
    fitted, intervals = evaluation.heads_fitted[head], sure["intervals"]["heads_fitted"][head]
    answers = evaluation.answers_fitted[head]
    shares = combination_probabilities(evaluation.probabilities[head], manifest.decisions[head], manifest.labels)
    place = {combination: index for index, combination in enumerate(manifest.labels.combinations)}
    confidence = shares[np.arange(len(answers)), [place[tuple(row)] for row in answers.tolist()]]
    right = (answers == evaluation.targets).all(axis=1)
    calibration, error = figures.calibration(confidence, right)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    template = environment.from_string(
        (resources.files("leafzoom.evaluation") / "report.html").read_text(encoding="utf-8")
    )
    page = template.render(
        title=f"{model.get('name', manifest.name)} on {dataset['split']}",
        photographs=len(evaluation.images),
        dataset=dataset,
        model=model,
        head=head,
        scales=manifest.scales,
        cards=[
            _card("exact match", fitted.exact_match, intervals["exact_match"], "all labels of a photograph right"),
            _card("micro F1", fitted.micro.f1, intervals["micro_f1"], "over all labels given or said"),
            _card("macro F1", fitted.macro.f1, intervals["macro_f1"], "the labels' mean, rare ones alike"),
        ],
        heads=[_head_row(evaluation, sure, name) for name in evaluation.probabilities],
        differences=_differences(sure),
        verdicts=_verdicts(evaluation),
        zoom=_zoom(zoom) if zoom else None,
        tables=[_label_table(evaluation, sure, name) for name in evaluation.probabilities],
        precision_recall=figures.precision_recall(
            evaluation.targets, evaluation.probabilities, manifest.labels.names
        ),
        confusion=figures.confusion(evaluation.targets, answers, manifest.labels),
        calibration=calibration,
        calibration_error=f"{error:.3f}",
        gallery=[
            {"title": _GROUPS[group][0], "note": _GROUPS[group][1], "exhibits": exhibits}
            for group, exhibits in _gallery(evaluation, table, shares, confidence).items()
        ],
        film=base64.b64encode(film.read_bytes()).decode("ascii") if film and film.is_file() else None,
        licence=manifest.licence,
    )
    write_text(path, page)


def _gallery(
    evaluation: Evaluation, table: Table, shares: np.ndarray, confidence: np.ndarray
) -> dict[str, list[Exhibit]]:
    """The chosen photographs of every group, drawn."""
    head = next(reversed(evaluation.probabilities))
    answers, labels = evaluation.answers_fitted[head], evaluation.manifest.labels
    files = {row.image: row.path for row in table.rows}
    chosen = choose(evaluation.targets, answers, shares, labels, _SHOWN)
    scales = [name for name in evaluation.probabilities if name.startswith("scale")]
    drawn: dict[str, list[Exhibit]] = {}
    for group, rows in chosen.items():
        found = [
            exhibit(
                files[evaluation.images[row]],
                evaluation.images[row],
                given=tuple(labels.decode(evaluation.targets[row])),
                said=tuple(labels.decode(answers[row])),
                confidence=float(confidence[row]),
                boxes=[boxes[row] for boxes in evaluation.boxes],
                scales=[
                    dict(zip(labels.names, evaluation.probabilities[name][row].tolist(), strict=True))
                    for name in scales
                ]
                if len(scales) == evaluation.manifest.scales
                else [{} for _ in range(evaluation.manifest.scales)],
            )
            for row in rows
        ]
        drawn[group] = [item for item in found if item is not None]
    return drawn


def _card(name: str, value: float, bounds: list[float], note: str) -> dict[str, str]:
    return {"name": f"{name} ({_interval(bounds)})", "value": f"{value:.3f}", "note": note}


def _head_row(evaluation: Evaluation, sure: dict[str, Any], head: str) -> dict[str, str]:
    plain, fitted = evaluation.heads[head], evaluation.heads_fitted[head]
    return {
        "head": head,
        "exact": f"{plain.exact_match:.3f}",
        "exact_interval": _interval(sure["intervals"]["heads"][head]["exact_match"]),
        "micro": f"{plain.micro.f1:.3f}",
        "macro": f"{plain.macro.f1:.3f}",
        "map": f"{plain.map:.3f}",
        "exact_fitted": f"{fitted.exact_match:.3f}",
        "exact_fitted_interval": _interval(sure["intervals"]["heads_fitted"][head]["exact_match"]),
        "micro_fitted": f"{fitted.micro.f1:.3f}",
        "macro_fitted": f"{fitted.macro.f1:.3f}",
    }


def _differences(sure: dict[str, Any]) -> list[dict[str, str]]:
    """The last fusion against every other head, and each scale against the first."""
    found = sure["differences"]
    last = list(sure["intervals"]["heads"])[-1]
    pairs = [pair for pair in found["heads"] if pair.startswith(last) or pair.endswith(" - scale1")]
    return [
        {
            "pair": pair.replace(" - ", " \N{MINUS SIGN} "),
            "plain": f"{found['heads'][pair]['exact_match']['difference']:+.3f}",
            "plain_interval": _interval(found["heads"][pair]["exact_match"]["interval"], "+"),
            "fitted": f"{found['heads_fitted'][pair]['exact_match']['difference']:+.3f}",
            "fitted_interval": _interval(found["heads_fitted"][pair]["exact_match"]["interval"], "+"),
        }
        for pair in reversed(pairs)
    ]


def _verdicts(evaluation: Evaluation) -> list[dict[str, str]]:
    """How many photographs get which verdict, and how many of the best answers are right there."""
    return [
        {
            "verdict": verdict.replace("_", " "),
            "photographs": str(said["photographs"]),
            "share": f"{said['photographs'] / len(evaluation.images):.1%}",
            "right": "" if said["exact_match"] is None else f"{said['exact_match']:.1%}",
        }
        for verdict, said in verdict_shares(evaluation).items()
    ]


def _zoom(zoom: ZoomValue) -> dict[str, Any]:
    heads = list(zoom.exact_match["learned"])
    return {
        "photographs": zoom.photographs,
        "figure": figures.zoom_value_bars(zoom.exact_match, zoom.intervals, "exact match"),
        "heads": heads,
        "rows": [
            {
                "kind": kind,
                "cells": [
                    f"{gain[head]['difference']:+.3f} ({_interval(gain[head]['interval'], '+')})"  # type: ignore[arg-type]
                    for head in heads
                ],
            }
            for kind, gain in zoom.gain.items()
        ],
        "pointing": [
            {
                "kind": kind,
                "cells": [
                    (f"{share:.3f} ({_interval(zoom.pointing_intervals[kind][scale])})", _gain(zoom, kind, scale))
                    for scale, share in zooms.items()
                ],
            }
            for kind, zooms in zoom.pointing.items()
        ],
        "pointing_photographs": zoom.pointing_photographs,
        "scales": list(next(iter(zoom.pointing.values()), ())),
    }


def _gain(zoom: ZoomValue, kind: str, scale: str) -> str:
    if kind not in zoom.pointing_gain:
        return ""
    gain = zoom.pointing_gain[kind][scale]
    return f"{gain['difference']:+.3f} ({_interval(gain['interval'], '+')})"  # type: ignore[arg-type]


def _label_table(evaluation: Evaluation, sure: dict[str, Any], head: str) -> dict[str, Any]:
    plain, fitted = evaluation.heads[head], evaluation.heads_fitted[head]
    bounds = sure["intervals"]["heads_fitted"][head]["per_label_f1"]
    rows = [
        {
            "name": label.replace("_", " "),
            "sum": False,
            "cells": [*_cells(plain, label), *_cells(fitted, label), _interval(bounds[label]), score.support],
        }
        for label, score in plain.per_label.items()
    ]
    for average in ("micro", "macro", "weighted", "samples"):
        support = getattr(plain, average).support
        rows.append(
            {
                "name": f"{average} average",
                "sum": True,
                "cells": [*_cells(plain, average), *_cells(fitted, average), "", support],
            }
        )
    return {"head": head, "rows": rows}


def _cells(metrics: HeadMetrics, name: str) -> list[str]:
    score = metrics.per_label[name] if name in metrics.per_label else getattr(metrics, name)
    return [f"{value:.3f}" for value in (score.precision, score.recall, score.f1)]


def _interval(bounds: list[float], sign: str = "") -> str:
    return " to ".join(f"{bound:{sign}.3f}" for bound in bounds)
