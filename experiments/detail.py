"""Do larger sources help with photographs that no training saw?

    python -m experiments.detail DATA LESIONS640 LESIONS416 RUN...

LESIONS640 and LESIONS416 are folders of sharper copies of photographs of DATA, with the same names
and labels. The runs were trained without these photographs (`experiments.parts --without`), and are
named ARM-SEED. Each sharp copy is answered with a source of 256 px and with the largest that its
pixels carry; of a photograph in both sets the larger copy counts. Writes
results/experiments/detail.json.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.closer import exact_answers
from experiments.publishing import write_result
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import read_split
from leafzoom.evaluation.bootstrap import paired_difference, percentile_interval, resample_means
from leafzoom.inference.loading import open_network
from leafzoom.inference.network import Network
from leafzoom.source_size import SourceSize
from tools.evaluation_data import open_data
from tools.provenance import commit, machine

__all__ = ["main", "measure_arm"]

_NAME = "detail"
_LARGEST_SIDES = (640, 384)
_COPY = "competition's copy"
_SMALL = "256"
_LARGE = "largest"

Hits = dict[str, NDArray[np.float64]]
"""Whether each photograph's answer is exact, 0 or 1, by the copy or the source's side."""


def main() -> None:
    """Measure each arm, write the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("lesions640", type=Path)
    parser.add_argument("lesions416", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    arguments = parser.parse_args()

    seeds = defaultdict(list)
    for run in arguments.runs:
        seeds[run.name.rpartition("-")[0]].append(run)

    folders = [arguments.lesions640, arguments.lesions416]
    arms = {}
    for arm, runs in seeds.items():
        arms[arm] = measure_arm(runs, arguments.data, folders)
        print(f"{arm}: {arms[arm]}", flush=True)

    result = {
        "name": _NAME,
        "command": "python -m experiments.detail DATA LESIONS640 LESIONS416 RUNS/*",
        "commit": commit(),
        "machine": machine(),
        "sides": dict(zip(("lesions640", "lesions416"), _LARGEST_SIDES, strict=True)),
        "arms": arms,
    }
    print(write_result(_NAME, result))


def measure_arm(runs: Sequence[Path], data: Path, folders: Sequence[Path]) -> dict[str, Any]:
    """Score the runs of an arm, one a seed, with small and large sources.

    Args:
        runs: folders of finished trainings.
        data: the photographs' small copies.
        folders: of their sharp copies, the larger ones first.

    Raises:
        ValueError: a run has seen one of the photographs.
    """
    by_seed = [_seed_hits(run, data, folders) for run in runs]
    hits = {}
    for key in by_seed[0]:
        hits[key] = np.stack([seed[key] for seed in by_seed]).mean(axis=0)

    resampled = resample_means(hits)
    difference = paired_difference(
        float(hits[_LARGE].mean() - hits[_SMALL].mean()), resampled[_LARGE], resampled[_SMALL]
    )
    return {
        "seeds": len(runs),
        "photographs": len(hits[_SMALL]),
        "exact_match": _means(hits),
        "intervals": {
            key: percentile_interval(values).to_list() for key, values in resampled.items()
        },
        "by_seed": [_means(seed) for seed in by_seed],
        "largest less 256": difference.to_dict(),
    }


def _seed_hits(run: Path, data: Path, folders: Sequence[Path]) -> Hits:
    """The answers of one run, on the photographs of all folders."""
    network = open_network(str(run))
    source_size = network.manifest.source_size
    whole = open_data(data, source_size)
    split = read_split(run / "split.json")
    seen = {*split.train, *split.validation}

    done: set[str] = set()
    parts: list[Hits] = []
    for folder, side in zip(folders, _LARGEST_SIDES, strict=True):
        sharp = open_data(folder, source_size)
        names = tuple(name for name in sharp.table.image_names if name not in done)
        if seen.intersection(names):
            raise ValueError(f"{run} was trained on photographs of {folder}")
        if names:
            parts.append(dict(_hits(network, whole, sharp, names, side)))
        done.update(names)
    hits: Hits = {}
    for key in parts[0]:
        hits[key] = np.concatenate([part[key] for part in parts])
    return hits


def _means(hits: Hits) -> dict[str, float]:
    """The exact match of each copy."""
    return {key: float(values.mean()) for key, values in hits.items()}


def _hits(
    network: Network, whole: Cache, sharp: Cache, names: tuple[str, ...], side: int
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Whether the answers are exact: the competition's copy, the sharp one small and large."""
    yield _COPY, exact_answers(network, whole, names)
    sides: Mapping[str, int] = {_SMALL: network.manifest.source_size, _LARGE: side}
    for key, source_side in sides.items():
        sizes = SourceSize(source_side, source_side)
        yield key, exact_answers(network, sharp, names, sizes)


if __name__ == "__main__":
    main()
