"""Average the weights of runs of one lineage:
python -m tools.average OUT RUN RUN... [--weights W W...]

As in Wortsman et al. 2022, "Model soups"; with two runs and --weights, as in "Robust fine-tuning of
zero-shot models" of the same year. Writes a checkpoint of the backbone and the scales' mean
weights, and the APNs, which have to be the same in all runs. Takes seconds. A training from it that
trains nothing fits the heads:

    leafzoom train --data DIR --recipe default --init OUT --out RUN --set fine_tuning.epochs=0 \\
        --set warm_up.epochs=0 --set alternation.rounds=0 --set alternation.classifier_epochs=0
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from leafzoom.model.pretrained import initial_checkpoint
from leafzoom.model_file.checkpoint import Checkpoint, save_checkpoint

__all__ = ["average", "main", "parser"]

_MAX_WEIGHT_ERROR = 1e-6


def main() -> None:
    """Read, average, write."""
    arguments = parser().parse_args()
    checkpoints = [initial_checkpoint(run) for run in arguments.runs]

    try:
        tensors = average(checkpoints, arguments.weights)
    except ValueError as error:
        sys.exit(str(error))

    save_checkpoint(arguments.out, tensors, checkpoints[-1].manifest)
    print(f"{arguments.out}: the mean of {len(checkpoints)} checkpoints")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(
        prog="python -m tools.average",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    options.add_argument("out", type=Path)
    options.add_argument("runs", nargs="+", help="run folders or checkpoints")
    options.add_argument("--weights", nargs="+", type=float, metavar="W", help="by default equal")

    return options


def average(
    checkpoints: Sequence[Checkpoint], weights: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """The scales' mean weights, with the tensors that all checkpoints share.

    Fusions and out-of-distribution detectors are left out: they are fitted to one run's features.

    Args:
        checkpoints: of the runs. The last one has the backbone; a model file has none.
        weights: of the checkpoints, with a sum of 1; by default all the same.

    Raises:
        ValueError: a tensor outside the scales differs between the checkpoints, or there are not as
            many weights as checkpoints, or their sum is not 1.
    """
    weights = _checked_weights(weights, len(checkpoints))

    averaged = {}
    for name, tensor in checkpoints[-1].tensors.items():
        part = name.split(".")[0]
        if part.startswith(("fusion", "familiarity", "outliers")):
            continue

        tensors = [found.tensors[name] for found in checkpoints if name in found.tensors]
        # Scales are averaged, backbone and APNs taken over.
        if part.startswith("scale"):
            averaged[name] = _weighted_mean(tensors, weights)
        elif all(torch.equal(tensor, other) for other in tensors):
            averaged[name] = tensor
        else:
            raise ValueError(
                f"{name} differs between the runs: "
                "only runs that share backbone and APNs can be averaged"
            )
    return averaged


def _checked_weights(weights: Sequence[float] | None, count: int) -> Sequence[float]:
    """The weights, or equal ones."""
    if weights is None:
        return [1 / count] * count
    if len(weights) != count or abs(sum(weights) - 1) > _MAX_WEIGHT_ERROR:
        raise ValueError(f"--weights needs {count} numbers with a sum of 1: {list(weights)}")
    return weights


def _weighted_mean(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The mean of floating-point tensors; counters are those of the last one."""
    if not tensors[-1].is_floating_point():
        return tensors[-1]
    terms = [weight * tensor.float() for weight, tensor in zip(weights, tensors, strict=True)]
    return torch.stack(terms).sum(dim=0).to(tensors[-1].dtype)


if __name__ == "__main__":
    main()
