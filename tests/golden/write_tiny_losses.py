"""Write tiny-losses.json for test_pinned_losses: python tests/golden/write_tiny_losses.py"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import TINY
from leafzoom.dataset.cache import build_cache
from leafzoom.dataset.split import training_split
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.dataset.table import read_table
from leafzoom.recipe import load_recipe
from leafzoom.training.run import train

_SIZE_PX = 96
_PHOTOGRAPHS = 60


def main() -> None:
    """Train the tiny network and write the training losses of its log, in order."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        leaves = write_leaves(folder / "leaves", _PHOTOGRAPHS, size=_SIZE_PX, seed=0)
        cache = build_cache(read_table(leaves), folder / "cache", _SIZE_PX, workers=1)
        split = training_split(cache, "inner-train")
        train(cache, split, load_recipe("default", TINY), folder / "run")
        losses = training_losses(folder / "run" / "log.csv")

    path = Path(__file__).parent / "tiny-losses.json"
    path.write_text(json.dumps(losses, indent=1) + "\n")


def training_losses(log: Path) -> list[tuple[str, float]]:
    """The key and the value of every training loss in a run's log."""
    losses = []
    with log.open() as file:
        for row in csv.DictReader(file):
            key = row["key"]
            if "/train_" in key and "loss" in key:
                losses.append((key, round(float(row["value"]), 6)))
    return losses


if __name__ == "__main__":
    main()
