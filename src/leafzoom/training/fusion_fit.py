"""Training the fusion heads with the RA-CNN frozen (§4.1), on inputs that are computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from leafzoom.model.fusion import Fusion
from leafzoom.model.losses import classification_loss
from leafzoom.recipe import FusionRecipe
from leafzoom.training.batches import batch_count, seed_for
from leafzoom.training.optimization import Optimization
from leafzoom.training.selection import binary_cross_entropy

__all__ = ["FusionFit", "fit_lbfgs", "fit_sgd"]

_PENALTIES = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
_FOLDS = 5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FusionFit:
    """How a fit went: the penalty chosen, {penalty: cross-validated loss}, and out-of-fold logits [n, L]."""

    penalty: float
    losses: dict[str, float]
    out_of_fold: NDArray[np.float64]


def fit_sgd(
    fusion: Fusion, gathered: NDArray[np.float32], targets: NDArray[np.uint8], recipe: FusionRecipe, seed: int
) -> None:
    """The paper's fit: SGD for a few epochs. Standardisation, where the recipe has it, is of this part.

    Args:
        fusion: trained in place.
        gathered: [n, width], its inputs on the training part.
        targets: [n, L].
        recipe: epochs, batch size, optimizer.
        seed: of the order of the batches.
    """
    if fusion.normalise == "standardise":
        _standardise(fusion, gathered)
    inputs, wanted = torch.from_numpy(gathered), torch.from_numpy(targets)
    total = recipe.epochs * batch_count(len(inputs), recipe.batch_size)
    optimization = Optimization([fusion], recipe.optimizer, total)
    fusion.train()
    for epoch in range(recipe.epochs):
        order = np.random.default_rng(seed_for(seed, "fusion", epoch)).permutation(len(inputs))
        for rows in np.array_split(order, batch_count(len(inputs), recipe.batch_size)):
            classification_loss(fusion(inputs[rows]), wanted[rows]).backward()  # type: ignore[no-untyped-call]
            optimization.step()
    fusion.eval()


def fit_lbfgs(
    fusion: Fusion,
    gathered: NDArray[np.float32],
    targets: NDArray[np.uint8],
    start: tuple[Tensor, Tensor],
    seed: int,
) -> FusionFit:
    """The convex problem to its end: mean binary cross-entropy + penalty/2 · |W - W₀|², by L-BFGS.

    W₀ is where the fusion is the mean of the scales' own classifiers, so a strong penalty averages logits and a
    weak one learns freely; the penalty with the lowest cross-validated loss is taken. W is measured on the
    inputs as normalised, where the penalty means the same for each.

    Args:
        fusion: fitted in place.
        gathered: [n, width], its inputs, on photographs that the backbones were not trained on.
        targets: [n, L].
        start: weight [L, width] and bias [L] of the mean of the scales' classifiers, on inputs as gathered.
        seed: of the folds.
    """
    if fusion.normalise == "standardise":
        _standardise(fusion, gathered)
    shift, scale = fusion.shift.cpu().double().numpy(), fusion.scale.cpu().double().numpy()
    x = (gathered.astype(np.float64) - shift) * scale
    weight, bias = start[0].double().cpu().numpy(), start[1].double().cpu().numpy()
    prior = weight / scale, bias + weight @ shift
    y = targets.astype(np.float64)
    fold = np.random.default_rng(seed_for(seed, "folds")).permutation(len(x)) % _FOLDS
    losses, held_out = {}, {}
    for penalty in _PENALTIES:
        logits = np.zeros_like(y)
        for k in range(min(_FOLDS, len(x))):
            fitted = _solve(x[fold != k], y[fold != k], prior, penalty)
            logits[fold == k] = x[fold == k] @ fitted[0].T + fitted[1]
        losses[penalty], held_out[penalty] = binary_cross_entropy(logits, targets), logits
    best = min(losses, key=lambda penalty: losses[penalty])
    weight, bias = _solve(x, y, prior, best)
    with torch.no_grad():
        fusion.linear.weight.copy_(torch.from_numpy(weight))
        fusion.linear.bias.copy_(torch.from_numpy(bias))
    return FusionFit(best, {str(penalty): loss for penalty, loss in losses.items()}, held_out[best])


def _standardise(fusion: Fusion, gathered: NDArray[np.float32]) -> None:
    """Set the buffers that shift and scale each input to zero mean and unit spread (a constant one: to zero)."""
    spread = gathered.std(axis=0, dtype=np.float64)
    fusion.shift.copy_(torch.from_numpy(gathered.mean(axis=0, dtype=np.float64)))
    fusion.scale.copy_(torch.from_numpy(1 / np.maximum(spread, 1e-3)))


def _solve(x: Array, y: Array, prior: tuple[Array, Array], penalty: float) -> tuple[Array, Array]:
    """Weight [L, D] and bias [L] that minimise the penalised loss, starting from the prior."""
    rows, labels = y.shape
    width = x.shape[1]

    def loss(flat: Array) -> tuple[float, Array]:
        weight, bias = flat[: labels * width].reshape(labels, width), flat[labels * width :]
        z = x @ weight.T + bias
        offset = weight - prior[0]
        value = (np.logaddexp(0, z) - z * y).sum() / (rows * labels) + penalty / 2 * np.square(offset).sum()
        slope = (1 / (1 + np.exp(-z)) - y) / (rows * labels)
        return float(value), np.concatenate([(slope.T @ x + penalty * offset).ravel(), slope.sum(axis=0)])

    start = np.concatenate([prior[0].ravel(), prior[1]])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return found.x[: labels * width].reshape(labels, width), found.x[labels * width :]
