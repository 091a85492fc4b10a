"""The outlier detector, fitted on leaves and on pictures that are none (outlier exposure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from leafzoom.model.ood_detector import OutlierDetector

__all__ = [
    "MIN_LEAVES",
    "MIN_OTHERS",
    "KindFigures",
    "LeafOutliers",
    "OutlierFit",
    "detector_accepting",
    "fit_outlier_detector",
]

MIN_LEAVES = 20
MIN_OTHERS = 20

_ACCEPTED_SHARE = 0.99  # of leaves, out of fold
_FOLDS = 5
_LEAST_COLOUR_SHARE = 0.1
_MIN_LEAF_COLOUR = 0.02
_MIN_STD = 1e-4  # features that vary less are not read; half precision holds 1 / this

# Strengths of the logistic regression's penalty (scikit-learn's C), the strongest first.
_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2)
_TOLERATED_SHARE = 0.01  # of other pictures that may pass more than with the best penalty

Array = NDArray[np.float64]


@dataclass(frozen=True)
class KindFigures:
    """How pictures of one kind fare with a detector that saw no picture of this kind.

    `accepted`: the share of them that passes for leaves. `pictures`: how many there are.
    """

    accepted: float
    pictures: int


@dataclass(frozen=True)
class OutlierFit:
    """A fitted detector and how it was chosen.

    `strength`: C of the logistic regression. `kinds`: {kind: its figures}, each from a fit without
    this kind; empty where the strength was given. `refused_leaves`: the share of leaves above the
    limit, out of fold.
    """

    detector: OutlierDetector
    strength: float
    kinds: dict[str, KindFigures]
    refused_leaves: float


@dataclass(frozen=True)
class LeafOutliers:
    """A detector, and its scores [n] of the photographs that the heads are fitted on."""

    detector: OutlierDetector
    leaf_scores: NDArray[np.float32]

    @classmethod
    def of(cls, detector: OutlierDetector, leaves: NDArray[np.float32]) -> LeafOutliers:
        """The detector with its scores of leaves with features [n, W]."""
        return cls(detector, _scores(detector, leaves))


def fit_outlier_detector(
    leaves: NDArray[np.float32],
    varied_leaves: NDArray[np.float32],
    others: NDArray[np.float32],
    kinds: Sequence[str],
    seed: int,
    strength: float | None = None,
) -> OutlierFit | None:
    """Fit the logistic regression, and the limit within which 99 % of leaves lie.

    Leaves and other pictures weigh the same, and so does every kind among the other pictures. Each
    penalty is judged by kinds that were left out of the fit, since a new kind of picture is what a
    user brings. The strongest penalty that lets hardly more of them pass than the best is taken: a
    weaker one refuses more leaves from elsewhere. The limit is a quantile of leaves out of fold.

    Args:
        leaves: features [n, W] (see `outlier_features`) of photographs of leaves that the scales
            were not trained on.
        varied_leaves: [v, W], of leaves that were changed (blur, light, background); they are
            fitted, but the limit is of leaves as they are.
        others: [m, W], of pictures that are no leaves.
        kinds: m names; pictures of one kind are left out together.
        seed: of the folds.
        strength: C of the logistic regression; None: chosen as above.

    Returns:
        None from fewer than 20 leaves or 20 other pictures.
    """
    if len(leaves) < MIN_LEAVES or len(others) < MIN_OTHERS:
        return None
    data = _Data.standardised(leaves, varied_leaves, others, kinds)
    fold = np.random.Generator(np.random.PCG64(seed)).permutation(len(leaves)) % _FOLDS

    # The penalty, by the kinds that each fit has not seen.
    figures: dict[str, KindFigures] = {}
    if strength is None:
        strength, figures = _choose_strength(data, fold)

    # The limit, from leaves that each fit has not seen.
    log_odds = _out_of_fold(data, strength, fold)
    limit = float(np.quantile(log_odds, _ACCEPTED_SHARE, method="higher"))

    weight, bias = data.fit(strength)
    detector = OutlierDetector(len(weight))
    detector.shift.copy_(torch.from_numpy(data.shift))
    detector.scale.copy_(torch.from_numpy(data.scale))
    detector.weight.copy_(torch.from_numpy(weight))
    detector.bias.fill_(bias - limit)
    detector.least_colour.fill_(_least_colour(leaves[:, -1]))
    refused = float((log_odds > limit).mean())
    return OutlierFit(detector, strength, figures, refused)


def _least_colour(colours: NDArray[np.float32]) -> float:
    """A tenth of what nearly all leaves have; 0, no limit, where leaves may be grey themselves."""
    common = float(np.quantile(colours, 1 - _ACCEPTED_SHARE))
    return common * _LEAST_COLOUR_SHARE if common > _MIN_LEAF_COLOUR else 0.0


def detector_accepting(
    detector: OutlierDetector, leaves: NDArray[np.float32]
) -> OutlierDetector | None:
    """A detector of other leaves with a limit that accepts 99 % of these too.

    The limit is never lowered: few leaves say little about where it ends.

    Args:
        detector: fitted on other leaves; it is changed.
        leaves: features [n, W].

    Returns:
        None where it refuses more than half of the leaves: they are not what it calls leaves.
    """
    detector.least_colour.clamp_(max=_least_colour(leaves[:, -1]))
    scores = _scores(detector, leaves)
    if np.median(scores) > 1:
        return None
    highest = float(np.quantile(scores, _ACCEPTED_SHARE, method="higher"))
    if highest > 1:
        detector.bias -= float(np.log(highest))
    return detector


@torch.no_grad()
def _scores(detector: OutlierDetector, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores [n] of features [n, W]."""
    scores: NDArray[np.float32] = detector(torch.from_numpy(features)).numpy()
    return scores


@dataclass(frozen=True)
class _Data:
    """Standardised features: `leaves` [n, W], `varied` [v, W], `others` [m, W]; `kinds` [m]."""

    leaves: Array
    varied: Array
    others: Array
    kinds: NDArray[np.str_]
    shift: Array
    scale: Array

    @classmethod
    def standardised(
        cls,
        leaves: NDArray[np.float32],
        varied_leaves: NDArray[np.float32],
        others: NDArray[np.float32],
        kinds: Sequence[str],
    ) -> _Data:
        """Shift and scale all features by the mean and deviation of leaves and others together."""
        everything = np.concatenate([leaves, varied_leaves, others]).astype(np.float64)
        shift = everything.mean(axis=0)
        std = everything.std(axis=0)
        scale = np.where(std > _MIN_STD, 1 / np.maximum(std, _MIN_STD), 0.0)
        scale[-1] = 0.0  # the colour has a limit of its own

        parts = [(part - shift) * scale for part in (leaves, varied_leaves, others)]
        return cls(parts[0], parts[1], parts[2], np.array(kinds), shift, scale)

    def fit(
        self,
        strength: float,
        *,
        without_kind: str | None = None,
        leaf_rows: NDArray[np.bool_] | None = None,
    ) -> tuple[Array, float]:
        """Weight [W] and bias of the log-odds, without one kind or with some of the leaves only."""
        from sklearn.linear_model import LogisticRegression

        leaves = self.leaves if leaf_rows is None else self.leaves[leaf_rows]
        chosen = np.ones(len(self.others), bool)
        if without_kind is not None:
            chosen = self.kinds != without_kind
        others = self.others[chosen]

        x = np.concatenate([leaves, self.varied, others]).astype(np.float32)
        is_other = np.repeat([0, 1], [len(leaves) + len(self.varied), len(others)])
        model = LogisticRegression(C=strength, max_iter=500)
        model.fit(x, is_other, sample_weight=_weights(is_other, self.kinds[chosen]))
        return np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])


def _choose_strength(data: _Data, fold: NDArray[np.int64]) -> tuple[float, dict[str, KindFigures]]:
    """The strongest penalty that lets hardly more pass than the best, and its figures by kind."""
    figures = {strength: _figures_by_kind(data, strength, fold) for strength in _STRENGTHS}
    accepted = {strength: _mean_accepted(figures[strength]) for strength in _STRENGTHS}
    most = min(accepted.values()) + _TOLERATED_SHARE
    strength = min(strength for strength in _STRENGTHS if accepted[strength] <= most)
    return strength, figures[strength]


def _weights(is_other: NDArray[np.int64], kinds: NDArray[np.str_]) -> Array:
    """Weights of mean 1: leaves and others weigh the same in sum, and so does every kind."""
    names, kind_of, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    leaf_count = int((is_other == 0).sum())

    of_leaves = np.full(leaf_count, 0.5 / leaf_count)
    of_others = 0.5 / (len(names) * counts[kind_of])
    weights: Array = np.concatenate([of_leaves, of_others]) * len(is_other)
    return weights


def _out_of_fold(data: _Data, strength: float, fold: NDArray[np.int64]) -> Array:
    """The log-odds [n] of each leaf from a fit without its fold."""
    log_odds = np.zeros(len(data.leaves))
    for number in range(_FOLDS):
        weight, bias = data.fit(strength, leaf_rows=fold != number)
        log_odds[fold == number] = data.leaves[fold == number] @ weight + bias
    return log_odds


def _figures_by_kind(
    data: _Data, strength: float, fold: NDArray[np.int64]
) -> dict[str, KindFigures]:
    """Every kind's figures from a fit without it, at the limit of a fifth of the leaves.

    The fit sees four fifths of the leaves, and the limit is of the others.
    """
    names = sorted(set(data.kinds.tolist()))
    if len(names) < 2:
        return {}

    figures = {}
    for name in names:
        weight, bias = data.fit(strength, without_kind=name, leaf_rows=fold != 0)
        limit = np.quantile(data.leaves[fold == 0] @ weight + bias, _ACCEPTED_SHARE)
        log_odds = data.others[data.kinds == name] @ weight + bias
        figures[name] = KindFigures(float((log_odds <= limit).mean()), len(log_odds))
    return figures


def _mean_accepted(figures: dict[str, KindFigures]) -> float:
    """The mean over kinds of the share that passes; 0 where there is one kind only."""
    if not figures:
        return 0.0
    return float(np.mean([kind.accepted for kind in figures.values()]))
