"""Training the fusion heads with the RA-CNN frozen (§4.1), on inputs that are computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from leafzoom.model.fusion import Fusion
from leafzoom.model.losses import classification_loss
from leafzoom.recipe import FusionRecipe
from leafzoom.training.batches import batch_count, seed_for
from leafzoom.training.optimization import Optimization
from leafzoom.training.selection import binary_cross_entropy

__all__ = ["FusionFit", "fit_lbfgs", "fit_sgd"]

_PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
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
    """The paper's fit: SGD for a few epochs. Rescaling, where the recipe has it, is of this part.

    Args:
        fusion: trained in place.
        gathered: [n, width], its inputs on the training part.
        targets: [n, L].
        recipe: epochs, batch size, optimizer.
        seed: of the order of the batches.
    """
    if fusion.normalise == "rescale":
        _rescale(fusion, gathered)
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
    if fusion.normalise == "rescale":
        _rescale(fusion, gathered)
    shift, scale = fusion.shift.cpu().double().numpy(), fusion.scale.cpu().double().numpy()
    x = (gathered.astype(np.float64) - shift) * scale
    weight, bias = start[0].double().cpu().numpy(), start[1].double().cpu().numpy()
    prior, bias = weight / scale, bias + weight @ shift
    # W - W₀ lies in the span of the photographs, so the problem is solved in a basis of that span.
    basis = np.linalg.qr(x.T)[0] if len(x) < x.shape[1] else np.eye(x.shape[1])
    problem = _Problem(x @ basis, x @ prior.T, targets.astype(np.float64))
    fold = np.random.default_rng(seed_for(seed, "folds")).permutation(len(x)) % min(_FOLDS, len(x))
    everything = np.ones(len(x), bool)
    losses: dict[float, float] = {}
    held_out: dict[float, Array] = {}
    moved: dict[int, tuple[Array, Array]] = {}
    for penalty in _PENALTIES:
        logits = np.zeros_like(problem.targets)
        for k in np.unique(fold):
            moved[k] = problem.solve(fold != k, penalty, moved.get(k, (np.zeros((len(bias), basis.shape[1])), bias)))
            logits[fold == k] = problem.logits(fold == k, *moved[k])
        losses[penalty], held_out[penalty] = binary_cross_entropy(logits, targets), logits
    best = min(losses, key=lambda penalty: losses[penalty])
    offset, bias = problem.solve(everything, best, (np.zeros((len(bias), basis.shape[1])), bias))
    with torch.no_grad():
        fusion.linear.weight.copy_(torch.from_numpy(prior + offset @ basis.T))
        fusion.linear.bias.copy_(torch.from_numpy(bias))
    return FusionFit(best, {str(penalty): loss for penalty, loss in losses.items()}, held_out[best])


@dataclass(frozen=True)
class _Problem:
    """Penalised regression around a prior: inputs [n, r], the prior's logits [n, L], targets [n, L]."""

    inputs: Array
    prior: Array
    targets: Array

    def logits(self, rows: NDArray[np.bool_], offset: Array, bias: Array) -> Array:
        """Logits [m, L] of some rows, for an offset [L, r] from the prior and a bias [L]."""
        return np.asarray(self.prior[rows] + self.inputs[rows] @ offset.T + bias)

    def solve(self, rows: NDArray[np.bool_], penalty: float, start: tuple[Array, Array]) -> tuple[Array, Array]:
        """Offset [L, r] and bias [L] that minimise the penalised loss over some rows."""
        inputs, prior, targets = self.inputs[rows], self.prior[rows], self.targets[rows]
        labels, width = start[0].shape
        count = targets.size

        def loss(flat: Array) -> tuple[float, Array]:
            offset, bias = flat[: labels * width].reshape(labels, width), flat[labels * width :]
            z = prior + inputs @ offset.T + bias
            value = (np.logaddexp(0, z) - z * targets).sum() / count + penalty / 2 * np.square(offset).sum()
            slope = (expit(z) - targets) / count
            return float(value), np.concatenate([(slope.T @ inputs + penalty * offset).ravel(), slope.sum(axis=0)])

        found = minimize(loss, np.concatenate([start[0].ravel(), start[1]]), jac=True, method="L-BFGS-B",
                         options={"maxiter": 200, "gtol": 1e-6})  # fmt: skip
        return found.x[: labels * width].reshape(labels, width), found.x[labels * width :]


def _rescale(fusion: Fusion, gathered: NDArray[np.float32]) -> None:
    """Set the buffers that shift each input to zero mean and scale each scale's to a mean square of one.

    One factor a scale, not one an input: an input that hardly varies stays small instead of becoming noise.
    """
    mean = gathered.mean(axis=0, dtype=np.float64)
    blocks = np.square(gathered - mean).reshape(len(gathered), fusion.scales, -1).mean(axis=(0, 2))
    factors = np.repeat(1 / np.sqrt(np.maximum(blocks, 1e-12)), len(mean) // fusion.scales)
    fusion.shift.copy_(torch.from_numpy(mean))
    fusion.scale.copy_(torch.from_numpy(factors))
