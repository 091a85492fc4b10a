"""The photos of one request together: probabilities rather than a count of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.inference.prediction import FailedPhoto, Prediction
from leafzoom.labels import Decision, combination_probabilities
from leafzoom.model_file.manifest import Manifest

__all__ = ["PooledAnswer", "pool"]

_DIGITS = 6


@dataclass(frozen=True)
class PooledAnswer:
    """What several leaves say together.

    Attributes:
        leaves: how many photos were taken for leaves, `unsure` ones among them.
        share: {label: the expected share of these leaves that have it}.
        any_leaf: {label: the probability that at least one of them has it}, as if photos were
            independent.
    """

    leaves: int
    share: dict[str, float]
    any_leaf: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The object of the service."""
        return {"leaves": self.leaves, "share": self.share, "any_leaf": self.any_leaf}


def pool(
    results: Sequence[Prediction | FailedPhoto],
    manifest: Manifest,
    decisions: Mapping[str, Decision] | None = None,
) -> PooledAnswer | None:
    """Pool the calibrated probabilities of each leaf's labels.

    A label's probability on a leaf is the sum over the combinations with it. `not_a_leaf` and
    unreadable photos are left out. An `unsure` leaf counts with its probabilities, which say how
    unsure it is.

    Args:
        results: of one request.
        manifest: of the model.
        decisions: by head, in place of the manifest's.

    Returns:
        None without a leaf.
    """
    leaves = [
        result
        for result in results
        if isinstance(result, Prediction) and result.verdict != "not_a_leaf"
    ]
    if not leaves:
        return None

    decisions = decisions or manifest.decisions
    by_leaf = np.stack([_label_probabilities(leaf, manifest, decisions) for leaf in leaves])
    share = by_leaf.mean(axis=0)
    any_leaf = 1 - np.prod(1 - by_leaf, axis=0)
    names = manifest.labels.names
    return PooledAnswer(
        leaves=len(leaves),
        share=_by_name(names, share.tolist()),
        any_leaf=_by_name(names, any_leaf.tolist()),
    )


def _label_probabilities(
    leaf: Prediction, manifest: Manifest, decisions: Mapping[str, Decision]
) -> NDArray[np.float64]:
    """The calibrated probabilities of a leaf's labels, [L]."""
    # After an early exit the first look alone has answered.
    head = manifest.head if len(leaf.scales) == manifest.scales else manifest.look_heads[0]
    labels = manifest.labels
    row = np.array([[leaf.probabilities[name] for name in labels.names]])
    posterior = combination_probabilities(row, decisions[head], labels)[0]
    return np.asarray(np.clip(posterior @ np.array(labels.combinations, np.float64), 0, 1))


def _by_name(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """Rounded to six decimals, and never outside 0..1."""
    rounded = [min(max(round(value, _DIGITS), 0.0), 1.0) for value in values]
    return dict(zip(names, rounded, strict=True))
