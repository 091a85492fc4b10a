"""The labels of a data set, the combinations in which they occur, and the decision among those.

A photograph can have several labels, but few combinations occur: of the 64 subsets of Plant
Pathology 2021's six labels only 12, and `healthy` excludes the rest. The decision therefore chooses
a combination, not each label alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations as subsets
from math import comb

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import DataError, ModelError

__all__ = [
    "Decision",
    "LabelSet",
    "answer_confidence",
    "combination_probabilities",
    "decide",
    "log_odds",
    "logits_of",
    "most_probable",
    "plain_answers",
]

_MIN_PROBABILITY = 1e-7  # log-odds are computed no closer than this to 0 and 1
_MIN_CLASS_PROBABILITY = 1e-30  # a softmax's logarithms are computed no closer than this to 0
_PLAIN_THRESHOLD = 0.5  # of every label, as in the paper's tables
_MAX_POSSIBLE_COMBINATIONS = 512
_MAX_LABELS_AT_ONCE = 3


@dataclass(frozen=True)
class LabelSet:
    """Label names in column order, and the combinations that occur, as 0/1 rows in that order.

    `single_label`: each photograph has exactly one label, its class. A head's probabilities are
    then a softmax, and the combinations are the classes one by one.

    Raises:
        DataError: no label, a label twice, a combination that is not a 0/1 row of L values, or, of
            single labels, one that is not a class.
    """

    names: tuple[str, ...]
    combinations: tuple[tuple[int, ...], ...]
    single_label: bool = False

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError(
                "a label set needs at least one label and has none: label the photographs"
            )
        if len(set(self.names)) != len(self.names):
            raise DataError(
                f"each label may be named once, but the labels are {', '.join(self.names)}"
            )

        for row in self.combinations:
            if len(row) != len(self.names) or set(row) - {0, 1}:
                raise DataError(
                    f"a combination has to be {len(self.names)} values of 0 or 1, not {row}"
                )
            if self.single_label and sum(row) != 1:
                raise DataError(f"of single labels each combination is one class, not {row}")

    @classmethod
    def from_targets(cls, names: Sequence[str], targets: NDArray[np.uint8]) -> LabelSet:
        """The label set with the combinations that occur in `targets` [N, L], sorted."""
        rows = {tuple(row) for row in targets.astype(int).tolist()}
        return cls(tuple(names), tuple(sorted(rows)))

    @classmethod
    def of_classes(cls, names: Sequence[str]) -> LabelSet:
        """Classes that exclude each other: each is an answer, whether it occurs or not.

        >>> LabelSet.of_classes(("rust", "scab")).combinations
        ((1, 0), (0, 1))
        """
        rows = np.eye(len(names), dtype=int).tolist()
        return cls(tuple(names), tuple(tuple(row) for row in rows), single_label=True)

    def with_possible_combinations(self, exclusive: Sequence[str]) -> LabelSet:
        """The same labels, and beside the combinations that occur those that could.

        Those are of one to three labels, none of them exclusive unless alone. The empty combination
        is possible only where it occurs. With so many labels that there would be more than 512,
        they are of fewer labels.

        Args:
            exclusive: names of labels that exclude all others; those that are not in the set, and
                those that occur with others, are ignored.

        >>> three = LabelSet(("healthy", "rust", "scab"), ((1, 0, 0), (0, 1, 0)))
        >>> three.with_possible_combinations(["healthy"]).combinations
        ((0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0))
        """
        occurs_with_others = {
            name for row in self.combinations if sum(row) > 1 for name in self._names_of(row)
        }
        together = [
            index
            for index, name in enumerate(self.names)
            if name not in exclusive or name in occurs_with_others
        ]

        # Every label alone, then as many together as are few enough.
        width = len(self.names)
        rows = {tuple(row) for row in np.eye(width, dtype=int).tolist()}
        rows |= set(self.combinations)
        for size in range(2, _MAX_LABELS_AT_ONCE + 1):
            if len(rows) + comb(len(together), size) > _MAX_POSSIBLE_COMBINATIONS:
                break
            for chosen in subsets(together, size):
                rows.add(tuple(int(index in chosen) for index in range(width)))
        return replace(self, combinations=tuple(sorted(rows)))

    def _names_of(self, row: tuple[int, ...]) -> list[str]:
        return [name for name, value in zip(self.names, row, strict=True) if value]

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
    exact = np.asarray(probabilities, np.float64)
    clipped = np.clip(exact, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def logits_of(probabilities: NDArray[np.floating], labels: LabelSet) -> NDArray[np.float64]:
    """The logits [N, L] of a head's probabilities [N, L], in float64.

    Log-odds, or the logarithms of a softmax, which are its logits up to a constant a row.
    """
    if not labels.single_label:
        return log_odds(probabilities)
    exact = np.asarray(probabilities, np.float64)
    return np.asarray(np.log(np.maximum(exact, _MIN_CLASS_PROBABILITY)))


@dataclass(frozen=True)
class Decision:
    """How a head's probabilities become an answer.

    `thresholds`: one a label, in 0..1; none of single labels. `temperature`: log-odds, or the
    logarithms of a softmax, are divided by it. `interactions`: log-odds of each combination beyond
    the sum over its labels, in the order of `LabelSet.combinations`; empty in older models and of
    single labels. `lapse_rate`: the share of photographs, 0..1, of
    which the probabilities are taken to say nothing, so that no combination is more certain than
    the photographs that the decision was fitted on allow.

    Raises:
        ModelError: a threshold or a lapse rate outside 0..1, a temperature that is not positive, an
            interaction that is not finite.
    """

    thresholds: tuple[float, ...]
    temperature: float = 1.0
    interactions: tuple[float, ...] = ()
    lapse_rate: float = 0.0

    def __post_init__(self) -> None:
        in_range = all(0 < threshold < 1 for threshold in self.thresholds)
        if not in_range or not self.temperature > 0:
            raise ModelError(
                "thresholds have to be between 0 and 1 and the temperature above 0, "
                f"not {self.thresholds} and {self.temperature}"
            )
        if not 0 <= self.lapse_rate <= 1:
            raise ModelError(f"a lapse rate has to be between 0 and 1, not {self.lapse_rate}")
        not_finite = [value for value in self.interactions if not np.isfinite(value)]
        if not_finite:
            raise ModelError(f"interactions have to be finite numbers, not {not_finite[0]}")


def most_probable(scores: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The one label with the greatest score (probability or logit) of each row [N, L]: [N, L].

    >>> most_probable(np.array([[0.2, 0.5, 0.3]])).tolist()
    [[False, True, False]]
    """
    classes = np.arange(scores.shape[1])
    return np.asarray(scores.argmax(axis=1)[:, None] == classes)


def plain_answers(probabilities: NDArray[np.floating], labels: LabelSet) -> NDArray[np.bool_]:
    """Answers [N, L] without a fitted decision, from probabilities [N, L].

    Each label by itself at threshold 0.5, or, of single labels, the most probable class.
    """
    if labels.single_label:
        return most_probable(probabilities)
    return np.asarray(probabilities > _PLAIN_THRESHOLD)


def decide(
    probabilities: NDArray[np.floating], decision: Decision, labels: LabelSet
) -> NDArray[np.uint8]:
    """The best answer among the combinations that occur; the empty one only where the data has it.

    With interactions, the combination of the greatest expected worth under
    `combination_probabilities` (see `_answer_worth`). Without, the most probable combination, with
    each label's log-odds measured from its own threshold. Of single labels, the most probable
    class.

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
    if labels.single_label:
        return most_probable(probabilities).astype(np.uint8)

    combinations = _combination_rows(labels)
    if decision.interactions:
        # The expected worth of each answer. Lapses say nothing about which is the best.
        attentive = replace(decision, lapse_rate=0.0)
        posterior = combination_probabilities(probabilities, attentive, labels)
        scores = posterior @ _answer_worth(combinations)
    else:
        # The sum of the log-odds of its labels.
        thresholds = np.array(decision.thresholds)
        evidence = log_odds(probabilities) - log_odds(thresholds)
        scores = evidence @ combinations.T

    best = np.argmax(scores, axis=1)
    return np.asarray(combinations[best], np.uint8)


def combination_probabilities(
    probabilities: NDArray[np.floating], decision: Decision, labels: LabelSet
) -> NDArray[np.float64]:
    """The calibrated probability of every combination that occurs, as if no other could.

    A combination's score is the sum of its labels' log-odds, each measured from its threshold and
    divided by the temperature, plus the combination's interaction. The softmax over the
    combinations follows. Without interactions the thresholds are left out, because they were fitted
    for the answer alone then. The lapse rate's share is spread evenly over the combinations.

    Of single labels, a class's score is the logarithm of its probability, divided by the
    temperature.

    Args:
        probabilities: [N, L] in 0..1.
        decision: as fitted on `inner-validation`.
        labels: with C combinations.

    Returns:
        [N, C]; rows sum to 1.
    """
    combinations = _combination_rows(labels)
    evidence = logits_of(probabilities, labels)

    if decision.interactions:
        evidence = evidence - log_odds(np.array(decision.thresholds))
        scores = evidence @ combinations.T / decision.temperature + np.array(decision.interactions)
    else:
        scores = evidence @ combinations.T / decision.temperature

    # The softmax, in logarithms so that large scores do not overflow.
    log_total = np.logaddexp.reduce(scores, axis=1, keepdims=True)
    posterior = np.exp(scores - log_total)
    lapse_rate = decision.lapse_rate
    return np.asarray((1 - lapse_rate) * posterior + lapse_rate / len(combinations))


def answer_confidence(
    probabilities: NDArray[np.floating],
    answers: NDArray[np.uint8],
    decision: Decision,
    labels: LabelSet,
) -> NDArray[np.float64]:
    """The calibrated probabilities [N] of answers [N, L] (see `combination_probabilities`)."""
    # Which combination each answer is.
    combinations = np.array(labels.combinations)
    matches = (answers[:, None, :] == combinations[None]).all(axis=2)
    answer_columns = matches.argmax(axis=1)

    posterior = combination_probabilities(probabilities, decision, labels)
    return np.asarray(posterior[np.arange(len(answers)), answer_columns])


def _combination_rows(labels: LabelSet) -> NDArray[np.float64]:
    """The combinations as a 0/1 matrix [C, L]."""
    return np.array(labels.combinations, np.float64).reshape(-1, len(labels.names))


def _answer_worth(combinations: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each answer (column) is worth for each true combination (row), [C, C] in 0..1.

    The weighted mean of exact match (weight 1) and F1 between truth and answer (weight 2), so a
    partly right answer is worth something. The F1 of two empty combinations is 1.
    """
    sizes = combinations.sum(axis=1)
    shared_labels = combinations @ combinations.T
    total_labels = sizes[:, None] + sizes[None]

    # F1 of two label sets: twice the shared labels over all their labels.
    exact_match = np.eye(len(combinations))
    f1 = np.where(total_labels > 0, 2 * shared_labels / np.maximum(total_labels, 1), 1.0)
    return np.asarray((exact_match + 2 * f1) / 3)
