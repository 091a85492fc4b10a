"""How high can anyone get? The labels' own noise, and the exact match that it leaves.

    python -m experiments.label_noise DATA [--boxes FOLDER]... [--model MODEL]... [--keep FOLDER]
        [--page FILE]

Three estimates. Near-duplicates of the whole table, each labelled twice; confident learning; and
answers in which two models agree. The last two are of `inner-validation`, by models that were not
trained on it. Beside them stand other people's labels of the same photographs: those of the
lesions in FOLDER. Reads the labels of `inner-test` for these and for near-duplicates alone. Writes
results/experiments/label-noise.json and docs/experiments/label-noise.svg.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations as subsets
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.confident_learning import confident_learning
from experiments.label_noise_plot import draw
from experiments.noise_estimates import (
    agreement_noise,
    clopper_pearson,
    duplicate_noise,
    share_estimate,
)
from experiments.publishing import write_result
from experiments.suspects import write_page
from experiments.unseen_answers import LabelledAnswers, answers_of_logits, unseen_logits
from leafzoom.dataset.audit import NearDuplicate, near_duplicates_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.lesions import read_labelled_lesions
from leafzoom.dataset.split import training_split
from leafzoom.dataset.table import Table
from leafzoom.labels import LabelSet
from leafzoom.model_file.bundled import bundled_model
from tools.evaluation_data import open_data
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit, machine

__all__ = ["boxes_entry", "duplicates_entry", "estimate_noise", "main"]

_NAME = "label-noise"
_SOURCE_SIZE = 256
_SUSPECTS_ON_PAGE = 40
_MODELS = (
    "weights/lite0-224-fine-tuned.safetensors",
    "weights/lite2-224-fine-tuned.safetensors",
    "bundled",
)
_CONFIDENT = 0.8  # of each of the models
_CONFIDENCES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_COMPLEX = "complex"
_WITHOUT_LESIONS = {_COMPLEX, "healthy"}


def main() -> None:
    """Measure, write the result, draw it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--model",
        action="append",
        help="Checkpoint or `bundled`, not trained on `inner-validation`; two at least. "
        "By default Lite0, Lite2 and the shipped model.",
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        action="append",
        default=[],
        help="Folder of photographs of DATA with labelled boxes of lesions; may be repeated.",
    )
    parser.add_argument("--keep", type=Path, help="Folder where the models' logits are kept.")
    parser.add_argument("--page", type=Path, help="HTML file of the most suspect photographs.")
    arguments = parser.parse_args()
    models = arguments.model or [_path_of(model) for model in _MODELS]
    if len(models) < 2:
        parser.error("two models at least: agreement is between them")

    cache = open_data(arguments.data, _SOURCE_SIZE)
    rows = _validation_rows(cache)
    measured = _measure_models(models, cache, rows, arguments.keep)
    if arguments.page:
        write_page(arguments.page, cache, rows, measured, _SUSPECTS_ON_PAGE)

    duplicates = duplicates_entry(cache.table, near_duplicates_of(cache), cache.checksums)
    estimates = estimate_noise(measured)
    boxes = {
        folder.name: boxes_entry(open_data(folder, _SOURCE_SIZE), folder)
        for folder in arguments.boxes
    }
    box_options = [f"--boxes {name.upper()}" for name in boxes]
    result = {
        "name": _NAME,
        "command": " ".join(["python -m experiments.label_noise DATA", *box_options]),
        "commit": commit("experiments", "src", "tools"),
        "model_digest": model_digest(bundled_model()),
        "machine": machine(),
        "duplicates": duplicates,
        "boxes": boxes,
        **estimates,
    }
    print(write_result(_NAME, result))
    print(draw(result, _NAME))


def duplicates_entry(
    table: Table, pairs: Sequence[NearDuplicate], checksums: NDArray[np.uint32]
) -> dict[str, Any]:
    """The near-duplicates of a table: how many have other labels, which, and the noise by them.

    Copies of one picture (`identical`) and other shots of a leaf (`other_shots`) count apart: a
    data set from which copies were removed may have kept those with other labels.

    Args:
        table: N photographs.
        pairs: of them.
        checksums: of their sources, [N].
    """
    labels: Counter[str] = Counter()
    for pair in pairs:
        if pair.conflicting(table):
            first = " + ".join(sorted(table.rows[pair.first].labels))
            second = " + ".join(sorted(table.rows[pair.second].labels))
            labels[" / ".join(sorted((first, second)))] += 1

    identical = [pair for pair in pairs if checksums[pair.first] == checksums[pair.second]]
    other_shots = [pair for pair in pairs if checksums[pair.first] != checksums[pair.second]]
    return {
        "photographs": len(table),
        "in_pairs": len({row for pair in pairs for row in (pair.first, pair.second)}),
        "labels": dict(labels.most_common()),
        "least_wrong": sum(labels.values()) / len(table),
        "all": _pairs_entry(table, pairs),
        "identical": _pairs_entry(table, identical),
        "other_shots": _pairs_entry(table, other_shots),
    }


def _pairs_entry(table: Table, pairs: Sequence[NearDuplicate]) -> dict[str, Any]:
    """How many pairs differ, and the noise if they were like all photographs; {} without pairs."""
    if not pairs:
        return {}
    differing = sum(pair.conflicting(table) for pair in pairs)
    noise = duplicate_noise(differing, len(pairs))
    return {"pairs": len(pairs), "differing_pairs": differing, **noise.to_dict()}


def boxes_entry(cache: Cache, folder: Path) -> dict[str, Any]:
    """How often the labels of photographs and those of their lesions' boxes name other diseases.

    `extra`: photographs with a box of a label that they do not have. `lacking`: those without a
    box of a label that they have; `complex` and `healthy` have no lesions of their own. Where both
    annotators err, `never_alike` is the rate of one of them.
    """
    labels = {row.image_name: set(row.labels) for row in cache.table.rows}
    extra: set[str] = set()
    lacking: set[str] = set()
    lesions = read_labelled_lesions(folder, cache)
    for image_name, known in lesions.items():
        given = labels[image_name] - _WITHOUT_LESIONS
        drawn = set(known.labels)
        if drawn - given:
            extra.add(image_name)
        if given - drawn:
            lacking.add(image_name)

    return {
        "photographs": len(lesions),
        "extra": len(extra),
        "lacking": len(lacking),
        **duplicate_noise(len(extra | lacking), len(lesions)).to_dict(),
    }


def estimate_noise(measured: LabelledAnswers) -> dict[str, Any]:
    """All that models say about the noise, and the range of the ceiling."""
    given = measured.given
    models = {}
    issues = {}
    for name, answers in measured.answers.items():
        issues[name] = confident_learning(
            measured.targets, answers.marginals, measured.labels.names
        )
        models[name] = {
            "exact_match": share_estimate(answers.answers == given).to_dict(),
            "mean_confidence": float(answers.confidence.mean()),
            "issues": issues[name].to_dict(),
        }

    agreement = {}
    for first, second in subsets(measured.answers, 2):
        noise = agreement_noise(
            measured.answers[first].answers, measured.answers[second].answers, given
        )
        agreement[f"{first}, {second}"] = noise.to_dict()

    flagged_by_all = np.all([found.flags for found in issues.values()], axis=0)
    estimates = {
        "photographs": len(given),
        "models": models,
        "flagged_by_all": share_estimate(flagged_by_all).to_dict(),
        "agreement": agreement,
        "confident_contradiction": _contradiction(measured, _CONFIDENT),
        "by_confidence": [_contradiction(measured, least) for least in _CONFIDENCES],
        "by_kind": _by_kind(measured),
        "by_combination": _by_combination(measured, flagged_by_all),
    }
    return estimates | {"ceiling": _ceiling(estimates)}


def _path_of(model: str) -> str:
    """A model of the repository, from wherever the program is called."""
    return model if model == "bundled" else str(ROOT / model)


def _validation_rows(cache: Cache) -> NDArray[np.int64]:
    """The cache's rows of `inner-validation`, in its order."""
    names = set(training_split(cache, "inner-train").validation)
    in_part = [image_name in names for image_name in cache.table.image_names]
    return np.flatnonzero(in_part)


def _measure_models(
    models: Sequence[str], cache: Cache, rows: NDArray[np.int64], keep: Path | None
) -> LabelledAnswers:
    """What models answer to photographs of a cache that they were not trained on."""
    labels = cache.table.label_set()
    targets = cache.table.targets(labels)[rows]
    answers = {}
    for model in models:
        logits = unseen_logits(model, cache, rows, keep)
        answers[Path(model).stem] = answers_of_logits(logits, targets, labels)
    return LabelledAnswers(targets, labels, answers)


def _contradiction(measured: LabelledAnswers, least: float) -> dict[str, Any]:
    """How often the labels differ from what all models answer with at least some confidence."""
    agreed = _agreed(measured) & (measured.posteriors.max(axis=2).min(axis=0) >= least)
    contradicted = agreed & (_first_answers(measured) != measured.given)
    entry = {
        "confidence": least,
        "photographs": int(agreed.sum()),
        "contradicted": int(contradicted.sum()),
        "of_all": share_estimate(contradicted).to_dict(),
    }
    if agreed.any():
        share = clopper_pearson(int(contradicted.sum()), int(agreed.sum()))
        entry["of_agreed"] = share.to_dict()
    return entry


def _by_combination(
    measured: LabelledAnswers, flagged_by_all: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Where the noise is: a row a given combination, the most frequent first."""
    given = measured.given
    answers = _first_answers(measured)
    contradicted = _agreed(measured) & (answers != given)
    titles = [_title(measured.labels, row) for row in measured.labels.combinations]

    rows = []
    for index, title in enumerate(titles):
        inside = given == index
        if not inside.any():
            continue
        instead = Counter(titles[answer] for answer in answers[inside & contradicted])
        share = clopper_pearson(int((inside & contradicted).sum()), int(inside.sum()))
        rows.append(
            {
                "combination": title,
                "photographs": int(inside.sum()),
                "flagged_by_all": int((inside & flagged_by_all).sum()),
                "contradicted": int((inside & contradicted).sum()),
                "contradicted_share": share.to_dict(),
                "instead": dict(instead.most_common()),
            }
        )
    return sorted(rows, key=lambda row: -int(row["photographs"]))


def _by_kind(measured: LabelledAnswers) -> dict[str, dict[str, Any]]:
    """Photographs with one label that is not `complex`, and all others: contradicted, and exact."""
    given = measured.given
    contradicted = _agreed(measured) & (_first_answers(measured) != given)
    is_complex = np.array([name == _COMPLEX for name in measured.labels.names])
    is_plain = (measured.targets.sum(axis=1) == 1) & ~measured.targets[:, is_complex].any(axis=1)

    kinds = {}
    for kind, inside in (("one label", is_plain), ("complex or several", ~is_plain)):
        exact = {
            name: int((answer.answers == given)[inside].sum())
            for name, answer in measured.answers.items()
        }
        kinds[kind] = {
            "photographs": int(inside.sum()),
            "contradicted": int((contradicted & inside).sum()),
            "exact": exact,
        }
    return kinds


def _ceiling(estimates: Mapping[str, Any]) -> dict[str, Any]:
    """The range of the ceiling, from the intervals of all estimates by models.

    Its low end is 1 less the greatest bound of the noise, but not below what a model reaches. Its
    high end is 1 less the least bound of the estimates that count few labels as wrong: those that
    all models contradict, surely or by cleanlab's rule. `low_value` and `high_value` are of the
    estimates themselves, without those of sure answers.
    """
    models = estimates["models"]
    upper = [model["issues"]["share"] for model in models.values()]
    for pair in estimates["agreement"].values():
        upper += [pair["contradicted"], pair["triplet"]]
    lower = [estimates["flagged_by_all"], estimates["confident_contradiction"]["of_all"]]
    values = [estimate["value"] for estimate in [*upper, estimates["flagged_by_all"]]]
    greatest = max(estimate["interval"][1] for estimate in upper)
    least = min(estimate["interval"][0] for estimate in lower)

    best = max(models, key=lambda name: float(models[name]["exact_match"]["value"]))
    reached = models[best]["exact_match"]
    return {
        "low": max(1 - greatest, reached["value"]),
        "high": 1 - least,
        "low_by_estimates": 1 - greatest,
        "low_value": 1 - max(values),
        "high_value": 1 - min(values),
        "best_model": best,
        "reached": reached,
    }


def _agreed(measured: LabelledAnswers) -> NDArray[np.bool_]:
    """Where all models give the same answer, [n]."""
    answers = np.stack([answer.answers for answer in measured.answers.values()])
    return np.asarray((answers == answers[0]).all(axis=0))


def _first_answers(measured: LabelledAnswers) -> NDArray[np.intp]:
    """The answers [n] of the first model: those of all where they agree."""
    return next(iter(measured.answers.values())).answers


def _title(labels: LabelSet, combination: tuple[int, ...]) -> str:
    """A combination in words."""
    names = labels.decode(np.array(combination))
    return " + ".join(names).replace("_", " ") or "none"


if __name__ == "__main__":
    main()
