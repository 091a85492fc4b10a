"""How unlike photographs are by their descriptors: outliers, and which photos to label first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["entropy_share", "far_out", "labelling_order", "neighbour_distances"]

_NEIGHBOURS = 10
_ROWS_AT_ONCE = 1024
_FAR_OUT = 3.0  # interquartile ranges above the upper quartile, as Tukey's fences have it
_MIN_PROBABILITY = 1e-12

Array = NDArray[np.float64]


def neighbour_distances(descriptors: NDArray[np.float32]) -> Array:
    """The mean cosine distance of each photograph to its ten nearest others, [n].

    Args:
        descriptors: [n, W].
    """
    unit = _unit(descriptors)
    count = len(unit)
    nearest = min(_NEIGHBOURS, count - 1)
    if nearest < 1:
        return np.zeros(count)

    distances = np.zeros(count)
    for start in range(0, count, _ROWS_AT_ONCE):
        similarity = unit[start : start + _ROWS_AT_ONCE] @ unit.T
        own = np.arange(len(similarity))
        similarity[own, start + own] = -np.inf
        closest = np.partition(similarity, -nearest, axis=1)[:, -nearest:]
        distances[start : start + _ROWS_AT_ONCE] = 1 - closest.mean(axis=1)
    return distances


def far_out(distances: Array) -> NDArray[np.bool_]:
    """Which distances are more than three interquartile ranges above the upper quartile, [n].

    >>> far_out(np.array([1.0, 1.1, 1.2, 1.3, 9.0])).tolist()
    [False, False, False, False, True]
    """
    low, high = np.quantile(distances, [0.25, 0.75])
    return np.asarray(distances > high + _FAR_OUT * (high - low))


def entropy_share(probabilities: Array) -> Array:
    """How uncertain labels are: the mean entropy of a photograph's labels, in bits, [n] in 0..1.

    Args:
        probabilities: of the labels, [n, L].

    >>> entropy_share(np.array([[0.5, 0.5], [1.0, 0.0]])).round(6).tolist()
    [1.0, 0.0]
    """
    p = np.clip(probabilities, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    entropy = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    return np.asarray(entropy.mean(axis=1))


def labelling_order(
    descriptors: NDArray[np.float32],
    uncertainty: Array,
    labelled: NDArray[np.float32],
    count: int,
) -> list[int]:
    """Which unlabelled photographs to label first, by uncertainty times diversity.

    One after the other, the photograph is taken whose uncertainty times its cosine distance to the
    nearest photograph that is labelled or taken already is greatest.

    Args:
        descriptors: of the unlabelled ones, [m, W].
        uncertainty: of the unlabelled ones, [m].
        labelled: descriptors of the labelled ones, [n, W].
        count: how many to take.
    """
    unit = _unit(descriptors)
    distance = np.ones(len(unit))
    known = _unit(labelled)
    for start in range(0, len(known), _ROWS_AT_ONCE):
        similarity = unit @ known[start : start + _ROWS_AT_ONCE].T
        distance = np.minimum(distance, 1 - similarity.max(axis=1))

    order: list[int] = []
    is_taken = np.zeros(len(unit), bool)
    for _ in range(min(count, len(unit))):
        worth = np.where(is_taken, -np.inf, uncertainty * np.maximum(distance, 0.0))
        chosen = int(worth.argmax())
        order.append(chosen)
        is_taken[chosen] = True
        distance = np.minimum(distance, 1 - unit @ unit[chosen])
    return order


def _unit(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of norm one; a row of zeros stays."""
    norm = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return np.asarray(descriptors / np.where(norm > 0, norm, 1.0), np.float32)
