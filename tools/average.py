"""Average the weights of runs of one lineage: python -m tools.average OUT RUN RUN...

As in Wortsman et al. 2022, "Model soups". Writes a checkpoint of the backbone and the scales' mean
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


def main() -> None:
    """Read, average, write."""
    arguments = parser().parse_args()
    checkpoints = [initial_checkpoint(run) for run in arguments.runs]

    try:
        tensors = average(checkpoints)
    except ValueError as error:
        sys.exit(str(error))

    save_checkpoint(arguments.out, tensors, checkpoints[0].manifest)
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

    return options


def average(checkpoints: Sequence[Checkpoint]) -> dict[str, Tensor]:
    """The scales' mean weights, with the tensors that all checkpoints share.

    Fusions and out-of-distribution detectors are left out: they are fitted to one run's features.

    Raises:
        ValueError: a tensor outside the scales differs between the checkpoints.
    """
    averaged = {}
    for name, tensor in checkpoints[0].tensors.items():
        part = name.split(".")[0]
        if part.startswith(("fusion", "familiarity")):
            continue

        tensors = [checkpoint.tensors[name] for checkpoint in checkpoints]
        # Scales are averaged, backbone and APNs taken over.
        if part.startswith("scale"):
            averaged[name] = torch.stack(tensors).mean(dim=0)
        elif all(torch.equal(tensor, other) for other in tensors):
            averaged[name] = tensor
        else:
            raise ValueError(
                f"{name} differs between the runs: "
                "only runs that share backbone and APNs can be averaged"
            )
    return averaged


if __name__ == "__main__":
    main()
