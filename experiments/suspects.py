"""The photographs whose labels models contradict most, and a page that shows them."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.unseen_answers import LabelledAnswers
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.gallery import data_uri
from leafzoom.storage import write_text

__all__ = ["suspicion", "write_page"]

_WIDTH_PX = 384
_HEIGHT_PX = 256  # the photographs are 3:2, their sources squashed
_STYLE = (
    "body{font:14px sans-serif;margin:16px}"
    "main{display:grid;grid-template-columns:repeat(4,1fr);gap:14px}"
    "figure{margin:0}img{width:100%}b{color:#a33}"
)


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

    figures = []
    for number, index in enumerate(np.argsort(-scores, kind="stable")[:count], start=1):
        lines = []
        for model, answer in measured.answers.items():
            names = ", ".join(labels.decode(combinations[answer.answers[index]]))
            lines.append(f"{escape(model)}: {escape(names)} {answer.confidence[index]:.2f}")

        source = Image.fromarray(cache.sources[rows[index]]).resize((_WIDTH_PX, _HEIGHT_PX))
        title = ", ".join(labels.decode(measured.targets[index]))
        figures.append(
            f'<figure><img src="{data_uri(source)}" alt=""><figcaption>{number}. '
            f"{escape(cache.table.image_names[rows[index]])}<br>given: <b>{escape(title)}</b><br>"
            f"{'<br>'.join(lines)}</figcaption></figure>"
        )

    write_text(
        path,
        f'<!doctype html><meta charset="utf-8"><title>Most suspect labels</title>'
        f"<style>{_STYLE}</style><h1>Most suspect labels</h1><main>{''.join(figures)}</main>\n",
    )
