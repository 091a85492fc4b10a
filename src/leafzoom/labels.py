"""The labels of a data set, the combinations in which they occur, and the decision among those.

Several labels may hold at once, but not any several: of the 64 subsets of Plant Pathology 2021's six labels
only 12 occur, and `healthy` excludes the rest. The decision therefore chooses a combination, not each label
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import DataError, ModelError

__all__ = ["Decision", "LabelSet", "answer_confidence", "combination_probabilities", "decide", "log_odds"]

_EPSILON = 1e-7


@dataclass(frozen=True)
class LabelSet:
    """The label names, in column order, and the combinations that occur, each a 0/1 row of that order.

    Raises:
        DataError: no label, a label twice, or a combination that is not a 0/1 row of the right length.
    """

    names: tuple[str, ...]
    combinations: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("a label set needs at least one label and has none: label the photographs")
        if len(set(self.names)) != len(self.names):
            raise DataError(f"each label may be named once, but the labels are {', '.join(self.names)}")
        for row in self.combinations:
            if len(row) != len(self.names) or set(row) - {0, 1}:
                raise DataError(f"a combination has to be {len(self.names)} values of 0 or 1, not {row}")

    @classmethod
    def from_targets(cls, names: Sequence[str], targets: NDArray[np.uint8]) -> LabelSet:
        """The combinations that occur in `targets` ([N, L], 0 or 1), sorted."""
        rows = sorted({tuple(int(value) for value in row) for row in targets})
        return cls(tuple(names), tuple(rows))

    def encode(self, labels: Iterable[str]) -> NDArray[np.uint8]:
        """Labels as a 0/1 row of shape [L].

        Raises:
            DataError: a label that the set does not have.

        >>> LabelSet(("rust", "scab"), ((0, 1),)).encode(["scab"]).tolist()
        [0, 1]
        """
        row = np.zeros(len(self.names), np.uint8)
        for label in labels:
            if label not in self.names:
                raise DataError(f"unknown label {label!r}: the labels are {', '.join(self.names)}")
            row[self.names.index(label)] = 1
        return row

    def decode(self, row: NDArray[np.generic]) -> list[str]:
        """The names of the labels that are 1 in a row of shape [L]."""
        return [name for name, value in zip(self.names, row, strict=True) if value]


def log_odds(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """log(p / (1 - p)) in float64, with p kept 1e-7 away from 0 and 1."""
    p = np.clip(np.asarray(probabilities, np.float64), _EPSILON, 1 - _EPSILON)
    return np.asarray(np.log(p) - np.log1p(-p))


@dataclass(frozen=True)
class Decision:
    """How a head's probabilities become an answer.

    `thresholds`: one a label, in 0..1. `temperature`: log-odds are divided by it. `interactions`: log-odds that each
    combination has beyond what its labels say one by one, in the order of `LabelSet.combinations`; older models have
    none.

    Raises:
        ModelError: a threshold outside 0..1, a temperature that is not positive, an interaction that is not finite.
    """

    thresholds: tuple[float, ...]
    temperature: float = 1.0
    interactions: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 < threshold < 1 for threshold in self.thresholds) or not self.temperature > 0:
            raise ModelError(f"thresholds lie between 0 and 1 and a temperature above 0, not {self.temperature}")
        if not np.isfinite(self.interactions).all():
            raise ModelError("interactions are finite numbers")


def decide(probabilities: NDArray[np.floating], decision: Decision, labels: LabelSet) -> NDArray[np.uint8]:
    """The best answer among the combinations that occur; the empty one only where the data has it.

    With interactions, the combination of the greatest expected worth under `combination_probabilities`: an answer is
    worth the mean of exact match (once) and its F1 with the truth (twice), so being partly right counts. Without, the
    most probable combination, with each label's log-odds measured from its own threshold.

    Args:
        probabilities: [N, L] in 0..1.
        decision: thresholds, temperature and interactions.
        labels: whose `combinations` are allowed.

    Returns:
        [N, L], 0 or 1.

    >>> two = LabelSet(("healthy", "scab"), ((1, 0), (0, 1)))
    >>> decide(np.array([[0.2, 0.4], [0.9, 0.8]]), Decision((0.5, 0.5)), two).tolist()
    [[0, 1], [1, 0]]
    """
    allowed = np.array(labels.combinations, np.uint8).reshape(-1, len(labels.names))
    if not decision.interactions:
        evidence = log_odds(probabilities) - log_odds(np.array(decision.thresholds))
        return np.asarray(allowed[np.argmax(evidence @ allowed.T.astype(np.float64), axis=1)])
    size = allowed.sum(axis=1, dtype=np.float64)
    shared = allowed.astype(np.float64) @ allowed.T
    both = size[:, None] + size[None]
    f1 = np.where(both > 0, 2 * shared / np.maximum(both, 1), 1.0)
    worth = (np.eye(len(allowed)) + 2 * f1) / 3
    return np.asarray(allowed[np.argmax(combination_probabilities(probabilities, decision, labels) @ worth, axis=1)])


def combination_probabilities(
    probabilities: NDArray[np.floating], decision: Decision, labels: LabelSet
) -> NDArray[np.float64]:
    """The calibrated probability of every combination that occurs, as if no other could.

    Each label's log-odds, measured from its threshold and divided by the temperature, are summed over the labels of a
    combination, its interaction is added, and the softmax over the combinations follows. Without interactions the
    thresholds are left out: they were fitted for the answer alone then.

    Args:
        probabilities: [N, L] in 0..1.
        decision: as fitted on `inner-select`.
        labels: with C combinations.

    Returns:
        [N, C]; rows sum to 1.
    """
    combinations = np.array(labels.combinations, np.float64).reshape(-1, len(labels.names))
    evidence = log_odds(probabilities)
    if decision.interactions:
        evidence = evidence - log_odds(np.array(decision.thresholds))
    scores = evidence @ combinations.T / decision.temperature
    scores = scores + np.array(decision.interactions) if decision.interactions else scores
    return np.asarray(np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)))


def answer_confidence(
    probabilities: NDArray[np.floating], answers: NDArray[np.uint8], decision: Decision, labels: LabelSet
) -> NDArray[np.float64]:
    """The calibrated probabilities [N] of answers [N, L] among all combinations (see `combination_probabilities`)."""
    places = (answers[:, None, :] == np.array(labels.combinations)[None]).all(axis=2).argmax(axis=1)
    shares = combination_probabilities(probabilities, decision, labels)
    return np.asarray(shares[np.arange(len(answers)), places])
