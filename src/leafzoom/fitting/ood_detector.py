"""The out-of-distribution detector, fitted on photographs that the scales were not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from leafzoom.model.ood_detector import MahalanobisDetector

__all__ = ["fit_ood_detector"]

_MAX_DIRECTIONS = 128
_ACCEPTED_SHARE = 0.99  # of leaves, out of fold
_FOLDS = 5
_MIN_PHOTOGRAPHS = 20
_MIN_VARIANCE = 1e-12

Array = NDArray[np.float64]


def fit_ood_detector(
    descriptors: NDArray[np.float32], scales: int, seed: int
) -> MahalanobisDetector | None:
    """Fit the density of leaves' descriptors, and the limit within which 99 % of leaves lie.

    The limit is a quantile of distances out of fold.

    Args:
        descriptors: [n, W], all scales' side by side, of photographs that no scale was trained on.
        scales: whose parts of W are scaled by one factor each, so that each has the same weight.
        seed: of the folds.

    Returns:
        None from fewer than 20 photographs.
    """
    count, width = descriptors.shape
    if count < _MIN_PHOTOGRAPHS:
        return None

    # Standardise: zero mean, and each scale's descriptors of mean square one.
    x = np.asarray(descriptors, np.float64)
    shift = x.mean(axis=0)
    by_scale = np.square(x - shift).reshape(count, scales, -1)
    mean_square = by_scale.mean(axis=(0, 2))
    factor = np.repeat(1 / np.sqrt(np.maximum(mean_square, _MIN_VARIANCE)), width // scales)
    centred = (x - shift) * factor

    # As many directions as every fold has photographs for.
    directions = min(_MAX_DIRECTIONS, count // 5, width - 1)
    distances = _out_of_fold_distances(centred, directions, seed)
    limit = max(float(np.quantile(distances, _ACCEPTED_SHARE, method="higher")), 1e-6)

    # Fitted on all photographs, and divided by the limit so that a score of 1 is at it.
    density = _Density.fit(centred, directions)
    detector = MahalanobisDetector(width, len(density.precision))
    detector.shift.copy_(torch.from_numpy(shift))
    detector.scale.copy_(torch.from_numpy(factor))
    detector.directions.copy_(torch.from_numpy(density.directions))
    detector.precision.copy_(torch.from_numpy(density.precision / limit))
    detector.rest.fill_(density.rest / limit)
    return detector


@dataclass(frozen=True)
class _Density:
    """A normal density around zero.

    `directions`: [W, K], orthonormal. `precision`: [K], inverse variances along them. `rest`: the
    inverse variance along all others.
    """

    directions: Array
    precision: Array
    rest: float

    @classmethod
    def fit(cls, centred: Array, directions: int) -> _Density:
        """The density of centred rows [n, W], with variances of their own along K directions."""
        count, width = centred.shape
        _, values, vectors = np.linalg.svd(centred, full_matrices=False)
        variances = np.square(values) / count

        # All directions outside share their mean variance, and none of the K may have less.
        outside = float(variances[directions:].sum()) / (width - directions)
        rest = max(outside, _MIN_VARIANCE)
        along = np.maximum(variances[:directions], rest)
        return cls(vectors[:directions].T, 1 / along, 1 / rest)

    def distances(self, centred: Array) -> Array:
        """Squared Mahalanobis distances [n] of centred rows [n, W]."""
        along = np.square(centred @ self.directions)
        outside = np.square(centred).sum(axis=1) - along.sum(axis=1)
        return np.asarray(along @ self.precision + outside * self.rest)


def _out_of_fold_distances(centred: Array, directions: int, seed: int) -> Array:
    """The distance [n] of each row from a density that was fitted without its fold."""
    count = len(centred)
    random = np.random.Generator(np.random.PCG64(seed))
    fold = random.permutation(count) % _FOLDS

    distances = np.zeros(count)
    for number in range(_FOLDS):
        fitted = centred[fold != number]
        mean = fitted.mean(axis=0)
        density = _Density.fit(fitted - mean, directions)
        distances[fold == number] = density.distances(centred[fold == number] - mean)
    return distances
