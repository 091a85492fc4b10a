"""The photographs whose labels models contradict most, and a page that shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.photograph_page import PhotographItem, write_photograph_page
from experiments.unseen_answers import LabelledAnswers
from leafzoom.dataset.cache import Cache

__all__ = ["suspicion", "write_page"]


def suspicion(posteriors: NDArray[np.float64], given: NDArray[np.intp]) -> NDArray[np.float64]:
    """How surely all models say that a photograph is something else than its labels.

    Args:
        posteriors: of M models, [M, n, C].
        given: the given combinations [n], as indices.

    Returns:
        The least of the models' probabilities of one combination other than the given, [n]; of
        that other combination for which it is greatest.
    """
    least = posteriors.min(axis=0)
    least[np.arange(len(given)), given] = -1.0
    return np.asarray(least.max(axis=1))


def write_page(
    path: Path,
    cache: Cache,
    rows: NDArray[np.int64],
    measured: LabelledAnswers,
    count: int,
) -> None:
    """Write the most suspect photographs with their labels and the models' answers, as HTML.

    The page holds photographs of the data set, so it does not belong into the repository.

    Args:
        path: of the page.
        cache: of the data set.
        rows: of the photographs [n] in it.
        measured: what models answer to them.
        count: how many photographs the page shows.
    """
    labels = measured.labels
    combinations = np.array(labels.combinations, np.uint8)
    scores = suspicion(measured.posteriors, measured.given)

    items = []
    for index in np.argsort(-scores, kind="stable")[:count]:
        lines = []
        for model, answer in measured.answers.items():
            names = ", ".join(labels.decode(combinations[answer.answers[index]]))
            lines.append(f"{model}: {names} {answer.confidence[index]:.2f}")
        given = ", ".join(labels.decode(measured.targets[index]))
        items.append(PhotographItem(int(rows[index]), given, tuple(lines)))
    write_photograph_page(path, cache, "Most suspect labels", items)
