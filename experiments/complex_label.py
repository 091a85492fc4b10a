"""`complex`, the label with the most errors: by which look, by which decision, and what they are.

    python -m experiments.complex_label DATA [--keep FOLDER] [--page FILE]

Scores the shipped model's heads and several ways to decide on `inner-validation`, which it was not
trained on. Fusions and decisions are fitted out of fold. Writes
results/experiments/complex-label.json. The page shows the errors themselves.
"""

from __future__ import annotations

import argparse
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.complex_decisions import (
    DECISIONS,
    CostSensitive,
    Decide,
    combination_indices,
    f1_of,
    stacked_posterior,
)
from experiments.head_logits import HeadLogits, logits_of_model
from experiments.publishing import write_result
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.gallery import data_uri
from leafzoom.fitting.out_of_fold import out_of_fold_answers
from leafzoom.labels import LabelSet
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.outputs import fusion_head, scale_head
from leafzoom.storage import write_text
from tools.evaluation_data import open_data, rows_of_part
from tools.model_digest import model_digest
from tools.provenance import commit, machine

__all__ = ["confusions", "main", "measure", "write_page"]

_NAME = "complex-label"
_LABEL = "complex"
_PART = "inner-validation"
_RESAMPLES = 2000
_WIDTH_PX = 384
_HEIGHT_PX = 256  # the photographs are 3:2, their sources squashed
_STYLE = (
    "body{font:14px sans-serif;margin:16px}"
    "main{display:grid;grid-template-columns:repeat(5,1fr);gap:14px}"
    "figure{margin:0}img{width:100%}b{color:#a33}"
)

Answers = NDArray[np.uint8]
Values = NDArray[np.float64]


def main() -> None:
    """Measure, write the result, and the page where it is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, help="Folder for the network's logits.")
    parser.add_argument("--page", type=Path, help="HTML page of the photographs with an error.")
    arguments = parser.parse_args()

    model = bundled_model()
    manifest = load_checkpoint(model).manifest
    logits = logits_of_model(model, arguments.data, arguments.keep)
    result = {
        "name": _NAME,
        "command": "python -m experiments.complex_label DATA",
        "commit": commit("src", "experiments", "tools"),
        "model_digest": model_digest(model),
        "machine": machine(),
        **measure(logits, manifest.labels, _LABEL),
    }
    write_result(_NAME, result)
    for kind in ("heads", "decisions"):
        for name, entry in result[kind].items():
            print(kind, name, entry)

    if arguments.page:
        cache = open_data(arguments.data, manifest.source_size)
        rows = rows_of_part(cache, _PART, manifest)
        head = fusion_head(manifest.scales)
        answered = out_of_fold_answers(logits.mirrored[head], logits.targets, manifest.labels)
        write_page(arguments.page, cache, rows, logits.targets, answered.probabilities)


def measure(logits: HeadLogits, labels: LabelSet, name: str) -> dict[str, Any]:
    """The scores of all heads and of all ways to decide, and one label's confusions.

    Args:
        logits: of all heads for n photographs.
        labels: the model's.
        name: of the label.
    """
    targets = logits.targets
    column = labels.names.index(name)
    scales = sum(head.startswith("scale") for head in logits.plain)

    # As the shipped model decides: the last fusion, the mean over mirror images.
    combinations = np.array(labels.combinations, np.uint8)
    last = logits.mirrored[fusion_head(scales)]
    out_of_fold = out_of_fold_answers(last, targets, labels)
    shipped = combinations[out_of_fold.answers]

    # By head.
    heads = {}
    for head in logits.plain:
        for kind, values in (("plain", logits.plain[head]), ("mirrored", logits.mirrored[head])):
            answers = combinations[out_of_fold_answers(values, targets, labels).answers]
            heads[f"{head}, {kind}"] = _scores(targets, answers, column, shipped)

    # By decision, from the last fusion's probabilities.
    decisions = {}
    ways: dict[str, Decide] = {**DECISIONS, f"{name} weighted by its cost": CostSensitive(name)}
    for title, decide in ways.items():
        answers = decide(out_of_fold.probabilities, targets, labels)
        decisions[title] = _scores(targets, answers, column, shipped)

    # One softmax over combinations in place of the sum of labels.
    scale_logits = [logits.mirrored[scale_head(number)] for number in range(1, scales + 1)]
    stacked = stacked_posterior(np.concatenate([*scale_logits, last], axis=1), targets, labels)
    answers = DECISIONS["most probable combination"](stacked, targets, labels)
    decisions["one softmax over combinations"] = _scores(targets, answers, column, shipped)

    return {
        "label": name,
        "photographs": len(targets),
        "with_the_label": int(targets[:, column].sum()),
        "heads": heads,
        "decisions": decisions,
        "confusions": confusions(targets, shipped, labels, name),
    }


def confusions(
    targets: Answers, answers: Answers, labels: LabelSet, name: str
) -> list[dict[str, Any]]:
    """The wrong answers in which a label is missing or too many, the most frequent first."""
    column = labels.names.index(name)
    differs = np.flatnonzero(targets[:, column] != answers[:, column])
    counts = Counter(
        (" + ".join(labels.decode(targets[row])), " + ".join(labels.decode(answers[row])))
        for row in differs
    )
    return [
        {"given": given, "answered": answered, "photographs": count}
        for (given, answered), count in counts.most_common()
    ]


def write_page(
    path: Path,
    cache: Cache,
    rows: NDArray[np.int64],
    targets: Answers,
    posterior: NDArray[np.float64],
) -> None:
    """Write the photographs whose answer has `complex` wrongly, or lacks it, as HTML.

    The page holds photographs of the data set, so it does not belong into the repository.

    Args:
        path: of the page.
        cache: of the data set.
        rows: of the n photographs in it.
        targets: their labels, [n, L].
        posterior: probabilities of their combinations, [n, C].
    """
    labels = cache.table.label_set()
    combinations = np.array(labels.combinations, np.uint8)
    column = labels.names.index(_LABEL)
    probabilities = posterior @ combinations[:, column]
    given = combination_indices(targets, labels)
    answered = posterior.argmax(axis=1)

    wrong = combinations[answered, column] != targets[:, column]
    order = np.lexsort((-probabilities, given))
    figures = []
    for index in order[wrong[order]]:
        source = Image.fromarray(cache.sources[rows[index]]).resize((_WIDTH_PX, _HEIGHT_PX))
        title = " + ".join(labels.decode(targets[index]))
        answer = " + ".join(labels.decode(combinations[answered[index]]))
        figures.append(
            f'<figure><img src="{data_uri(source)}" alt=""><figcaption>'
            f"{escape(cache.table.image_names[rows[index]])}<br>given: <b>{escape(title)}</b><br>"
            f"answered: {escape(answer)}<br>{_LABEL} {probabilities[index]:.2f}"
            "</figcaption></figure>"
        )
    write_text(
        path,
        f'<!doctype html><meta charset="utf-8"><title>Errors of {_LABEL}</title>'
        f"<style>{_STYLE}</style><h1>{len(figures)} errors of {_LABEL}</h1>"
        f"<main>{''.join(figures)}</main>\n",
    )


def _scores(
    targets: Answers, answers: Answers, column: int, reference: Answers
) -> dict[str, dict[str, Any]]:
    """Exact match, F1s, and one label's F1, each with its difference to reference answers.

    The interval is of the difference, 95 %, from a bootstrap over photographs.
    """

    def values_of(rows: NDArray[np.int64]) -> tuple[Values, Values]:
        values = _values(targets[rows], answers[rows], column)
        return values, values - _values(targets[rows], reference[rows], column)

    values, differences = values_of(np.arange(len(targets)))
    random = np.random.default_rng(0)
    resampled = []
    for _ in range(_RESAMPLES):
        rows = random.integers(0, len(targets), len(targets))
        resampled.append(values_of(rows)[1])
    bounds = np.quantile(resampled, (0.025, 0.975), axis=0)

    entry = {}
    for index, name in enumerate(("exact_match", "micro_f1", "macro_f1", "label_f1")):
        entry[name] = {
            "value": round(float(values[index]), 4),
            "difference": round(float(differences[index]), 4),
            "interval": [round(float(bound), 4) for bound in bounds[:, index]],
        }
    return entry


def _values(targets: Answers, answers: Answers, column: int) -> Values:
    """Exact match, micro F1, macro F1, and the F1 of one label, [4]."""
    by_label = f1_of(targets, answers)
    both = int((targets & answers).sum())
    micro = 2 * both / max(int(targets.sum()) + int(answers.sum()), 1)
    exact = (targets == answers).all(axis=1).mean()
    return np.array([exact, micro, by_label.mean(), by_label[column]])


if __name__ == "__main__":
    main()
