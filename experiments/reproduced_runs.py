"""Trainings of the paper's experiments, as the claims and the tables read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from experiments.definitions import read_toml
from leafzoom.errors import DataError
from leafzoom.evaluation.run_record import RunRecord, read_run
from leafzoom.metrics import HeadMetrics, score

__all__ = ["HEADS", "ReproducedArm", "ReproductionArm", "published_tables", "read_arm", "read_arms"]

HEADS = ("backbone", "scale1", "scale2", "scale3", "fusion12", "fusion123")
"""Of tables 1 to 6, in the paper's order."""

_STAGE = "alternation"
_VALIDATION = "select"  # how the log names what is measured on the validation part


@dataclass(frozen=True)
class ReproductionArm:
    """A training of reproduction.toml: `changes` are applied to the recipe `paper-lite`."""

    name: str
    title: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class ReproducedArm:
    """The finished trainings of an arm, a record a seed, all validated on the same photographs."""

    name: str
    runs: tuple[RunRecord, ...]

    def correct(self, head: str) -> NDArray[np.bool_]:
        """Whether each photograph is answered exactly at threshold 0.5, [seeds, n]."""
        return np.stack([((run.logits[head] > 0) == run.targets).all(axis=1) for run in self.runs])

    def metrics(self, head: str) -> list[HeadMetrics]:
        """The scores of tables 1 to 6, a value a seed."""
        scores = []
        for run in self.runs:
            logits = run.logits[head]
            probabilities = expit(logits)
            scores.append(score(run.targets, logits > 0, probabilities, run.labels))
        return scores

    def curve(self, metric: str) -> NDArray[np.float64]:
        """What every epoch of the alternation left on the validation part, [seeds, epochs]."""
        curves = []
        for run in self.runs:
            points = run.log[_STAGE, f"{_VALIDATION}_{metric}"]
            curves.append([value for _, value in points])
        return np.array(curves)


def read_arms() -> dict[str, ReproductionArm]:
    """All arms of reproduction.toml by name."""
    return {
        name: ReproductionArm(name, table["title"], tuple(table["set"]))
        for name, table in read_toml("reproduction.toml").items()
    }


def read_arm(name: str, folders: Sequence[Path]) -> ReproducedArm:
    """Read the finished trainings of an arm.

    Raises:
        DataError: a training has not finished, or was validated on other photographs.
    """
    runs = tuple(read_run(folder) for folder in folders)
    for folder, run in zip(folders, runs, strict=True):
        if not run.finished:
            raise DataError(f"{folder} has not finished: run the same command again to go on")
        if not run.has_same_validation_part(runs[0]):
            raise DataError(
                f"{folder} was validated on other photographs than {folders[0]}: leave "
                "data.validation_limit as it is, or choose another folder for the runs"
            )
    return ReproducedArm(name, runs)


def published_tables() -> dict[str, Any]:
    """Tables 1 to 6 of the paper: {head: {row: [precision, recall, F1, support]}}.

    Entry `exact_match`: of the fusions alone, as §4.1 gives it.
    """
    return read_toml("paper_tables.toml")
