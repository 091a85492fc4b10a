"""How often do the intervals of an orchard report hold the truth?

    python -m experiments.orchard_coverage MODEL.onnx

Simulates orchards whose true shares are known, from the confusion that the model file keeps. The
confusion of a simulated validation part is drawn with as many photographs of each combination as
the real one has, so it is as uncertain. Shares of combinations are those of the validation part, or
tilted: each multiplied by a factor around 1. Counts how often the 95 % intervals hold the share of
leaves with each label, beside the interval of the plain share of answers. Writes
results/experiments/orchard-coverage.json. Takes tens of minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.publishing import write_result
from experiments.statistics import rounded
from leafzoom.inference.loading import open_network
from leafzoom.labels import LabelSet
from leafzoom.model_file.confusion import Confusion
from leafzoom.orchard.prevalence import GroupAnswers, Share, estimate_shares
from tools.model_digest import model_digest
from tools.provenance import commit, machine

__all__ = ["coverage", "main"]

_NAME = "orchard-coverage"
_ORCHARDS = 500
_DRAWS = 400
_LEAVES = (5, 30, 100, 300)
_TILTS = (0.0, 1.0)  # standard deviation of the logarithm of the factors
_PRIOR = 0.5  # photographs on the right answer, so that no true confusion is 0 everywhere

Array = NDArray[np.float64]


def main() -> None:
    """Simulate every size and tilt; write, print."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.orchard_coverage",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="with a confusion (see tools.refit)")
    arguments = parser.parse_args()
    manifest = open_network(str(arguments.model)).manifest
    if manifest.confusion is None:
        raise SystemExit(f"{arguments.model} has no confusion: run tools.refit")

    cases = []
    for leaves in _LEAVES:
        for tilt in _TILTS:
            shares = coverage(manifest.labels, manifest.confusion, leaves, tilt)
            cases.append({"leaves": leaves, "tilt": tilt, **shares})
            print(cases[-1], flush=True)

    result = {
        "name": _NAME,
        "command": f"python -m experiments.orchard_coverage {arguments.model.name}",
        "commit": commit(),
        "machine": machine(),
        "model": manifest.name,
        "model_digest": model_digest(arguments.model),
        "validation_photographs": manifest.confusion.photographs,
        "orchards": _ORCHARDS,
        "draws": _DRAWS,
        "cases": cases,
    }
    print(write_result(_NAME, result))


def coverage(
    labels: LabelSet, confusion: Confusion, leaves: int, tilt: float, orchards: int = _ORCHARDS
) -> dict[str, Any]:
    """How often intervals hold the truth, on average over labels and orchards.

    Args:
        labels: with C combinations.
        confusion: from which the true one and the validation part are made.
        leaves: photographed in each orchard.
        tilt: how far orchards are from the validation part (see the module).
        orchards: how many are simulated, each with another tilt.

    Returns:
        `covered` by the corrected intervals, `covered_by_label`, `width` and `error` (the mean
        absolute error of the share), and the same of uncorrected shares: `plain_covered`,
        `plain_width`, `plain_error`.
    """
    random = np.random.default_rng([leaves, round(10 * tilt)])
    counts = confusion.matrix()
    of_combination = counts.sum(axis=1)
    known = of_combination > 0
    truth = counts + _PRIOR * np.eye(*counts.shape)
    truth /= truth.sum(axis=1, keepdims=True)
    has_label = np.array(labels.combinations, np.float64)

    corrected: list[Array] = []
    plain: list[Array] = []
    for number in range(orchards):
        factors = np.exp(random.normal(0, tilt, len(counts)))
        shares = np.where(known, of_combination * factors, 0.0)
        shares /= shares.sum()

        # A new validation part, then the answers to the orchard's leaves.
        rows = [random.multinomial(n, row) for n, row in zip(of_combination, truth, strict=True)]
        validation = Confusion.from_matrix(np.array(rows))
        answers = GroupAnswers(random.multinomial(leaves, shares @ truth))

        true_shares = shares @ has_label
        for found, used in ((corrected, validation), (plain, None)):
            estimates = estimate_shares(
                answers, labels, used, draws=_DRAWS, plan=False, seed=number
            )
            found.append(_hits(estimates, true_shares))

    result: dict[str, Any] = {}
    for prefix, found in (("", corrected), ("plain_", plain)):
        covered, width, error = np.mean(found, axis=0)
        result[f"{prefix}covered"] = rounded(float(covered.mean()))
        result[f"{prefix}width"] = rounded(float(width.mean()))
        result[f"{prefix}error"] = rounded(float(error.mean()))
        by_label = zip(labels.names, covered.tolist(), strict=True)
        result[f"{prefix}covered_by_label"] = {name: rounded(value) for name, value in by_label}
    return result


def _hits(shares: tuple[Share, ...], truth: Array) -> Array:
    """Whether each interval holds the truth, its width and the error of the share: [3, L]."""
    low = np.array([share.low for share in shares])
    high = np.array([share.high for share in shares])
    value = np.array([np.nan if share.value is None else share.value for share in shares])
    return np.stack([(low <= truth) & (truth <= high), high - low, np.abs(value - truth)])


if __name__ == "__main__":
    main()
