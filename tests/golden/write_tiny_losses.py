"""Writes tiny-losses.json, what test_pinned_losses compares with: python tests/golden/write_tiny_losses.py"""

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

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        leaves = write_leaves(folder / "leaves", 60, size=96, seed=0)
        cache = build_cache(read_table(leaves), folder / "cache", 96, workers=1)
        train(cache, training_split(cache, "inner-train"), load_recipe("default", TINY), folder / "run")
        with (folder / "run" / "log.csv").open() as file:
            rows = [
                [r["key"], round(float(r["value"]), 6)]
                for r in csv.DictReader(file)
                if "/train_" in r["key"] and "loss" in r["key"]
            ]
    (Path(__file__).parent / "tiny-losses.json").write_text(json.dumps(rows, indent=1) + "\n")
