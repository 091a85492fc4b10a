"""What the runs of an arm measured: exact matches, boxes and lesions, a value a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.definitions import Arm
from experiments.measured_runs import MeasuredRun, require_runs
from experiments.statistics import BySeed, means, rounded, rounded_by_seed

__all__ = ["ArmResult", "arm_result"]


@dataclass(frozen=True)
class ArmResult:
    """An arm's measurements, with a value a seed in every list.

    `correct`: whether the compared head answers each photograph exactly, [seeds, n].
    `exact_match`: {head: shares}. `boxes`: {"box2_centre_spread" or "box2_side_mean": shares of the
    source's side}. `lesions`: {"box2_centre_on": shares}, see `lesion_hits`. `commits`: of the code
    that measured. `explained`: the variance of losses that `experiments.gain` predicts, where its
    boxes are used.
    """

    arm: Arm
    seeds: tuple[int, ...]
    correct: NDArray[np.bool_]
    exact_match: BySeed
    boxes: BySeed
    lesions: BySeed
    commits: frozenset[str]
    explained: list[float] = field(default_factory=list)

    @property
    def exact_match_by_seed(self) -> BySeed:
        """The exact matches, rounded."""
        return rounded_by_seed(self.exact_match)

    def correct_with(self, seeds: list[int]) -> NDArray[np.bool_]:
        """`correct` of some seeds, [seeds, n]."""
        return self.correct[[self.seeds.index(seed) for seed in seeds]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rounded."""
        # How the arm is trained.
        row: dict[str, Any] = {"changes": list(self.arm.changes)}
        if self.arm.extends is not None:
            row["extends"] = self.arm.extends
        if self.arm.start is not None:
            row["start"] = self.arm.start

        # What its runs scored; boxes and lesions as means over the seeds.
        row |= {
            "commits": sorted(self.commits),
            "seeds": len(self.seeds),
            "seed_numbers": list(self.seeds),
            "exact_match": means(self.exact_match),
            "exact_match_by_seed": self.exact_match_by_seed,
            "boxes": means(self.boxes),
        }
        if self.lesions:
            row["lesions"] = means(self.lesions)
            row["lesions_by_seed"] = rounded_by_seed(self.lesions)
        if self.explained:
            row["explained"] = [rounded(value) for value in self.explained]
        return row


def arm_result(runs: Path, arm: Arm, head: str = "") -> ArmResult:
    """Read the measured runs of an arm.

    Args:
        runs: the folder of all runs.
        arm: which.
        head: the only one that is read, without boxes; "": all, and the last fusion is compared.

    Raises:
        SystemExit: no run of the arm is measured.
    """
    measured_runs = require_runs(runs, arm.name)
    exact_match: BySeed = {}
    boxes: BySeed = {}
    lesions: BySeed = {}
    correct = []

    # The last head is the one that is compared, photograph by photograph.
    for run in measured_runs:
        arrays = run.arrays()
        hits = _hits(arrays, head)
        for name, values in hits.items():
            exact_match.setdefault(name, []).append(float(values.mean()))
        correct.append(list(hits.values())[-1])

        # A single head is read for its answers alone.
        if not head:
            _add(boxes, _box_statistics(run, arrays))
            _add(lesions, _lesion_shares(arrays))

    return ArmResult(
        arm=arm,
        seeds=tuple(run.seed for run in measured_runs),
        correct=np.stack(correct),
        exact_match=exact_match,
        boxes=boxes,
        lesions=lesions,
        commits=frozenset(run.commit for run in measured_runs),
    )


def _hits(arrays: dict[str, NDArray[Any]], head: str) -> dict[str, NDArray[np.bool_]]:
    """Whether each photograph is answered exactly, {head: [n]}, of one head or of all."""
    suffix = "_answer"
    answers = {
        key.removesuffix(suffix): array for key, array in arrays.items() if key.endswith(suffix)
    }
    if head:
        answers = {head: answers[head]}
    return {name: (answer == arrays["targets"]).all(axis=1) for name, answer in answers.items()}


def _box_statistics(run: MeasuredRun, arrays: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Where a run's boxes lie and how large they are, as shares of the source's side."""
    statistics = {}
    for key in _box_keys(arrays, of_lesions=False):
        centres = arrays[key][:, :2] / run.source_size
        half_sides = arrays[key][:, 2] / run.source_size
        statistics[f"{key}_centre_spread"] = float(centres.std(axis=0).mean())
        statistics[f"{key}_side_mean"] = float(2 * half_sides.mean())
    return statistics


def _lesion_shares(arrays: dict[str, NDArray[Any]]) -> dict[str, float]:
    """The shares of a run's boxes that meet lesions; empty where none is known."""
    return {key: float(arrays[key].mean()) for key in _box_keys(arrays, of_lesions=True)}


def _box_keys(arrays: dict[str, NDArray[Any]], *, of_lesions: bool) -> list[str]:
    """`box2`, …, or the names of their lesions' arrays, `box2_holds`, …."""
    return [key for key in arrays if key.startswith("box") and ("_" in key) == of_lesions]


def _add(by_seed: BySeed, values: dict[str, float]) -> None:
    for key, value in values.items():
        by_seed.setdefault(key, []).append(value)
