"""The confusion of a model, counted on the validation part by out-of-fold answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from leafzoom.fitting.out_of_fold import OutOfFoldAnswers
from leafzoom.labels import LabelSet
from leafzoom.model_file.confusion import (
    MAX_OOD_SCORE,
    MIN_CONFIDENCE,
    NOT_A_LEAF,
    UNSURE,
    Confusion,
)

__all__ = ["fit_confusion"]


def fit_confusion(
    answers: OutOfFoldAnswers,
    look_answers: Sequence[OutOfFoldAnswers],
    ood_scores: NDArray[np.floating] | None,
    targets: NDArray[np.uint8],
    labels: LabelSet,
) -> Confusion | None:
    """Count the answers and verdicts by true combination.

    The verdict is that of a prediction: `not_a_leaf` by the out-of-distribution score; `unsure`
    where the answer is more likely wrong than right, or no look gives it by itself.

    Args:
        answers: of the answering head to n photographs, by decisions that were fitted on others.
        look_answers: of each single look, likewise.
        ood_scores: [n]; None without a detector.
        targets: [n, L]; a photograph whose combination is not among the labels' is left out.
        labels: with C combinations.

    Returns:
        None without a photograph.
    """
    # The true combination of each photograph.
    combinations = np.array(labels.combinations, np.uint8)
    matches = (targets[:, None, :] == combinations[None]).all(axis=2)
    is_known = matches.any(axis=1)
    if not is_known.any():
        return None

    # The column of each answer: its combination, or the verdict that withholds it.
    count = len(combinations)
    is_supported = np.zeros(len(targets), bool)
    for look in look_answers:
        is_supported |= look.answers == answers.answers
    is_sure = (answers.confidence >= MIN_CONFIDENCE) & is_supported
    columns = np.where(is_sure, answers.answers, count + 2 + UNSURE)
    if ood_scores is not None:
        # A NaN score fails the comparison and so is no leaf either.
        is_leaf = np.asarray(ood_scores) <= MAX_OOD_SCORE
        columns = np.where(is_leaf, columns, count + 2 + NOT_A_LEAF)

    matrix = np.zeros((count, count + 2), np.int64)
    np.add.at(matrix, (matches.argmax(axis=1)[is_known], columns[is_known]), 1)
    return Confusion.from_matrix(matrix)
