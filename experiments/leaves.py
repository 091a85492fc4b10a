"""Render the leaves of the experiments and divide them: python -m experiments.leaves FOLDER

FOLDER becomes a data folder with lesions.csv, of leaves of 768 px, from a seed that neither the
demo nor its tests use. FOLDER/parts.json is the split: 1,000 leaves to train on, 200 to validate,
800 to measure.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from leafzoom.dataset.split import Split
from leafzoom.dataset.synthetic import write_leaves
from leafzoom.dataset.table import read_table
from leafzoom.storage import write_json

__all__ = ["main"]

_SIDE_PX = 768
_SEED = 11
_TRAIN_COUNT = 1000
_VALIDATION_COUNT = 200
_TEST_COUNT = 800


def main() -> None:
    """Render, divide, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder

    count = _TRAIN_COUNT + _VALIDATION_COUNT + _TEST_COUNT
    write_leaves(folder, count, size=_SIDE_PX, seed=_SEED)

    # Label combinations take turns in the table, so that consecutive rows make balanced parts.
    image_names = read_table(folder).image_names
    split = Split(
        name="parts",
        train=image_names[:_TRAIN_COUNT],
        validation=image_names[_TRAIN_COUNT : _TRAIN_COUNT + _VALIDATION_COUNT],
        test=image_names[-_TEST_COUNT:],
    )
    parts_file = folder / "parts.json"
    write_json(parts_file, split.to_dict())
    print(f"{folder}: {count} leaves; {parts_file}")


if __name__ == "__main__":
    main()
