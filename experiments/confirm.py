"""Compare whole trainings at 224 px.

    python -m experiments.confirm NAME=RUN[,RUN...]... [--to confirm]

A RUN is a run on `inner-train` whose RUN/report is what `leafzoom evaluate RUN --split
inner-test` wrote; several of a NAME are its seeds. The first NAME is the control of all others;
the ones between are compared with the last as well. All are compared on `inner-test`, and on
`inner-test` and `inner-validation` together, with fusions and decisions out of fold in the latter
(see tools/out_of_fold.py). That is fair to runs of one classifier epoch, which chose nothing else
on `inner-validation`, and favours others. Writes results/experiments/confirm.json,
docs/experiments/confirm.svg (from another start, fair.json and fair.svg); see python -m
experiments.report for the statistics.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from experiments.plots import Pair, draw_comparison
from experiments.publishing import write_result
from experiments.statistics import paired_difference
from experiments.trained_runs import TrainedRun, box_distances, read_trained_run, training_row

__all__ = ["main", "paired_by_seed"]

_TITLES = {
    "confirm": "On all photographs at 224 px",
    "fair": "On all photographs at 224 px, from scales that saw boxes anywhere",
}

Trainings = dict[str, list[TrainedRun]]


def main() -> None:
    """Read, compare, write, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN[,RUN...]")
    parser.add_argument(
        "--to", choices=list(_TITLES), default="confirm", help="whose results are written"
    )
    arguments = parser.parse_args()
    folders = _folders(parser, arguments.runs)
    trainings = {}
    for name, seeds in folders.items():
        trainings[name] = [read_trained_run(folder) for folder in seeds]
    _require_same_photographs(trainings)

    result = _result(arguments.to, trainings)
    write_result(arguments.to, result)
    for pair in (
        *result["pairs"],
        *result["pairs_with_the_last"],
        *result["both_parts"]["pairs"],
    ):
        print(pair)


def paired_by_seed(
    runs: list[TrainedRun], others: list[TrainedRun]
) -> tuple[list[TrainedRun], list[TrainedRun]]:
    """The runs of two trainings by the seeds that both have.

    A training that has one run meets every seed of the other.

    Raises:
        ValueError: they have several runs each and no seed in common.
    """
    if len(runs) == 1 or len(others) == 1:
        count = max(len(runs), len(others))
        return (
            runs * count if len(runs) == 1 else runs,
            others * count if len(others) == 1 else others,
        )

    # Several runs each: those of the same seed meet.
    by_seed = {run.seed: run for run in runs}
    others_by_seed = {run.seed: run for run in others}
    seeds = sorted(set(by_seed) & set(others_by_seed))
    if not seeds:
        raise ValueError("no seed in common")
    return [by_seed[seed] for seed in seeds], [others_by_seed[seed] for seed in seeds]


def _folders(parser: argparse.ArgumentParser, words: list[str]) -> dict[str, list[Path]]:
    """The run folders that the command line names, {NAME: [folder]}."""
    if len(words) < 2:
        parser.error("name two runs or more")

    # A missing report is found here, before any run is read.
    folders: dict[str, list[Path]] = {}
    for word in words:
        name, equals, runs = word.partition("=")
        if not equals or not name or name in folders:
            parser.error(f"{word}: NAME=RUN, every NAME once")
        folders[name] = [Path(run) for run in runs.split(",")]
        for folder in folders[name]:
            if not (folder / "report" / "predictions.csv").is_file():
                parser.error(f"{word}: there has to be a {folder}/report/predictions.csv")
    return folders


def _require_same_photographs(trainings: Trainings) -> None:
    """Refuse runs that were evaluated, or whose epochs were chosen, on different photographs."""
    runs = [run for seeds in trainings.values() for run in seeds]
    first = runs[0]
    for run in runs:
        same_test = run.image_names == first.image_names
        if not same_test or run.validation_names != first.validation_names:
            raise SystemExit(
                "not all of them were evaluated, or chosen, on the same photographs: "
                f"{run.folder} differs from {first.folder}"
            )


def _result(name: str, trainings: Trainings) -> dict[str, Any]:
    """Compare the trainings and draw them; the result in plain values for JSON."""
    # The first training is the control; those in between are compared with the last one too.
    control, *others = trainings
    last = others[-1]
    between = others[:-1]

    pairs = [_pair(trainings, arm, control) for arm in others]
    rows = {arm: training_row(runs) for arm, runs in trainings.items()}
    exact_matches = {arm: row["exact_match_by_seed"] for arm, row in rows.items()}
    draw_comparison(name, control, exact_matches, pairs)

    # Boxes are compared between the first seeds.
    first_run = trainings[control][0]
    last_boxes = trainings[last][0].boxes
    return {
        "name": name,
        "title": _TITLES[name],
        "control": control,
        "command": _command(name, trainings),
        "photographs": len(first_run.image_names),
        "arms": rows,
        "pairs": [
            pair.to_dict() | {"at_half": _differences_at_half(trainings, pair.arm, control)}
            for pair in pairs
        ],
        "pairs_with_the_last": [_pair(trainings, arm, last).to_dict() for arm in between],
        "both_parts": _both_parts(trainings),
        "boxes_from_those_of_the_last": {
            arm: box_distances(trainings[arm][0].boxes, last_boxes) for arm in between
        },
    }


def _both_parts(trainings: Trainings) -> dict[str, Any]:
    """The comparison on `inner-test` and `inner-validation` together, for JSON."""
    # Against the control, then against the last training.
    control, *others = trainings
    pairs = [_pair(trainings, arm, control, both_parts=True) for arm in others]
    pairs += [_pair(trainings, arm, others[-1], both_parts=True) for arm in others[:-1]]

    by_seed = {}
    for arm, runs in trainings.items():
        by_seed[arm] = [round(float(run.correct_both_parts.mean()), 4) for run in runs]
    return {
        "photographs": len(trainings[control][0].correct_both_parts),
        "exact_match_by_seed": by_seed,
        "pairs": [pair.to_dict() for pair in pairs],
    }


def _paired(
    trainings: Trainings, arm: str, against: str
) -> tuple[list[TrainedRun], list[TrainedRun]]:
    """The runs of two trainings by seed."""
    try:
        return paired_by_seed(trainings[arm], trainings[against])
    except ValueError as error:
        raise SystemExit(f"{arm} and {against} have {error}") from error


def _pair(trainings: Trainings, arm: str, against: str, *, both_parts: bool = False) -> Pair:
    """One training against another: the last fusion, with fitted decisions."""
    runs, others = _paired(trainings, arm, against)
    name = "correct_both_parts" if both_parts else "correct"
    hits = np.stack([getattr(run, name) for run in runs])
    other_hits = np.stack([getattr(run, name) for run in others])
    return Pair(arm, against, paired_difference(hits, other_hits))


def _differences_at_half(trainings: Trainings, arm: str, against: str) -> dict[str, Any]:
    """The same of every scale at threshold 0.5, for JSON."""
    runs, others = _paired(trainings, arm, against)
    differences = {}
    for head in runs[0].correct_at_half:
        hits = np.stack([run.correct_at_half[head] for run in runs])
        other_hits = np.stack([run.correct_at_half[head] for run in others])
        differences[head] = paired_difference(hits, other_hits).to_dict()
    return differences


def _command(name: str, trainings: Trainings) -> str:
    """The command, without the folders' names."""
    words = ["python -m experiments.confirm"]
    for arm, runs in trainings.items():
        words.append(f"{arm}={','.join(['RUN'] * len(runs))}")
    if name != "confirm":
        words.append(f"--to {name}")
    return " ".join(words)


if __name__ == "__main__":
    main()
