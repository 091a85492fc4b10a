"""`complex`, the label with the most errors: by which look, by which decision, and what they are.

    python -m experiments.complex_label DATA [--keep FOLDER] [--page FILE]

Scores the shipped model's heads and several ways to decide on `inner-validation`, which it was not
trained on. Fusions and decisions are fitted out of fold. Writes
results/experiments/complex-label.json. The page shows the errors themselves.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.complex_decisions import (
    DECISIONS,
    CostSensitive,
    Decide,
    stacked_posterior,
)
from experiments.head_logits import HeadLogits, logits_of_model
from experiments.photograph_page import PhotographItem, write_photograph_page
from experiments.publishing import write_result
from experiments.unseen_answers import combination_indices
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.bootstrap import paired_difference, resample_scores
from leafzoom.fitting.out_of_fold import OutOfFoldAnswers, out_of_fold_answers
from leafzoom.labels import LabelSet
from leafzoom.metrics import score
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.outputs import fusion_head, scale_head
from tools.evaluation_data import open_data, rows_of_part
from tools.model_digest import model_digest
from tools.provenance import commit, machine

__all__ = ["confusions", "main", "measure", "scores_of_answers", "write_page"]

_NAME = "complex-label"
_LABEL = "complex"
_PART = "inner-validation"

Answers = NDArray[np.uint8]


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
        answered = out_of_fold_answers(logits.as_predicted[head], logits.targets, manifest.labels)
        write_page(arguments.page, cache, rows, logits.targets, answered)


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

    # By head, as `predict` decides.
    combinations = np.array(labels.combinations, np.uint8)
    heads = {}
    for head in logits.plain:
        for kind, values in (("plain", logits.plain[head]), ("mirrored", logits.mirrored[head])):
            answers = out_of_fold_answers(values, targets, labels).answers
            heads[f"{head}, {kind}"] = combinations[answers]

    # By decision, from the last fusion's probabilities.
    last = logits.as_predicted[fusion_head(scales)]
    posterior = out_of_fold_answers(last, targets, labels).probabilities
    ways: dict[str, Decide] = {**DECISIONS, f"{name} weighted by its cost": CostSensitive(name)}
    decisions = {title: decide(posterior, targets, labels) for title, decide in ways.items()}

    # One softmax over combinations in place of the sum of labels.
    scale_logits = [logits.as_predicted[scale_head(number)] for number in range(1, scales + 1)]
    stacked = stacked_posterior(np.concatenate([*scale_logits, last], axis=1), targets, labels)
    decisions["one softmax over combinations"] = DECISIONS["most probable combination"](
        stacked, targets, labels
    )

    kind = "plain" if logits.tta == 1 else "mirrored"
    shipped = f"{fusion_head(scales)}, {kind}"
    scores = scores_of_answers(targets, {**heads, **decisions}, shipped, labels, column)
    return {
        "label": name,
        "shipped": shipped,
        "photographs": len(targets),
        "with_the_label": int(targets[:, column].sum()),
        "heads": {head: scores[head] for head in heads},
        "decisions": {decision: scores[decision] for decision in decisions},
        "confusions": confusions(targets, heads[shipped], labels, name),
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
    answers: OutOfFoldAnswers,
) -> None:
    """Write the photographs whose answer has `complex` wrongly, or lacks it, as HTML.

    Args:
        path: of the page, which does not belong into the repository.
        cache: of the data set.
        rows: of the n photographs in it.
        targets: their labels, [n, L].
        answers: to them.
    """
    labels = cache.table.label_set()
    combinations = np.array(labels.combinations, np.uint8)
    column = labels.names.index(_LABEL)
    probabilities = answers.probabilities @ combinations[:, column]
    given = combination_indices(targets, labels)
    answered = answers.answers

    wrong = combinations[answered, column] != targets[:, column]
    order = np.lexsort((-probabilities, given))
    items = []
    for index in order[wrong[order]]:
        answer = " + ".join(labels.decode(combinations[answered[index]]))
        lines = (f"answered: {answer}", f"{_LABEL} {probabilities[index]:.2f}")
        title = " + ".join(labels.decode(targets[index]))
        items.append(PhotographItem(int(rows[index]), title, lines))
    write_photograph_page(path, cache, f"{len(items)} errors of {_LABEL}", items)


def scores_of_answers(
    targets: Answers,
    answers: dict[str, Answers],
    reference: str,
    labels: LabelSet,
    column: int,
) -> dict[str, dict[str, Any]]:
    """Exact match, F1s, and one label's F1 of all answers, each with its difference to a reference.

    The intervals are of the differences, 95 %, from a bootstrap over photographs.
    """
    values = {}
    for name, of_name in answers.items():
        metrics = score(targets, of_name, of_name.astype(np.float64), labels.names)
        values[name] = {
            "exact_match": metrics.exact_match,
            "micro_f1": metrics.micro.f1,
            "macro_f1": metrics.macro.f1,
            "label_f1": metrics.per_label[labels.names[column]].f1,
        }

    resampled = {
        name: {
            "exact_match": scores.exact_match,
            "micro_f1": scores.micro_f1,
            "macro_f1": scores.macro_f1,
            "label_f1": scores.per_label_f1[:, column],
        }
        for name, scores in resample_scores(targets, answers).items()
    }
    entries: dict[str, dict[str, Any]] = {}
    for name, scores_of_name in values.items():
        entries[name] = {}
        for kind, value in scores_of_name.items():
            difference = paired_difference(
                value - values[reference][kind], resampled[name][kind], resampled[reference][kind]
            )
            interval = [round(bound, 4) for bound in difference.interval.to_list()]
            entries[name][kind] = {
                "value": round(value, 4),
                "difference": round(difference.value, 4),
                "interval": interval,
            }
    return entries


if __name__ == "__main__":
    main()
