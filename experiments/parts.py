"""Write the split that every experiment uses: python -m experiments.parts DATA OUT.json

`inner-test` is not read. Of `inner-train`, label combinations in proportion, near-duplicates in
one part; with --without FOLDER, photographs of the names in that folder's table are in no part:

shared      6,000 photographs: the shared checkpoint is fine-tuned on them (in OUT-shared.json, as
`train`)
train       3,000 others: every arm's scales and APNs learn from them; scale 1 has not seen them
report      the rest, about 4,400: every arm is measured on them
select      `inner-validation`: fusions, decisions and epochs are chosen on it
"""

from __future__ import annotations

import argparse
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from experiments.measured_runs import cached_sources
from leafzoom.dataset.audit import duplicate_groups, near_duplicates
from leafzoom.dataset.split import Split, training_split
from leafzoom.dataset.stratification import subset
from leafzoom.dataset.table import read_table
from leafzoom.storage import make_folder, write_json

__all__ = ["main"]

_SHARED_COUNT = 6000
_TRAIN_COUNT = 3000
_SEED = 5
_SOURCE_SIZE_PX = 256


@dataclass(frozen=True)
class _Parts:
    """Image names."""

    shared: tuple[str, ...]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def main() -> None:
    """Divide, write two splits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--without", type=Path, action="append", default=[], metavar="FOLDER")
    arguments = parser.parse_args()

    # One split trains the arms, the other the checkpoint that they start from.
    left_out = {name for folder in arguments.without for name in read_table(folder).image_names}
    parts = _divide(arguments.data, left_out)
    shared_file = arguments.out.with_name(f"{arguments.out.stem}-shared.json")
    make_folder(arguments.out.parent)
    for path, train in ((arguments.out, parts.train), (shared_file, parts.shared)):
        split = Split(path.stem, train, parts.validation, parts.test)
        write_json(path, split.to_dict())
        print(
            f"{path}: {len(split.train)} train, {len(split.validation)} select, "
            f"{len(split.test)} measure"
        )


def _divide(data: Path, left_out: Set[str]) -> _Parts:
    """Divide `inner-train` of a data folder; photographs left out take their duplicates along."""
    table = read_table(data)
    cache = cached_sources(data, table, _SOURCE_SIZE_PX)
    inner = training_split(cache, "inner-train")

    # Near-duplicates have the same group.
    groups = duplicate_groups(len(cache.table), near_duplicates(cache.sources)).tolist()
    group_of = dict(zip(cache.table.image_names, groups, strict=True))

    # Each part takes its photographs, and leaves out near-duplicates of the parts before.
    left_out_groups = {group_of[name] for name in left_out}
    available = tuple(name for name in inner.train if group_of[name] not in left_out_groups)
    validation = tuple(name for name in inner.validation if group_of[name] not in left_out_groups)
    train = subset(cache.table.take(available), _TRAIN_COUNT, seed=_SEED)
    used_groups = {group_of[name] for name in train}
    rest = tuple(name for name in available if group_of[name] not in used_groups)

    shared = subset(cache.table.take(rest), _SHARED_COUNT, seed=_SEED)
    used_groups |= {group_of[name] for name in shared}
    test = tuple(name for name in rest if group_of[name] not in used_groups)
    return _Parts(shared, train, validation, test)


if __name__ == "__main__":
    main()
