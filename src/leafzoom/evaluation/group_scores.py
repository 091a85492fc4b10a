"""The scores of each group of photographs (an orchard, say), and how far groups differ.

Photographs of one orchard are alike, so an interval over photographs is too narrow for another
orchard. Here whole groups are resampled.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from leafzoom.dataset.table import Table
from leafzoom.evaluation.bootstrap import Interval, percentile_interval
from leafzoom.evaluation.evaluate import Evaluation
from leafzoom.metrics import score

__all__ = ["GroupScore", "GroupScores", "group_scores"]

_RESAMPLES = 2000


@dataclass(frozen=True)
class GroupScore:
    """The scores of one group's photographs, with the decision of `predict`."""

    photographs: int
    exact_match: float
    micro_f1: float
    macro_f1: float


@dataclass(frozen=True)
class GroupScores:
    """The scores of the report's head by group.

    `column`: of the table. `groups`: {group: scores}, sorted by name. `mean_exact_match`: every
    group counts alike. `worst`: the group with the lowest exact match. `interval`: 95 %, of the
    exact match over all photographs, of a bootstrap over groups; None with fewer than two.
    """

    column: str
    head: str
    groups: dict[str, GroupScore]
    mean_exact_match: float
    worst: str
    interval: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """The entry `groups` of `metrics.json`."""
        return {
            **asdict(self),
            "interval": None if self.interval is None else self.interval.to_list(),
        }


def group_scores(evaluation: Evaluation, table: Table) -> GroupScores | None:
    """The scores by group; None if the table has no column of groups, or no photograph is read."""
    if not table.group_column or not evaluation.image_names:
        return None
    group_of = np.array([row.group for row in table.take(evaluation.image_names).rows])

    head = evaluation.head
    answers = evaluation.answers_fitted[head]
    names = evaluation.manifest.labels.names
    groups = {}
    for group in np.unique(group_of).tolist():
        rows = group_of == group
        metrics = score(
            evaluation.targets[rows], answers[rows], evaluation.probabilities[head][rows], names
        )
        groups[group] = GroupScore(
            photographs=int(rows.sum()),
            exact_match=metrics.exact_match,
            micro_f1=metrics.micro.f1,
            macro_f1=metrics.macro.f1,
        )

    exact_matches = [group.exact_match for group in groups.values()]
    return GroupScores(
        column=table.group_column,
        head=head,
        groups=groups,
        mean_exact_match=float(np.mean(exact_matches)),
        worst=min(groups, key=lambda group: groups[group].exact_match),
        interval=_interval(groups),
    )


def _interval(groups: dict[str, GroupScore], seed: int = 0) -> Interval | None:
    """The 95 % interval of the exact match over all photographs, groups drawn as wholes."""
    if len(groups) < 2:
        return None
    sizes = np.array([group.photographs for group in groups.values()], np.float64)
    matches = np.array([group.exact_match for group in groups.values()]) * sizes

    # How often each group is drawn in each resample.
    shares = np.full(len(groups), 1 / len(groups))
    draws = np.random.default_rng(seed).multinomial(len(groups), shares, size=_RESAMPLES)
    return percentile_interval((draws @ matches) / (draws @ sizes))
