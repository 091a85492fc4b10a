"""Shares of an orchard's leaves by maximum likelihood, with a bootstrap over photos and confusion.

What `leafzoom.orchard.prevalence` is compared with: each draw takes new counts of the group's
answers and of the confusion (the Bayesian bootstrap, Rubin 1981) and finds the shares under which
they are likeliest, by expectation maximisation (Saerens, Latinne and Decaestecker 2002).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leafzoom.labels import LabelSet
from leafzoom.model_file.confusion import NOT_A_LEAF, UNSURE, Confusion
from leafzoom.orchard.prevalence import GroupAnswers, Share, confusion_prior

__all__ = ["bootstrap_shares"]

_PERCENTILES = (2.5, 97.5)
_ROUNDS = 40
_LEAST = 1e-300

Array = NDArray[np.float64]


def bootstrap_shares(
    answers: GroupAnswers, labels: LabelSet, confusion: Confusion, *, draws: int, seed: int
) -> tuple[Share, ...]:
    """The share of leaves with each label.

    Args:
        answers: to the photos of a group, at least one of a leaf.
        labels: with C combinations.
        confusion: of the model.
        draws: of the bootstrap.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    has_label = np.array(labels.combinations, np.float64)
    matrix = confusion.matrix()
    known = np.flatnonzero(matrix.any(axis=1) | (answers.counts[:UNSURE] > 0))
    counts = (matrix + confusion_prior(matrix))[known]
    photos = answers.counts[:NOT_A_LEAF].astype(np.float64)

    even = np.full((1, len(known)), 1 / len(known))
    confusions = _normalised(random.standard_gamma(np.tile(counts, (draws, 1, 1))))
    best = _maximise(photos[None], _normalised(counts)[None], even)
    start = 0.95 * best + 0.05 * even

    shares = []
    for column, name in enumerate(labels.names):
        # A prior of half a photo on each side, so that no label is surely absent.
        drawn = random.standard_gamma(
            np.tile(photos + _prior(photos, has_label[:, column]), (draws, 1))
        )
        found = _maximise(_normalised(drawn), confusions, start) @ has_label[known, column]
        low, high = np.percentile(found, _PERCENTILES)
        value = float(best[0] @ has_label[known, column])
        low_bound = min(float(low), value)
        shares.append(Share(name, 0, value, low_bound, max(float(high), value), None))
    return tuple(shares)


def _prior(photos: Array, has_label: Array) -> Array:
    """Half a photo on the answers with a label, half on those without, spread like the photos."""
    with_label = np.append(has_label, 0.0)
    prior = np.zeros(len(photos))
    for side in (with_label, 1 - with_label):
        weights = photos * side if (photos * side).any() else side
        prior += weights / max(weights.sum(), _LEAST) / 2
    return prior


def _maximise(photos: Array, confusions: Array, start: Array) -> Array:
    """The likeliest shares [R, K] for answers [R, A] and confusions [R, K, A + 1]."""
    is_leaf = 1 - confusions[:, :, NOT_A_LEAF]
    by_answer = confusions[:, :, :NOT_A_LEAF] / is_leaf[:, :, None]
    shares = np.broadcast_to(start, is_leaf.shape)
    for _ in range(_ROUNDS):
        expected = np.einsum("rk,rka->ra", shares, by_answer)
        ratio = photos / np.maximum(expected, _LEAST)
        shares = _normalised(shares * np.einsum("ra,rka->rk", ratio, by_answer))
    return _normalised(shares / is_leaf)


def _normalised(weights: Array) -> Array:
    """With sums of 1 along the last axis."""
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
