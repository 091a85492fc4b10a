"""What are an arm's boxes worth to its classifiers? python -m experiments.zoom_value DATA RUN...

For measured runs whose boxes an APN proposes: gives the same network, on the photographs it was
measured on, boxes of the same sizes at the centre, at random and at the map's largest response
(`leafzoom.evaluation.zoom_value`). Writes RUN/zoom-value.npz: which photographs are answered
exactly at threshold 0.5, by kind of box and head. `python -m experiments.report` compares them.
Finished runs are skipped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.measured_runs import MeasuredRun, cached_sources, load_network
from leafzoom.dataset.table import Table, read_table
from leafzoom.evaluation.box_kinds import outputs_by_box_kind
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.storage import replacing

__all__ = ["exact_answers", "main", "measure_zoom_value"]


def main() -> None:
    """Measure every run that has an APN and is not finished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()

    table = read_table(arguments.data)
    for folder in arguments.runs:
        run = MeasuredRun(folder)
        if not run.is_measured:
            raise SystemExit(f"{folder} is not a measured run: python -m experiments.run")

        if run.proposals != "apn":
            print(f"{folder}: no APN, its boxes are at the {run.proposals}")
        elif not (folder / "zoom-value.npz").is_file():
            measure_zoom_value(run, arguments.data, table)


def measure_zoom_value(run: MeasuredRun, data: Path, table: Table) -> None:
    """Write a run's zoom-value.npz and print the exact matches.

    Raises:
        SystemExit: the run was measured on other data.
    """
    # The run's rows are indices into the table, which therefore has to be the same one.
    arrays = run.arrays()
    rows = arrays["rows"]
    checkpoint = load_checkpoint(run.model_file)
    if checkpoint.manifest.data.get("table") != table.digest():
        raise SystemExit(
            f"{run.folder} was not trained and measured on {data}: name the folder of its data"
        )

    cache = cached_sources(data, table, run.source_size)
    correct = exact_answers(load_network(checkpoint), cache.sources[rows], arrays["targets"])
    with replacing(run.folder / "zoom-value.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **correct)  # type: ignore[arg-type]

    exact_matches = {name: round(float(hits.mean()), 4) for name, hits in correct.items()}
    print(f"{run.folder}: {exact_matches}", flush=True)


def exact_answers(
    network: FusedNetwork, sources: NDArray[np.uint8], targets: NDArray[np.uint8]
) -> dict[str, NDArray[np.bool_]]:
    """Whether each photograph is answered exactly, {"KIND HEAD": [n]}.

    Args:
        network: in eval().
        sources: [n, S, S, 3].
        targets: [n, L].
    """
    expected = targets.astype(bool)
    correct = {}
    for kind, outputs in outputs_by_box_kind(network, sources).items():
        for head, answers in outputs.answers.items():
            correct[f"{kind} {head}"] = (answers == expected).all(axis=1)
    return correct


if __name__ == "__main__":
    main()
