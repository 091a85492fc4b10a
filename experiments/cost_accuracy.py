"""What is the exact match for the cost? python -m experiments.cost_accuracy DATA [--keep FOLDER]

Compares the model that ships (one, two and three looks) with plain networks that look once
(`weights/lite0-224-fine-tuned` and `weights/lite2-224-fine-tuned`), each with mirror images and
without. Exact match is of `inner-validation`, fusions and decisions out of fold. Multiply-adds are
counted with torch. Times are PyTorch's in one process and one thread, the networks in turns, as
ratios to the first one. The points of the early exit and of int8 are made from
results/experiments/early-exit.json and results/variants.json, so run these programs before. Writes
results/experiments/cost-accuracy.json and docs/experiments/cost-accuracy.svg.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from experiments.costs import Work, multiply_adds, ratio_quartiles, seconds_in_turns
from experiments.head_logits import MIRRORS, HeadLogits, logits_of_model, plain_backbone
from experiments.publishing import (
    new_figure,
    result_path,
    save_figure,
    style_axes,
    write_result,
)
from leafzoom.evaluation.bootstrap import percentile_interval, resample_means
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.outputs import BACKBONE_HEAD
from tools.model_digest import model_digest
from tools.out_of_fold import decide_out_of_fold
from tools.provenance import ROOT, commit, machine

__all__ = ["main"]

_NAME = "cost-accuracy"
_BATCH_SIZE = 16
_ROUNDS = 9
_WARM_UP_ROUNDS = 1
_THREADS = 1
_PLAIN = {"plain Lite0": "lite0-224-fine-tuned", "plain Lite2": "lite2-224-fine-tuned"}
_LOOKS = {"one look": "scale1", "two looks": "fusion12", "three looks": "fusion123"}
_EARLY_EXIT = "three looks, early exit"
_INT8 = "three looks, int8"

# Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = {"plain Lite0": "#E69F00", "plain Lite2": "#CC79A7", "looks": "#0072B2"}
_TICKS = {"multiply_adds": (0.4, 0.6, 1, 1.5, 2.5), "time_ratio": (1, 1.5, 2, 3, 4, 6, 8)}
_LABEL_OFFSETS = {
    "one look": (9, -4),
    "one look, mirrored": (9, -4),
    "two looks": (9, 2),
    "two looks, mirrored": (9, 4),
    "three looks": (9, 4),
    "three looks, mirrored": (9, 0),
    _EARLY_EXIT: (5, -29),
    _INT8: (9, -9),
}
_TIME_LABEL_OFFSETS = {**_LABEL_OFFSETS, _EARLY_EXIT: (5, -14), _INT8: (-9, -4)}
_PLAIN_LABEL_OFFSET = (9, -4)

_MARKERS = {_EARLY_EXIT: "D", _INT8: "s"}
_BILLION = 1e9

Right = dict[str, NDArray[np.bool_]]


def main() -> None:
    """Score, count, time, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the networks' logits")
    arguments = parser.parse_args()

    torch.set_num_threads(_THREADS)
    right, mirrors = _right_answers(arguments.data, arguments.keep)
    works = _works()
    with torch.inference_mode():
        counted = {name: multiply_adds(work, _BATCH_SIZE) for name, work in works.items()}
        seconds = seconds_in_turns(works, _ROUNDS, _WARM_UP_ROUNDS)

    ratios = ratio_quartiles(seconds, next(iter(works)))
    points = {name: _point(name, right, counted[name], ratios[name]) for name in works}
    one_look = _point_name("one look", mirrors)
    shipped = _point_name("three looks", mirrors)
    points |= {
        _EARLY_EXIT: _early_exit_point(points[one_look], points[shipped]),
        _INT8: _int8_point(points[shipped]),
    }
    result = {
        "name": _NAME,
        "title": "Exact match for the cost",
        "command": "python -m experiments.cost_accuracy DATA",
        "commit": commit("src", "experiments", "tools"),
        "model_digest": model_digest(bundled_model()),
        "machine": machine(),
        "photographs": len(next(iter(right.values()))),
        "batch": _BATCH_SIZE,
        "rounds": _ROUNDS,
        "threads": _THREADS,
        "torch": torch.__version__,
        "points": points,
        "shipped": shipped,
        "two_looks_less_the_shipped": _difference(right["two looks"], right[shipped]),
        "mirror_images": {name: _of_mirrors(name, right) for name in (*_PLAIN, *_LOOKS)},
    }
    write_result(_NAME, result)
    _draw(points)
    for name, point in points.items():
        print(name, point)


# The answers.


def _right_answers(data: Path, keep: Path | None) -> tuple[Right, int]:
    """Whether each network answers each photograph of `inner-validation` rightly, [n].

    And how many images of a photograph the shipped model looks at.
    """
    shipped = bundled_model()
    manifest = load_checkpoint(shipped).manifest
    logits = logits_of_model(shipped, data, keep)

    right: Right = {}
    for name, file in _PLAIN.items():
        plain = logits_of_model(_weights(file), data, keep)
        if not np.array_equal(plain.targets, logits.targets):
            raise SystemExit(f"{file} was validated on other photographs than the shipped model")
        right |= _right(name, BACKBONE_HEAD, plain, manifest)
    for name, head in _LOOKS.items():
        right |= _right(name, head, logits, manifest)
    return right, logits.tta


def _right(name: str, head: str, logits: HeadLogits, manifest: Manifest) -> Right:
    """Of one head, without mirror images and with them."""
    right = {}
    for point, values in (
        (name, logits.plain[head]),
        (f"{name}, mirrored", logits.mirrored[head]),
    ):
        answers = decide_out_of_fold(values, logits.targets, manifest)
        right[point] = (answers == logits.targets).all(axis=1)
    return right


# The costs.


def _weights(file: str) -> Path:
    return ROOT / "weights" / f"{file}.safetensors"


def _works() -> dict[str, Work]:
    """What is counted and timed: every network on one batch of noise, the first one first."""
    # The time depends on neither the weights nor the pictures.
    torch.manual_seed(0)
    works = {}
    for name, file in _PLAIN.items():
        for mirrors in (1, MIRRORS):
            works[_point_name(name, mirrors)] = _plain_work(_weights(file), mirrors)
    for scales, name in enumerate(_LOOKS, start=1):
        for mirrors in (1, MIRRORS):
            works[_point_name(name, mirrors)] = _looks_work(scales, mirrors)
    return works


def _point_name(name: str, mirrors: int) -> str:
    return name if mirrors == 1 else f"{name}, mirrored"


def _noise(side: int) -> Tensor:
    return torch.randint(0, 256, (_BATCH_SIZE, side, side, 3), dtype=torch.uint8)


def _plain_work(weights: Path, mirrors: int) -> Work:
    """From sources to the logits of a plain network."""
    racnn, backbone = plain_backbone(load_checkpoint(weights))
    # As a shipped file has it; the training's file has its batch norms still.
    backbone.fold_batch_norm()
    backbone.to(memory_format=torch.channels_last)
    sources = _noise(racnn.source_size)

    def work() -> object:
        return backbone(racnn.whole_view(racnn.normalise_pixels(sources), mirrors).image).logits

    return work


def _looks_work(scales: int, mirrors: int) -> Work:
    """From sources to the logits of the first scales of the shipped model."""
    racnn = network_from_checkpoint(load_checkpoint(bundled_model())).racnn
    racnn.backbones.to(memory_format=torch.channels_last)
    sources = _noise(racnn.source_size)

    def work() -> object:
        state = racnn.start(racnn.normalise_pixels(sources), mirrors)
        for _ in range(scales - 1):
            state = racnn.advance(state, racnn.propose(state))
        return state.logits

    return work


# The points.


def _of_mirrors(name: str, right: Right) -> dict[str, Any]:
    """What a network's mirror images add to its exact match, paired."""
    return _difference(right[f"{name}, mirrored"], right[name])


def _difference(right: NDArray[np.bool_], other: NDArray[np.bool_]) -> dict[str, Any]:
    """A difference of exact match, with its paired 95 % interval."""
    change = right.astype(np.float64) - other
    interval = percentile_interval(resample_means({"change": change})["change"]).to_list()
    return {
        "difference": round(float(change.mean()), 4),
        "interval": [round(bound, 4) for bound in interval],
    }


def _point(name: str, right: Right, counted: float, ratios: list[float]) -> dict[str, Any]:
    """A network's cost and exact match, and its difference from the plain Lite2 with mirrors."""
    return {
        "multiply_adds": round(counted),
        "time_ratio": ratios[1],
        "time_ratio_quartiles": [ratios[0], ratios[2]],
        "exact_match": round(float(right[name].mean()), 4),
        **_difference(right[name], right["plain Lite2, mirrored"]),
    }


def _early_exit_point(one_look: dict[str, Any], all_looks: dict[str, Any]) -> dict[str, Any]:
    """The model's early exit: one look, and all looks for the photographs that do not stop."""
    measured = json.loads(result_path("early-exit").read_text(encoding="utf-8"))["fitted"]
    goes_on = 1 - measured["exits"]

    def mean(cost: str) -> float:
        return float(one_look[cost] + goes_on * all_looks[cost])

    return {
        "multiply_adds": round(mean("multiply_adds")),
        "time_ratio": round(mean("time_ratio"), 3),
        "exact_match": round(all_looks["exact_match"] + measured["change"], 4),
    }


def _int8_point(all_looks: dict[str, Any]) -> dict[str, Any]:
    """The model in eight-bit integers: as many multiply-adds, in less time."""
    measured = json.loads((ROOT / "results" / "variants.json").read_text(encoding="utf-8"))
    exported = measured["exported"]
    time_ratios = measured["variants"][exported["variant"]]["time_over_the_shipped"]
    return {
        "multiply_adds": all_looks["multiply_adds"],
        "time_ratio": round(all_looks["time_ratio"] * time_ratios[f"batch {_BATCH_SIZE}"][1], 3),
        "exact_match": round(all_looks["exact_match"] + exported["change"], 4),
    }


# The figure.


def _draw(points: dict[str, dict[str, Any]]) -> None:
    """Exact match against multiply-adds, and against time."""
    figure = new_figure(11, 4.6)
    by_work, by_time = figure.subplots(1, 2, sharey=True)
    _draw_points(by_work, points, "multiply_adds", _LABEL_OFFSETS)
    _draw_points(by_time, points, "time_ratio", _TIME_LABEL_OFFSETS)

    by_work.set_xlabel("multiply-adds a photograph, billions")
    by_time.set_xlabel("time a photograph (1 = plain Lite0)")
    by_work.set_ylabel("exact match on inner-validation, %")
    style_axes([by_work, by_time])
    save_figure(figure, _NAME)


def _draw_points(
    axes: Axes,
    points: dict[str, dict[str, Any]],
    cost: str,
    offsets: dict[str, tuple[int, int]],
) -> None:
    """Filled: with mirror images; hollow: without; a line joins the looks."""
    divisor = _BILLION if cost == "multiply_adds" else 1.0
    for mirrored in ("", ", mirrored"):
        looks = [points[f"{name}{mirrored}"] for name in _LOOKS]
        axes.plot(
            [point[cost] / divisor for point in looks],
            [100 * point["exact_match"] for point in looks],
            "-" if mirrored else "--",
            color=_COLOURS["looks"],
            lw=1,
        )

    for name, point in points.items():
        colour = _COLOURS.get(name.removesuffix(", mirrored"), _COLOURS["looks"])
        is_filled = name.endswith("mirrored") or name in _MARKERS
        x = point[cost] / divisor
        y = 100 * point["exact_match"]
        axes.plot(
            x, y, _MARKERS.get(name, "o"), color=colour, mfc=colour if is_filled else "white", ms=7
        )

        offset = offsets.get(name, _PLAIN_LABEL_OFFSET)
        axes.annotate(
            name,
            (x, y),
            xytext=offset,
            textcoords="offset points",
            ha="left" if offset[0] > 0 else "right",
            fontsize=8,
            color=colour,
        )

    # Room for the labels on the right.
    axes.set_xscale("log")
    least, *_, greatest = _TICKS[cost]
    axes.set_xlim(0.85 * least, 2 * greatest)
    axes.set_xticks(_TICKS[cost], [f"{tick:g}" for tick in _TICKS[cost]])
    axes.minorticks_off()


if __name__ == "__main__":
    main()
