"""Do larger sources help, and what do the boxes hold of lesions?

    python -m experiments.closer DATA LESIONS640 LESIONS416 [--model MODEL]

LESIONS640 and LESIONS416 are folders of sharper copies of photographs of DATA, with the same names
and labels, and with boxes of lesions. The model's answers to them are scored with sources of
several sides, beside its answers to the copies in DATA; what its boxes hold is measured with the
smallest and the largest side. `unseen` are the photographs that the shipped model was not trained
on: `inner-validation`, which has chosen its thresholds. Writes results/experiments/closer.json and
docs/experiments/closer.svg.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.publishing import new_figure, save_figure, style_axes, write_result
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.lesions import read_labelled_lesions
from leafzoom.dataset.split import training_split
from leafzoom.evaluation.bootstrap import paired_difference, percentile_interval, resample_means
from leafzoom.evaluation.evaluate import evaluate
from leafzoom.evaluation.lesion_coverage import LesionCoverage, measure_lesion_coverage
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import Network
from leafzoom.inference.predictor import Predictor
from leafzoom.model_file.paths import model_path
from leafzoom.source_size import SourceSize
from tools.evaluation_data import open_data
from tools.model_digest import model_digest
from tools.provenance import commit, machine

__all__ = ["exact_answers", "main", "measure_closer"]

_NAME = "closer"
_SIDES = {"lesions640": (256, 384, 512, 640), "lesions416": (256, 384)}
_COPY = "competition's copy"
_KINDS = {
    "learned": "#0072B2",
    "evidence": "#009E73",
    "activation": "#56B4E9",
    "centre": "#E69F00",
    "random": "#999999",
}
_KIND_NAMES = {
    "evidence": "around the last look's maximum",
    "activation": "around the first look's maximum",
}
_SET_COLOURS = {"lesions640": "#0072B2", "lesions416": "#D55E00"}

Hits = dict[str, NDArray[np.float64]]
"""Whether each photograph's answer is exact, 0 or 1, by the copy and the source's side."""


def main() -> None:
    """Measure, write the result, draw it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("lesions640", type=Path)
    parser.add_argument("lesions416", type=Path)
    parser.add_argument("--model", default="bundled")
    arguments = parser.parse_args()

    folders = {"lesions640": arguments.lesions640, "lesions416": arguments.lesions416}
    result = measure_closer(arguments.model, arguments.data, folders)
    print(write_result(_NAME, result))
    print(draw(result))


def measure_closer(model: str, data: Path, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Score answers and boxes with sources of several sides.

    Args:
        model: of `open_network`.
        data: the photographs' small copies.
        folders: {set: folder of the sharp copies}.
    """
    network = open_network(model)
    whole = open_data(data, network.manifest.source_size)
    unseen = set(training_split(whole, "all").validation)

    sets = {}
    for name, folder in folders.items():
        cache = open_data(folder, network.manifest.source_size)
        names = cache.table.image_names
        hits = _hits(network, whole, cache, _SIDES[name])
        is_unseen = np.array([image_name in unseen for image_name in names])
        unseen_hits = {key: values[is_unseen] for key, values in hits.items()}
        sets[name] = {
            "photographs": len(names),
            "unseen": int(is_unseen.sum()),
            "all": _rows(hits),
            "unseen_rows": _rows(unseen_hits),
            "lesions": _lesions(network, folder, cache, _SIDES[name]),
        }
        print(f"{name}: {sets[name]['all']}", flush=True)
    return {
        "name": _NAME,
        "command": f"python -m experiments.closer DATA {' '.join(map(str.upper, folders))}",
        "commit": commit(),
        "model_digest": model_digest(model_path(model)),
        "machine": machine(),
        "model": model,
        "sets": sets,
    }


def _hits(network: Network, whole: Cache, sharp: Cache, sides: Sequence[int]) -> Hits:
    """Whether the fused answers are exact, on the competition's copies and on the sharp ones."""
    names = sharp.table.image_names
    hits = {_COPY: exact_answers(network, whole, names)}
    for side in sides:
        hits[str(side)] = exact_answers(network, sharp, names, SourceSize(side, side))
    return hits


def exact_answers(
    network: Network, cache: Cache, names: tuple[str, ...], sizes: SourceSize | None = None
) -> NDArray[np.float64]:
    """Whether the answers of `predict` are exact, [N]."""
    evaluation = evaluate(network, cache, names, sizes=sizes)
    answers = evaluation.answers_fitted[evaluation.head]
    return np.asarray((answers == evaluation.targets).all(axis=1), np.float64)


def _rows(hits: Hits) -> dict[str, dict[str, Any]]:
    """Each copy's exact match, and its difference from the sharp one with the smallest source."""
    reference = list(hits)[1]
    resampled = resample_means(hits)
    rows = {}
    for key, values in hits.items():
        difference = paired_difference(
            float(values.mean() - hits[reference].mean()), resampled[key], resampled[reference]
        )
        rows[key] = {
            "exact_match": float(values.mean()),
            "interval": percentile_interval(resampled[key]).to_list(),
            f"less {reference}": difference.to_dict(),
        }
    return rows


def _lesions(
    network: Network, folder: Path, cache: Cache, sides: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """What the boxes hold, with the smallest and the largest source."""
    lesions = read_labelled_lesions(folder, cache)
    coverage: dict[str, dict[str, Any]] = {}
    for side in (sides[0], sides[-1]):
        predictor = Predictor(network, source_size=side)
        measured = measure_lesion_coverage(predictor, cache.table, lesions)
        assert isinstance(measured, LesionCoverage)
        coverage[str(side)] = {
            "photographs": measured.photographs,
            "lesions": measured.lesions,
            "left_out": measured.left_out,
            "looks": {look: _plain(kinds) for look, kinds in measured.looks.items()},
            "by_label": {label: _plain(looks) for label, looks in measured.by_label.items()},
        }
    return coverage


def _plain(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Dataclasses as dictionaries."""
    return {key: asdict(value) for key, value in entries.items()}


def draw(result: Mapping[str, Any]) -> Path:
    """Draw source size against accuracy, and box area against lesions held."""
    figure = new_figure(11.4, 3.9)
    accuracy, held, centres = figure.subplots(1, 3)
    for name, entry in result["sets"].items():
        _draw_accuracy(accuracy, name, entry)
    accuracy.set_xlabel("side of the source in pixels")
    accuracy.set_ylabel("exact match")
    accuracy.set_ylim(0.85, 1.0)
    accuracy.legend(frameon=False, fontsize=8, loc="lower right")

    looks = result["sets"]["lesions640"]["lesions"]["640"]["looks"]
    for axes, value, label in (
        (held, "any_inside", "photographs with a lesion inside"),
        (centres, "centre_hits", "photographs whose box has its centre on one"),
    ):
        for kind in _KINDS:
            _draw_kind(axes, looks, kind, value)
        axes.set_xscale("log")
        axes.set_xticks([0.06, 0.19, 0.44], ["6 %", "19 %", "44 %"])
        axes.minorticks_off()
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("area of the box: closest look, second, first zoom")
        axes.set_ylabel(label)
    held.legend(frameon=False, fontsize=8, loc="lower right")

    style_axes((accuracy, held, centres))
    return save_figure(figure, _NAME)


def _draw_accuracy(axes: Axes, name: str, entry: Mapping[str, Any]) -> None:
    """A line over the sides of a set's sources, with intervals, and its small copies' point."""
    rows = entry["all"]
    sides = [side for side in rows if side != _COPY]
    values = np.array([rows[side]["exact_match"] for side in sides])
    intervals = np.array([rows[side]["interval"] for side in sides])
    errors = np.abs(intervals.T - values)
    x = [int(side) for side in sides]
    colour = _SET_COLOURS[name]
    axes.errorbar(x, values, yerr=errors, fmt="o-", color=colour, capsize=3, label=name)
    copy = rows[_COPY]["exact_match"]
    axes.plot([256], [copy], "D", color=colour, mfc="white", ms=7, label=f"{name}: {_COPY}")


def _draw_kind(
    axes: Axes, looks: Mapping[str, Mapping[str, Mapping[str, Any]]], kind: str, value: str
) -> None:
    """A line over the looks, from the closest one to the first zoom, with intervals."""
    held = sorted((kinds[kind] for kinds in looks.values()), key=lambda one: float(one["area"]))
    areas = [one["area"] for one in held]
    values = np.array([one[value] for one in held])
    intervals = np.array([one[f"{value}_interval"] for one in held])
    axes.errorbar(
        areas,
        values,
        yerr=np.abs(intervals.T - values),
        fmt="o-",
        color=_KINDS[kind],
        capsize=3,
        label=_KIND_NAMES.get(kind, kind),
    )


if __name__ == "__main__":
    main()
