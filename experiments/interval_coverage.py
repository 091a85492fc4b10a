"""How often do intervals over a few seeds hold the truth? python -m experiments.interval_coverage

Simulates experiments of two, three and five seeds without a difference between the arms, and counts
how often 95 % intervals hold 0: the percentile bootstrap over photographs and seeds at once, which
results had before, and `SeedEstimate`. Writes results/experiments/interval-coverage.json. Takes a
minute.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from experiments.publishing import write_result
from experiments.statistics import SeedEstimate, rounded
from tools.provenance import commit, machine

__all__ = ["coverage", "main"]

_NAME = "interval-coverage"
_EXPERIMENTS = 2000
_PHOTOGRAPHS = 200
_RESAMPLES = 400
_PERCENTILES = (2.5, 97.5)
_SEEDS = (2, 3, 5)

# Standard deviation of seeds over the photographs' standard error.
_RATIOS = (0.0, 1.0, 3.0, 10.0)

Array = NDArray[np.float64]


def main() -> None:
    """Simulate every number of seeds and every variance; write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()

    cases = []
    for seeds in _SEEDS:
        for ratio in _RATIOS:
            cases.append({"seeds": seeds, "seeds_to_photographs": ratio, **coverage(seeds, ratio)})
            print(cases[-1], flush=True)

    result = {
        "name": _NAME,
        "command": "python -m experiments.interval_coverage",
        "commit": commit(),
        "machine": machine(),
        "experiments": _EXPERIMENTS,
        "photographs": _PHOTOGRAPHS,
        "cases": cases,
    }
    print(write_result(_NAME, result))


def coverage(seeds: int, ratio: float, experiments: int = _EXPERIMENTS) -> dict[str, float]:
    """The shares of simulated experiments whose intervals hold 0, {"bootstrap", "interval"}.

    Args:
        seeds: of each arm.
        ratio: the standard deviation of a seed's difference over the photographs' standard error.
        experiments: how many are simulated.
    """
    random = np.random.default_rng(seeds)
    bootstrap = 0
    interval = 0
    for _ in range(experiments):
        differences = _differences(random, seeds, ratio)
        low, high = np.percentile(_resampled_means(random, differences), _PERCENTILES)
        bootstrap += low <= 0 <= high

        error = float(differences.mean(axis=0).std(ddof=1)) / _PHOTOGRAPHS**0.5
        low, high = SeedEstimate(tuple(differences.mean(axis=1).tolist()), error).interval
        interval += low <= 0 <= high
    return {
        "bootstrap": rounded(bootstrap / experiments),
        "interval": rounded(interval / experiments),
    }


def _differences(random: np.random.Generator, seeds: int, ratio: float) -> Array:
    """Differences [seeds, n] around 0: of the seed, of the photograph, and of both together."""
    of_seed = random.normal(0, ratio / _PHOTOGRAPHS**0.5, (seeds, 1))
    of_photograph = random.normal(0, 1, (1, _PHOTOGRAPHS))
    return of_seed + of_photograph + random.normal(0, 1, (seeds, _PHOTOGRAPHS))


def _resampled_means(random: np.random.Generator, differences: Array) -> Array:
    """Means of differences [seeds, n] over photographs and seeds drawn with replacement."""
    seeds, photographs = differences.shape
    seed_counts = random.multinomial(seeds, [1 / seeds] * seeds, _RESAMPLES)
    photograph_counts = random.multinomial(photographs, [1 / photographs] * photographs, _RESAMPLES)
    totals = ((seed_counts @ differences) * photograph_counts).sum(axis=1)
    return np.asarray(totals / differences.size)


if __name__ == "__main__":
    main()
