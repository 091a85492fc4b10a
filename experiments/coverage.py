"""Do sets of possible answers cover the truth as often as they promise?

    python -m experiments.coverage MODEL.onnx DATA [--run RUN] [--elsewhere NAME=FOLDER]...

Calibrates on `inner-validation` as a training does, and counts on `inner-test` (one reading) and on
photographs from elsewhere, where nothing is promised: folders with `labels.csv` and `images/`. A
model that was trained on `inner-test` is judged on `inner-validation` instead, ten-fold. Compares
the scores that sets can be made with on `inner-validation` alone. Writes results/NAME.json.

--run: the run that the file was exported from (see `python -m tools.refit`). --keep: a folder for
network outputs, which another call reuses.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from experiments.conformal_scores import compare_scores
from experiments.measured_answers import MeasuredAnswers, Measurement
from leafzoom.fitting.conformal import fit_conformal
from leafzoom.fitting.out_of_fold import OutOfFoldAnswers
from leafzoom.labels import LabelSet
from leafzoom.model_file.calibration import ConformalCalibration
from leafzoom.storage import write_json
from tools.evaluation_data import open_data, read_labelled_folder, read_part
from tools.model_digest import model_digest
from tools.provenance import ROOT, commit
from tools.refit import ValidationAnswers, validation_answers

__all__ = ["main", "measure_coverage"]

_COVERAGES = (0.8, 0.9, 0.95, 0.99)
_COMPARED_COVERAGES = (0.9, 0.95, 0.99)
_FOLDS = 10
_CONFIDENCE_LEVEL = 0.95

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class _Share:
    """How many of some photographs were covered, with the exact 95 % interval of the share."""

    photographs: int
    covered: float
    interval: list[float]

    @classmethod
    def of(cls, hits: Bools) -> _Share:
        """Count hits [n], n > 0."""
        test = binomtest(int(hits.sum()), len(hits))
        interval = test.proportion_ci(_CONFIDENCE_LEVEL, method="exact")
        bounds = [round(float(interval.low), 4), round(float(interval.high), 4)]
        return cls(len(hits), round(float(hits.mean()), 4), bounds)


def main() -> None:
    """Calibrate, count, write."""
    arguments = _parser().parse_args()
    measurement = Measurement(arguments.model, arguments.keep)
    network = measurement.network
    manifest = network.manifest
    labels = manifest.labels

    cache = open_data(arguments.data, manifest.source_size)
    validation = validation_answers(arguments.model, network, cache, arguments.run)
    calibration = fit_conformal(validation.answers, validation.targets, labels)
    assert calibration is not None

    # Where it promises something, and where it does not.
    parts: dict[str, Any] = {}
    if manifest.data.get("split") == "all":
        parts["inner-validation, out of fold"] = _ten_fold(validation, labels)
    else:
        test = measurement.answers("inner-test", read_part(cache, "inner-test", manifest))
        parts["inner-test"] = measure_coverage(test, calibration, labels)
    for option in arguments.elsewhere:
        name, _, folder = option.partition("=")
        part = read_labelled_folder(Path(folder), labels.names, manifest.source_size)
        answers = measurement.answers(name, part)
        parts[name] = measure_coverage(answers, calibration, labels)

    options = " ".join(
        f"--elsewhere '{option.partition('=')[0]}=…'" for option in arguments.elsewhere
    )
    result = {
        "name": arguments.name,
        "model": manifest.name,
        "trained_on": manifest.data.get("trained_on"),
        "note": f"calibrated on {calibration.photographs} photographs of inner-validation",
        "command": f"python -m experiments.coverage {arguments.model.name} DATA {options}".strip(),
        "commit": commit(),
        "model_digest": model_digest(arguments.model),
        "scores": [asdict(trial) for trial in _compare(validation, labels)],
        "parts": parts,
    }
    path = ROOT / "results" / f"{arguments.name}.json"
    write_json(path, result)
    print(path)


def measure_coverage(
    answers: MeasuredAnswers, calibration: ConformalCalibration, labels: LabelSet
) -> dict[str, Any]:
    """How often sets have the true combination, at each coverage.

    Returns:
        `photographs`, `refused` (the share that is no leaf by its score and gets no set), and a
        list `coverages`: of those with a set, the share covered (`covered`, `interval`), the mean
        `size`, the shares of sets with `one` and `two` combinations, `by_label`, and how often the
        set of an `unsure` answer has the truth (`unsure`).
    """
    has_set = answers.verdicts != "not_a_leaf"
    rows = []
    for coverage in _COVERAGES:
        given = answers.take(has_set)
        sets = _sets(given.posterior, given.answers, calibration.least_probability(coverage))
        rows.append(_row(coverage, sets, given, labels))

    return {
        "photographs": len(answers),
        "refused": round(1 - float(has_set.mean()), 4),
        "coverages": rows,
    }


def _row(coverage: float, sets: Bools, given: MeasuredAnswers, labels: LabelSet) -> dict[str, Any]:
    """What the sets [n, C] of one coverage do."""
    hits: Bools = np.asarray((sets & _truth(given.targets, labels)).any(axis=1))
    sizes = sets.sum(axis=1)

    by_label = {}
    for column, label in enumerate(labels.names):
        chosen = given.targets[:, column] > 0
        if chosen.any():
            by_label[label] = asdict(_Share.of(hits[chosen]))

    unsure = given.verdicts == "unsure"
    return {
        "coverage": coverage,
        **asdict(_Share.of(hits)),
        "size": round(float(sizes.mean()), 3),
        "one": round(float((sizes == 1).mean()), 4),
        "two": round(float((sizes == 2).mean()), 4),
        "unsure": asdict(_Share.of(hits[unsure])) if unsure.any() else None,
        "unsure_size": round(float(sizes[unsure].mean()), 3) if unsure.any() else None,
        "by_label": by_label,
    }


def _sets(
    posterior: NDArray[np.float64], answers: NDArray[np.intp], least_probability: float
) -> Bools:
    """Which combinations are in each set, [n, C]."""
    sets = posterior >= least_probability
    sets[np.arange(len(sets)), answers] = True
    return sets


def _truth(targets: NDArray[np.uint8], labels: LabelSet) -> Bools:
    """Which combination is the true one, [n, C]; none where it is unknown."""
    combinations = np.array(labels.combinations, np.uint8)
    return np.asarray((targets[:, None, :] == combinations[None]).all(axis=2))


def _ten_fold(validation: ValidationAnswers, labels: LabelSet) -> dict[str, Any]:
    """The coverage on the validation part itself, each tenth calibrated on the others."""
    count = len(validation.targets)
    fold = np.random.default_rng(1).permutation(count) % _FOLDS
    answers = validation.answers
    given = MeasuredAnswers(
        targets=validation.targets,
        posterior=answers.probabilities,
        answers=answers.answers,
        verdicts=np.where(answers.confidence < 0.5, "unsure", "diagnosis"),
        ood_scores=np.zeros(count),
    )

    rows = []
    for coverage in _COVERAGES:
        sets = np.zeros(answers.probabilities.shape, bool)
        for number in range(_FOLDS):
            inside = fold == number
            others = OutOfFoldAnswers(answers.probabilities[~inside], answers.answers[~inside])
            calibration = fit_conformal(others, validation.targets[~inside], labels)
            assert calibration is not None
            least = calibration.least_probability(coverage)
            sets[inside] = _sets(given.posterior[inside], given.answers[inside], least)
        rows.append(_row(coverage, sets, given, labels))
    return {"photographs": count, "refused": 0.0, "coverages": rows}


def _compare(validation: ValidationAnswers, labels: LabelSet) -> Any:
    """The scores beside each other, on the validation part."""
    truth = _truth(validation.targets, labels)
    known = truth.any(axis=1)
    answers = validation.answers
    return compare_scores(
        answers.probabilities[known],
        answers.answers[known],
        truth[known].argmax(axis=1),
        validation.targets[known],
        _COMPARED_COVERAGES,
    )


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model", type=Path)
    options.add_argument("data", type=Path)
    options.add_argument("--run", type=Path)
    options.add_argument("--elsewhere", action="append", default=[], metavar="NAME=FOLDER")
    options.add_argument("--keep", type=Path)
    options.add_argument("--name", default="coverage", help="of the file in results/")
    return options


if __name__ == "__main__":
    main()
