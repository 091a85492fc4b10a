"""A training on few photographs: the scales stay frozen, and only linear layers are fitted.

Every photograph is learned from, and every one is judged by a fit that did not see its fold, so
none has to be held out for the decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from leafzoom.fitting.folds import stratified_folds
from leafzoom.fitting.fusion import FusionFit, LinearLayer, fit_lbfgs
from leafzoom.fitting.likelihood import label_probabilities, photograph_losses
from leafzoom.model.backbone import Backbone
from leafzoom.model.fusion import Fusion

__all__ = ["ScaleWeights", "fit_linear_layer", "fit_scale_weights", "shares_prior"]

_WEIGHT_PRIOR_STD = 0.3  # of a scale's weight around an equal share
_FOLDS = 5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ScaleWeights:
    """How much each scale's logits count in a fusion.

    `weights`: a value a scale, at least 0. `out_of_fold`: the fused logits [n, L].
    """

    weights: tuple[float, ...]
    out_of_fold: Array


def fit_linear_layer(
    backbone: Backbone,
    descriptors: NDArray[np.float32],
    targets: NDArray[np.uint8],
    seed: int,
    *,
    single_label: bool = False,
) -> FusionFit:
    """Fit a backbone's linear layer to its descriptors, to the end of the convex problem.

    The layer falls back to the labels' shares of the photographs, whatever the picture shows.

    Args:
        backbone: whose linear layer is set; nothing else of it changes.
        descriptors: [n, D], of photographs that the backbone was not trained on.
        targets: [n, L].
        seed: of the folds.
        single_label: whether each photograph has one class.

    Returns:
        Its penalty, and the logits of each photograph from a fit without its fold.
    """
    layer = backbone.classifier_layer()
    labels, width = layer.weight.shape
    fitted = Fusion(scales=1, width=width, labels=labels, inputs="descriptors", normalise="rescale")
    prior = shares_prior(targets, width, single_label=single_label)
    fit = fit_lbfgs(
        fitted, descriptors, targets, prior, seed, min_gain=0.0, single_label=single_label
    )

    # The rescaling becomes part of the layer.
    with torch.no_grad():
        weight = fitted.linear.weight * fitted.scale
        layer.weight.copy_(weight)
        layer.bias.copy_(fitted.linear.bias - weight @ fitted.shift)
    return fit


def shares_prior(
    targets: NDArray[np.uint8], width: int, *, single_label: bool = False
) -> LinearLayer:
    """The layer on inputs [n, W] that answers with the labels' shares of the photographs.

    Args:
        targets: [n, L].
        width: W.
        single_label: whether each photograph has one class.
    """
    bias = _log_shares(targets) if single_label else _log_odds_of_labels(targets)
    return LinearLayer(np.zeros((targets.shape[1], width)), bias)


def fit_scale_weights(
    logits: tuple[Array, ...],
    shares: tuple[float, ...],
    targets: NDArray[np.uint8],
    seed: int,
    *,
    single_label: bool = False,
) -> ScaleWeights:
    """How much each scale's logits count, so that their sum has the least cross-entropy.

    Args:
        logits: one [n, L] for each scale, out of fold.
        shares: the weights that they fall back to.
        targets: [n, L].
        seed: of the folds.
        single_label: whether each photograph has one class.
    """
    stacked = np.stack(logits)
    fold = stratified_folds(targets, _FOLDS, seed)

    # Each photograph's weights are of the other folds.
    out_of_fold = np.zeros_like(stacked[0])
    for number in np.unique(fold):
        fitted = fold != number
        weights = _likeliest_weights(
            stacked[:, fitted], shares, targets[fitted], single_label=single_label
        )
        out_of_fold[~fitted] = np.tensordot(weights, stacked[:, ~fitted], axes=1)

    weights = _likeliest_weights(stacked, shares, targets, single_label=single_label)
    return ScaleWeights(tuple(weights.tolist()), out_of_fold)


def _likeliest_weights(
    logits: Array,
    shares: tuple[float, ...],
    targets: NDArray[np.uint8],
    *,
    single_label: bool,
) -> Array:
    """The weights [S] of logits [S, n, L], with a normal prior around the shares."""
    prior = np.array(shares)

    def loss(weights: Array) -> tuple[float, Array]:
        fused = np.tensordot(weights, logits, axes=1)
        likelihood = _total_loss(fused, targets, single_label=single_label)
        offset = (weights - prior) / _WEIGHT_PRIOR_STD
        probabilities = label_probabilities(fused, single_label=single_label)
        slope = np.tensordot(logits, probabilities - targets, axes=2)
        penalty = float(np.square(offset).sum()) / 2
        return likelihood + penalty, slope + offset / _WEIGHT_PRIOR_STD

    bounds = [(0.0, None)] * len(prior)
    solution = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(solution.x)


def _total_loss(logits: Array, targets: NDArray[np.uint8], *, single_label: bool) -> float:
    """The cross-entropy of logits [n, L], summed over photographs and labels."""
    if single_label:
        return float(photograph_losses(logits, targets, single_label=True).sum())
    return float((np.logaddexp(0, logits) - logits * targets).sum())


def _log_shares(targets: NDArray[np.uint8]) -> Array:
    """Each class's share of the photographs as a logarithm, [L], with one more of each class."""
    present = targets.sum(axis=0, dtype=np.float64) + 1
    return np.asarray(np.log(present / present.sum()))


def _log_odds_of_labels(targets: NDArray[np.uint8]) -> Array:
    """Each label's share of the photographs in log-odds, [L], with one more of each kind."""
    present = targets.sum(axis=0, dtype=np.float64)
    return np.asarray(np.log(present + 1) - np.log(len(targets) - present + 1))
