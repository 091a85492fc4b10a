"""What a model answers to photographs of each true combination of labels: its confusion.

The share of leaves with a disease is corrected by it, because the share of such answers is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import ModelError

__all__ = ["MAX_OOD_SCORE", "MIN_CONFIDENCE", "NOT_A_LEAF", "UNSURE", "Confusion"]

MIN_CONFIDENCE = 0.5
"""A less confident answer is `unsure`: it is more likely wrong than right."""

MAX_OOD_SCORE = 1.0
"""A picture with a greater out-of-distribution score is `not_a_leaf`."""

UNSURE = -2
"""The column of `unsure` in `Confusion.matrix`."""

NOT_A_LEAF = -1
"""The column of `not_a_leaf`."""

_TRIPLE = 3
_VERDICT_COLUMNS = 2


@dataclass(frozen=True)
class Confusion:
    """How often each answer was given to each true combination of labels, out of fold.

    Answers are the C combinations, then `unsure`, then `not_a_leaf`. Few of the pairs occur, so
    only those are kept.

    `combinations`: C, how many the labels have. `counts`: (index of the true combination, index of
    the answer, photographs), in ascending order; the answer's index is C for `unsure` and C + 1 for
    `not_a_leaf`.

    Raises:
        ModelError: no photograph, an index that is out of range, a pair twice or out of order, or a
            count below 1.

    >>> confusion = Confusion(2, ((0, 0, 8), (0, 2, 1), (1, 1, 6)))
    >>> confusion.matrix().tolist()
    [[8, 0, 1, 0], [0, 6, 0, 0]]
    """

    combinations: int
    counts: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        values: NDArray[Any] = np.array(self.counts)
        shape = (len(self.counts), _TRIPLE)
        if not len(values) or values.shape != shape or values.dtype.kind != "i":
            raise ModelError(
                "the confusion has to have three whole numbers for each pair of a true combination "
                f"and an answer, not {self.counts[:3]}"
            )

        greatest = (self.combinations - 1, self.combinations + 1)
        pairs = values[:, :2]
        if values[:, 2].min() < 1 or pairs.min() < 0 or (pairs > greatest).any():
            raise ModelError(
                f"the confusion of {self.combinations} combinations has an index or a count out of "
                f"range among {self.counts[:3]}"
            )
        if pairs.tolist() != np.unique(pairs, axis=0).tolist():
            raise ModelError("the pairs of the confusion have to ascend, each once")

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Confusion:
        """The inverse of `dataclasses.asdict`."""
        counts = tuple(tuple(triple) for triple in content["counts"])
        return cls(content["combinations"], counts)

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.integer]) -> Confusion:
        """The confusion of counts [C, C + 2] (see `matrix`)."""
        truths, answers = np.nonzero(matrix)
        counts = matrix[truths, answers]
        triples = zip(truths.tolist(), answers.tolist(), counts.tolist(), strict=True)
        return cls(len(matrix), tuple(triples))

    def matrix(self) -> NDArray[np.int64]:
        """Counts [C, C + 2]: a row a true combination, a column an answer."""
        matrix = np.zeros((self.combinations, self.combinations + _VERDICT_COLUMNS), np.int64)
        for truth, answer, count in self.counts:
            matrix[truth, answer] = count
        return matrix

    @property
    def photographs(self) -> int:
        """How many photographs were answered.

        >>> Confusion(2, ((0, 0, 8), (1, 1, 6))).photographs
        14
        """
        return sum(count for _, _, count in self.counts)
