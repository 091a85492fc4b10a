"""What is familiar, fitted on descriptors of photographs that the scales were not trained on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from leafzoom.model.familiarity import Familiarity

__all__ = ["fit_familiarity"]

_DIRECTIONS = 128
_PASS = 0.99  # of leaves, out of fold
_FOLDS = 5
_FEWEST = 20  # photographs; from fewer nothing can be said

Array = NDArray[np.float64]


def fit_familiarity(descriptors: NDArray[np.float32], scales: int, seed: int) -> Familiarity | None:
    """The density of leaves' descriptors, and the limit that all but one in a hundred of them keep, out of fold.

    Args:
        descriptors: [n, W], all scales' side by side, of photographs that the scales were not trained on.
        scales: whose parts of W get one factor each, so that each counts the same.
        seed: of the folds.

    Returns:
        None from fewer than 20 photographs.
    """
    count, width = descriptors.shape
    if count < _FEWEST:
        return None
    x = np.asarray(descriptors, np.float64)
    shift = x.mean(axis=0)
    mean_square = np.square(x - shift).reshape(count, scales, -1).mean(axis=(0, 2))
    factor = np.repeat(1 / np.sqrt(np.maximum(mean_square, 1e-12)), width // scales)
    centred = (x - shift) * factor
    kept = min(_DIRECTIONS, count // 5, width - 1)  # in every fold too
    held_out = np.zeros(count)
    fold = np.random.Generator(np.random.PCG64(seed)).permutation(count) % _FOLDS
    for number in range(_FOLDS):
        inside = centred[fold != number]
        middle = inside.mean(axis=0)
        density = _density(inside - middle, kept)
        held_out[fold == number] = _distances(centred[fold == number] - middle, *density)
    limit = max(float(np.quantile(held_out, _PASS, method="higher")), 1e-6)
    directions, precision, rest = _density(centred, kept)
    found = Familiarity(width, len(precision))
    for buffer, value in (
        (found.shift, shift),
        (found.scale, factor),
        (found.directions, directions),
        (found.precision, precision / limit),
        (found.rest, np.array([rest / limit])),
    ):
        buffer.copy_(torch.from_numpy(value))
    return found


def _density(centred: Array, kept: int) -> tuple[Array, Array, float]:
    """Of centred rows: K = `kept` directions [W, K], their inverse variances [K], and that of all others."""
    count, width = centred.shape
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    variances = np.square(values) / count
    rest = max(float(variances[kept:].sum()) / (width - kept), 1e-12)
    return vectors[:kept].T, 1 / np.maximum(variances[:kept], rest), 1 / rest


def _distances(centred: Array, directions: Array, precision: Array, rest: float) -> Array:
    """Squared Mahalanobis distances [n] of centred rows."""
    along = np.square(centred @ directions)
    outside = np.square(centred).sum(axis=1) - along.sum(axis=1)
    return np.asarray(along @ precision + outside * rest)
