"""Label issues by confident learning: cleanlab's multi-label methods (Northcutt et al., 2021).

A label is an issue where a model that was not trained on the photograph contradicts it more
confidently than it usually is of that label. cleanlab counts how many there are of each label, and
takes the least probable ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
from numpy.typing import NDArray

from experiments.noise_estimates import Estimate
from leafzoom.evaluation.bootstrap import percentile_interval

__all__ = ["LabelIssues", "confident_learning"]

_RESAMPLES = 300


@dataclass(frozen=True)
class LabelIssues:
    """The label issues of n photographs.

    `issues`: which labels are issues, [n, L]. `share`: of photographs with an issue. `by_label`:
    {label: {"given": photographs whose label is doubtful, "missing": those that lack it}}.
    """

    issues: NDArray[np.bool_]
    share: Estimate
    by_label: dict[str, dict[str, int]]

    @property
    def flags(self) -> NDArray[np.bool_]:
        """Which photographs have an issue, [n]."""
        return np.asarray(self.issues.any(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the photographs."""
        return {"share": self.share.to_dict(), "by_label": self.by_label}


def confident_learning(
    targets: NDArray[np.uint8], marginals: NDArray[np.float64], label_names: tuple[str, ...]
) -> LabelIssues:
    """Find the label issues of photographs; the interval is of a bootstrap over them.

    A model's confident errors count as issues, which makes the share too high, the more so the
    weaker the model is. Where annotators do not agree on one of two combinations, no model is
    confident, and half of these photographs' labels are wrong without an issue: too low.

    Args:
        targets: [n, L], as labelled.
        marginals: the labels' probabilities by a model that has not seen the photographs, [n, L].
        label_names: L.
    """
    issues = _find(targets, marginals)

    # cleanlab counts anew on each resample.
    random = np.random.default_rng(0)
    shares = []
    for _ in range(_RESAMPLES):
        drawn = random.integers(0, len(targets), len(targets))
        shares.append(float(_find(targets[drawn], marginals[drawn]).any(axis=1).mean()))
    interval = percentile_interval(np.array(shares))

    by_label = {}
    for index, name in enumerate(label_names):
        is_given = targets[:, index] == 1
        by_label[name] = {
            "given": int((issues[:, index] & is_given).sum()),
            "missing": int((issues[:, index] & ~is_given).sum()),
        }
    share = Estimate(float(issues.any(axis=1).mean()), (interval.low, interval.high))
    return LabelIssues(issues, share, by_label)


def _find(targets: NDArray[np.uint8], marginals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which labels are issues, [n, L], by cleanlab's rule for the number of each label."""
    label_lists = [np.flatnonzero(row).tolist() for row in targets]
    return np.asarray(find_multilabel_issues_per_class(label_lists, marginals, n_jobs=1), bool)
