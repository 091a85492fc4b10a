"""Probabilities from logits, and how unlikely they make the labels, as arrays.

Labels by themselves have a sigmoid and the binary cross-entropy; classes that exclude each other
(`LabelSet.single_label`) have a softmax and its cross-entropy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

__all__ = ["label_probabilities", "photograph_losses"]

Array = NDArray[np.float64]


def label_probabilities(logits: NDArray[np.floating], *, single_label: bool) -> Array:
    """Probabilities [n, L] in float64 from logits [n, L].

    >>> label_probabilities(np.array([[0.0, 0.0]]), single_label=True).tolist()
    [[0.5, 0.5]]
    """
    exact = np.asarray(logits, np.float64)
    return np.asarray(softmax(exact, axis=1) if single_label else expit(exact))


def photograph_losses(
    logits: NDArray[np.floating],
    targets: NDArray[np.uint8] | Array,
    *,
    single_label: bool,
) -> Array:
    """Each photograph's cross-entropy [n]; a mean over the labels where it is binary.

    Args:
        logits: [n, L]; NaN gives NaN.
        targets: [n, L], 0 or 1.
        single_label: whether each photograph has one class.
    """
    z = np.asarray(logits, np.float64)
    with np.errstate(invalid="ignore"):
        if single_label:
            return np.asarray(np.logaddexp.reduce(z, axis=1) - (z * targets).sum(axis=1))
        return np.asarray((np.logaddexp(0, z) - z * targets).mean(axis=1))
