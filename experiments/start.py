"""Make the shared checkpoint of all arms: python -m experiments.start ANYBOX OUT.safetensors

ANYBOX is a run on PARTS-shared.json whose scale 2 was trained on random boxes (see
docs/findings/method.md). Every finer scale of an arm starts as that scale 2. The APNs start at
random, from the arm's seed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from leafzoom.model_file.checkpoint import load_checkpoint, save_checkpoint

__all__ = ["main"]

# Which part of the run each part of the shared checkpoint comes from; APNs and fusions are left
# out.
_ORIGINS = {"backbone": "backbone", "scale1": "scale1", "scale2": "scale2", "scale3": "scale2"}


def main() -> None:
    """Read, copy the scales, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("anybox", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()

    # Every finer scale starts as the run's scale 2.
    checkpoint = load_checkpoint(arguments.anybox / "model.safetensors")
    tensors = {}
    for part, origin in _ORIGINS.items():
        for name, tensor in checkpoint.part(origin).items():
            tensors[f"{part}.{name}"] = tensor.clone()

    # Decisions and scores were fitted to the run's own network, not to this one.
    manifest = replace(checkpoint.manifest, decisions={}, head="", metrics={})
    save_checkpoint(arguments.out, tensors, manifest)
    print(f"{arguments.out}: {', '.join(load_checkpoint(arguments.out).parts)}")


if __name__ == "__main__":
    main()
