"""A head's answers on the validation part, each by a decision that was fitted on other photographs.

What is said about answers in general (how sure they are, how often they are right) has to come from
answers to photographs that nothing was fitted on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafzoom.fitting.decision import fit_decision
from leafzoom.fitting.likelihood import label_probabilities
from leafzoom.labels import Decision, LabelSet, combination_probabilities, decide

__all__ = ["OutOfFoldAnswers", "out_of_fold_answers"]

_FOLDS = 5

Array = NDArray[np.float64]
Fit = Callable[[NDArray[np.floating], NDArray[np.uint8], LabelSet], Decision]
"""Fits a decision to logits [n, L] and targets [n, L]."""


@dataclass(frozen=True)
class OutOfFoldAnswers:
    """The answers to n photographs.

    `probabilities`: of all C combinations, [n, C]. `answers`: the index of each answer's
    combination, [n].
    """

    probabilities: Array
    answers: NDArray[np.intp]

    @property
    def confidence(self) -> Array:
        """The probabilities [n] of the answers."""
        return np.asarray(self.probabilities[np.arange(len(self.answers)), self.answers])


def out_of_fold_answers(
    logits: NDArray[np.floating],
    targets: NDArray[np.uint8],
    labels: LabelSet,
    fit: Fit = fit_decision,
) -> OutOfFoldAnswers:
    """Answer n photographs, each by a decision that was fitted on the other four fifths.

    Args:
        logits: [n, L], of photographs that the head was not trained on.
        targets: [n, L].
        labels: with C combinations.
        fit: of the decision.
    """
    count = len(targets)
    combinations = np.array(labels.combinations, np.uint8)
    fold = np.random.default_rng(0).permutation(count) % _FOLDS

    probabilities = np.zeros((count, len(combinations)))
    answers = np.zeros(count, np.intp)
    for number in np.unique(fold):
        held_out = fold == number
        decision = fit(logits[~held_out], targets[~held_out], labels)
        by_label = label_probabilities(logits[held_out], single_label=labels.single_label)

        # The answer as a combination's index.
        label_vectors = decide(by_label, decision, labels)
        matches = (label_vectors[:, None, :] == combinations[None]).all(axis=2)
        probabilities[held_out] = combination_probabilities(by_label, decision, labels)
        answers[held_out] = matches.argmax(axis=1)

    return OutOfFoldAnswers(probabilities, answers)
