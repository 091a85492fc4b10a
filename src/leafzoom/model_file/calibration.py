"""What a model file keeps of the validation part, for questions that come later.

`ConformalCalibration` answers which label combinations are possible at any coverage, and
`Reference` what answers to photographs like those of the training look like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import ModelError, UsageError

__all__ = [
    "MAX_COVERAGE",
    "MIN_COVERAGE",
    "AnswerHistograms",
    "ConformalCalibration",
    "Reference",
    "check_coverage",
]

MIN_COVERAGE = 0.5
MAX_COVERAGE = 0.999

_ROUNDING = 1e-9  # of (n + 1) times the coverage, which is meant to be exact


def check_coverage(coverage: float) -> None:
    """Refuse a coverage that makes no sense.

    Raises:
        UsageError: it is not between 0.5 and 0.999.
    """
    if not MIN_COVERAGE <= coverage <= MAX_COVERAGE:
        raise UsageError(
            f"the coverage has to be between {MIN_COVERAGE} and {MAX_COVERAGE}, not {coverage:g}"
        )


@dataclass(frozen=True)
class ConformalCalibration:
    """Split conformal prediction over the label combinations, for any coverage.

    The score of a combination is 0 where it is the answer, else one minus its probability (LAC,
    Sadinle et al. 2019, with the answer always in the set). Right answers all score 0, so only the
    others are kept.

    `photographs`: n, how many were scored. `probabilities`: of the true combination, where the
    answer was another one, in ascending order; 0 where it was unknown.

    Raises:
        ModelError: no photograph, more probabilities than photographs, one outside 0..1, or
            another order.
    """

    photographs: int
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        probabilities = self.probabilities
        is_ascending = all(0 <= value <= 1 for value in probabilities) and (
            list(probabilities) == sorted(probabilities)
        )
        if self.photographs < 1 or len(probabilities) > self.photographs or not is_ascending:
            raise ModelError(
                "a conformal calibration has at least one photograph, and no more probabilities "
                f"than that, ascending in 0..1; not {self.photographs} and {len(probabilities)}"
            )

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ConformalCalibration:
        """The inverse of `dataclasses.asdict`."""
        return cls(content["photographs"], tuple(content["probabilities"]))

    @property
    def greatest_coverage(self) -> float:
        """The greatest coverage that so many photographs can guarantee without all combinations.

        >>> ConformalCalibration(99, (0.1,)).greatest_coverage
        0.99
        """
        return self.photographs / (self.photographs + 1)

    def least_probability(self, coverage: float) -> float:
        """The probability from which on a combination is in the set beside the answer.

        With it, a new photograph's true combination is in its set with at least this probability:
        the set takes the ceil((n + 1) coverage)-th smallest score of the n photographs, the
        correction for a finite sample.

        Args:
            coverage: in 0..1.

        Returns:
            0 where n photographs can't guarantee so much, so that every combination is in the set;
            infinity where the answer alone is enough.

        >>> calibration = ConformalCalibration(19, (0.02, 0.1, 0.3))
        >>> calibration.least_probability(0.95), calibration.least_probability(0.9)
        (0.02, 0.1)
        >>> calibration.least_probability(0.99), calibration.least_probability(0.8)
        (0.0, inf)
        """
        covered = math.ceil((self.photographs + 1) * coverage - _ROUNDING)
        place = self.photographs + 1 - covered

        if place < 1:
            return 0.0
        if place > len(self.probabilities):
            return math.inf
        return self.probabilities[place - 1]


@dataclass(frozen=True)
class AnswerHistograms:
    """The reference of the photographs with one best answer.

    `labels`: of the answer. `ood_score`, `confidence`: counts in the bins of `Reference`.
    """

    labels: tuple[str, ...]
    ood_score: tuple[int, ...]
    confidence: tuple[int, ...]


@dataclass(frozen=True)
class Reference:
    """What answers to the validation part look like, for comparison with later ones.

    Convention: a bin holds the values above the edge before it, up to and including its own edge;
    the last bin holds those above the last edge.

    `ood_edges`: of the out-of-distribution score, ascending; empty from a model without a detector.
    `confidence_edges`: of the confidence. `answers`: a histogram of both for each best answer that
    was given; the confidence's counts leave out what is no leaf by its score.

    Raises:
        ModelError: edges that do not ascend, counts that do not fit the edges, or no answer.
    """

    ood_edges: tuple[float, ...]
    confidence_edges: tuple[float, ...]
    answers: tuple[AnswerHistograms, ...]

    def __post_init__(self) -> None:
        for edges in (self.ood_edges, self.confidence_edges):
            if list(edges) != sorted(set(edges)):
                raise ModelError(f"the reference's edges have to ascend, not {edges[:5]}")

        ood_bins = len(self.ood_edges) + 1 if self.ood_edges else 0
        confidence_bins = len(self.confidence_edges) + 1
        for answer in self.answers:
            _check_counts(answer.ood_score, ood_bins)
            _check_counts(answer.confidence, confidence_bins)
        if not self.photographs:
            raise ModelError("the reference has no photograph")

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Reference:
        """The inverse of `dataclasses.asdict`."""
        answers = tuple(
            AnswerHistograms(
                tuple(answer["labels"]),
                tuple(answer["ood_score"]),
                tuple(answer["confidence"]),
            )
            for answer in content["answers"]
        )
        return cls(tuple(content["ood_edges"]), tuple(content["confidence_edges"]), answers)

    @property
    def photographs(self) -> int:
        """How many photographs the reference is of."""
        counts = [answer.ood_score or answer.confidence for answer in self.answers]
        return sum(sum(count) for count in counts)


def _check_counts(counts: Sequence[int], bins: int) -> None:
    """Raise a ModelError for counts of another number of bins, or below 0."""
    values: NDArray[Any] = np.asarray(counts)
    if len(counts) != bins or (len(counts) and (values.dtype.kind != "i" or values.min() < 0)):
        raise ModelError(f"the reference has to have {bins} counts, not {tuple(counts)[:5]}")
