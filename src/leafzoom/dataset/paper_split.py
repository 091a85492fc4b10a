"""The paper's split: a permutation of the 18,632 rows of Kaggle's table.

Its first tenth validates. The table may also hold the 16,768 training photographs alone; then the
validation part is empty.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from leafzoom.dataset.table import Table
from leafzoom.errors import DataError

__all__ = ["paper_split"]

_ROWS = 18_632
_SEED = 11

# SHA-256 of the names of the training photographs, sorted, a line each.
_TRAINING_NAMES = "e06a5020637d39d6ff22a50db22a063473cccfae42bebb73ed113813fdffabfe"


def paper_split(table: Table) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The paper's training and validation photographs.

    Args:
        table: Kaggle's full table in its row order, or the rows of the training photographs alone,
            in any order.

    Raises:
        DataError: the table is neither.
    """
    image_names = table.image_names
    if _digest(image_names) == _TRAINING_NAMES:
        return image_names, ()
    if len(table) != _ROWS:
        raise DataError(
            f"the paper's split is of Kaggle's full table of {_ROWS} rows, and {table.csv} "
            f"has {len(table)} that can be used: give the full table or an inner split"
        )

    # The authors' permutation, whose first tenth validates.
    order = np.random.RandomState(_SEED).permutation(_ROWS)
    validation_count = math.ceil(_ROWS / 10)
    validation = tuple(image_names[index] for index in order[:validation_count])
    train = tuple(image_names[index] for index in order[validation_count:])
    return train, validation


def _digest(image_names: tuple[str, ...]) -> str:
    """A hash of names that does not depend on their order."""
    return hashlib.sha256("\n".join(sorted(image_names)).encode()).hexdigest()
