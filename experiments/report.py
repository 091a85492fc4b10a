"""Compare measured arms: python -m experiments.report RUNS [NAME...]

Writes results/experiments/NAME.json and docs/experiments/NAME.svg for every measured comparison of
comparisons.toml (or those named) from the RUNS that python -m experiments.run left.

Of every arm: exact match of each head with its fitted decision, a value a seed, and where the boxes
lie.
Of every pair: the difference in exact match of the last fusion, its 95 % interval for new seeds and
photographs, and its p-value (see `paired_difference`). With `zoom_value`: the same of the learned
boxes against others for the same classifiers, as python -m experiments.zoom_value measured them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.arm_results import ArmResult, arm_result
from experiments.definitions import Arm, Comparison, read_arms, read_comparisons
from experiments.measured_runs import MeasuredRun, find_runs
from experiments.nine_boxes import with_boxes
from experiments.plots import Pair, draw_comparison
from experiments.publishing import write_result
from experiments.statistics import PairedDifference, paired_difference, rounded

__all__ = ["OTHER_BOXES", "ComparisonResult", "HeadZoomValue", "compare", "main", "zoom_values"]

OTHER_BOXES = ("centre", "random", "response")


@dataclass(frozen=True)
class HeadZoomValue:
    """What the learned boxes are worth to one head, over seeds, at threshold 0.5.

    `exact_match`: with the learned boxes. `differences`: that less the exact match with other
    boxes.
    """

    seeds: int
    exact_match: float
    differences: dict[str, PairedDifference]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        row: dict[str, Any] = {"seeds": self.seeds, "exact_match": self.exact_match}
        return row | {kind: value.to_dict() for kind, value in self.differences.items()}


@dataclass(frozen=True)
class ComparisonResult:
    """The arms and pairs of a comparison.

    `zoom_values`: {arm: {head: value}} of the learned boxes, where the comparison asks for it.
    """

    comparison: Comparison
    arms: dict[str, ArmResult]
    pairs: list[Pair]
    zoom_values: dict[str, dict[str, HeadZoomValue]] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        # The command that trains these arms again; capitals stand for folders and files.
        comparison = self.comparison
        data = "LEAVES LEAVES/parts.json" if comparison.data == "leaves" else "DATA PARTS.json"
        names = " ".join(f"--arm {arm}" for arm in comparison.trained_arms)
        first = next(iter(self.arms.values()))

        content = {
            "name": comparison.name,
            "title": comparison.title,
            "control": comparison.control,
            "data": comparison.data,
            "command": f"python -m experiments.run {data} SHARED RUNS {names}",
            "photographs": first.correct.shape[1],
            "arms": {arm: result.to_dict() for arm, result in self.arms.items()},
            "pairs": [pair.to_dict() for pair in self.pairs],
        }
        if self.zoom_values is not None:
            content["zoom_value"] = _plain(self.zoom_values)
        return content


def main() -> None:
    """Compare, write, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()

    comparisons = read_comparisons()
    arms = read_arms()
    published = [name for name, comparison in comparisons.items() if comparison.measured]
    for name in arguments.names or published:
        if name not in comparisons:
            parser.error(f"no comparison {name}: there are {', '.join(comparisons)}")

        result = compare(comparisons[name], arms, arguments.runs)
        write_result(name, result.to_dict())
        exact_matches = {arm: row.exact_match_by_seed for arm, row in result.arms.items()}
        draw_comparison(name, comparisons[name].control, exact_matches, result.pairs)
        _print(result)


def compare(comparison: Comparison, arms: dict[str, Arm], runs: Path) -> ComparisonResult:
    """One comparison of measured arms.

    Args:
        comparison: what is compared.
        arms: all arms by name.
        runs: the folder of all runs.

    Raises:
        SystemExit: a run, or what another program measures on it, is missing, or two arms have no
            seed in common.
    """
    results = {name: _result(name, arms, runs) for name in comparison.arms}
    pairs = [
        _pair(runs, results, name, comparison.compared_with(name))
        for name in comparison.arms
        if comparison.compared_with(name) != name
    ]
    values = zoom_values(runs, comparison.trained_arms) if comparison.zoom_value else None
    return ComparisonResult(comparison, results, pairs, values)


def zoom_values(runs: Path, arms: Iterable[str]) -> dict[str, dict[str, HeadZoomValue]]:
    """What the learned boxes of arms with an APN are worth, {arm: {head: value}}.

    Raises:
        SystemExit: a run lacks zoom-value.npz.
    """
    values: dict[str, dict[str, HeadZoomValue]] = {}
    for arm in arms:
        measured_runs = find_runs(runs, arm)
        hits = _zoom_hits(measured_runs)
        for name, by_seed in hits.items():
            kind, head = name.split()
            if kind != "learned":
                continue

            # How often the learned boxes' answers are right, and how much more often than others'.
            learned = np.stack(by_seed)
            differences = {
                other: paired_difference(learned, np.stack(hits[f"{other} {head}"]))
                for other in OTHER_BOXES
            }
            value = HeadZoomValue(len(measured_runs), rounded(learned.mean()), differences)
            values.setdefault(arm, {})[head] = value
    return values


def _result(name: str, arms: dict[str, Arm], runs: Path) -> ArmResult:
    """The result of an ARM, or of an ARM:KIND, where the kind is a head or a kind of boxes."""
    # ARM:scale1 is that head of the arm, as it was trained.
    trained_arm, _, kind = name.partition(":")
    if kind.startswith("scale"):
        return arm_result(runs, arms[trained_arm], head=kind)

    # Any other kind is of boxes, which the trained networks are given instead of their own.
    result = arm_result(runs, arms[trained_arm])
    return with_boxes(runs, kind, result) if kind else result


def _pair(runs: Path, results: dict[str, ArmResult], arm: str, against: str) -> Pair:
    """One arm against another, over the seeds that both have."""
    seeds = sorted(set(results[arm].seeds) & set(results[against].seeds))
    if not seeds:
        raise SystemExit(f"{arm} and {against} have no seed in common")

    difference = paired_difference(
        results[arm].correct_with(seeds), results[against].correct_with(seeds)
    )

    # The distance of the boxes is of whole arms, whose boxes are those they were trained with.
    moves: list[float] = []
    if ":" not in arm + against:
        moves = [_median_move(runs, arm, against, seed) for seed in seeds]
    published_moves = tuple(rounded(move) for move in moves if move)
    return Pair(arm, against, difference, published_moves)


def _median_move(runs: Path, arm: str, against: str, seed: int) -> float:
    """The median distance of two arms' boxes of scale 2, in sides; 0 without boxes."""
    centres = _box_centres(MeasuredRun(runs / f"{arm}-{seed}"))
    other_centres = _box_centres(MeasuredRun(runs / f"{against}-{seed}"))
    if centres is None or other_centres is None or len(centres) != len(other_centres):
        return 0.0
    return float(np.median(np.linalg.norm(centres - other_centres, axis=1)))


def _box_centres(run: MeasuredRun) -> NDArray[np.floating] | None:
    """The centres of scale 2's boxes, [n, 2] as shares of the side; None without boxes."""
    boxes = run.arrays().get("box2")
    return None if boxes is None else np.asarray(boxes[:, :2] / run.source_size)


def _zoom_hits(measured_runs: list[MeasuredRun]) -> dict[str, list[NDArray[np.bool_]]]:
    """Whether photographs are answered exactly, {"KIND HEAD": [n] a seed}, of runs with an APN."""
    hits: dict[str, list[NDArray[np.bool_]]] = {}
    for run in measured_runs:
        if run.proposals != "apn":
            continue
        if not (run.folder / "zoom-value.npz").is_file():
            raise SystemExit(
                f"{run.folder} has no zoom-value.npz: "
                f"python -m experiments.zoom_value DATA {run.folder}"
            )
        for name, values in run.arrays("zoom-value.npz").items():
            hits.setdefault(name, []).append(values)
    return hits


def _plain(values: dict[str, dict[str, HeadZoomValue]]) -> dict[str, Any]:
    """Zoom values as JSON holds them."""
    content: dict[str, Any] = {}
    for arm, by_head in values.items():
        content[arm] = {head: value.to_dict() for head, value in by_head.items()}
    return content


def _print(result: ComparisonResult) -> None:
    """A line an arm."""
    print(result.comparison.name)
    pairs = {pair.arm: pair.difference for pair in result.pairs}
    for arm, row in result.arms.items():
        line = f"  {arm:<24} {row.to_dict()['exact_match']}"
        if arm in pairs:
            difference = pairs[arm]
            interval = list(difference.interval)
            line += f" {difference.difference:+.4f} {interval} p {difference.p}"
        print(line)


if __name__ == "__main__":
    main()
