"""Training the fusion heads with the RA-CNN frozen (§4.1), on inputs that are computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from leafzoom.dataset.batches import batch_count, seed_for
from leafzoom.fitting.folds import stratified_folds
from leafzoom.fitting.likelihood import label_probabilities, photograph_losses
from leafzoom.fitting.optimization import Optimization
from leafzoom.model.fusion import Fusion
from leafzoom.model.losses import classification_loss
from leafzoom.recipe import FusionRecipe

__all__ = ["FusionFit", "LinearLayer", "fit_lbfgs", "fit_sgd"]

_PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
_FOLDS = 5
_BIAS_PRIOR_STD = 0.77  # around the prior's bias, in log-odds
_MIN_GAIN = 1.0  # standard errors, for a penalty to be preferred to the strongest
_MIN_MEAN_SQUARE = 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LinearLayer:
    """A linear layer's weight [L, W] and bias [L]."""

    weight: Array
    bias: Array


@dataclass(frozen=True)
class FusionFit:
    """The result of a cross-validated fit.

    `penalty`: the chosen one. `losses`: {penalty: cross-validated loss}. `out_of_fold`: logits
    [n, L].
    """

    penalty: float
    losses: dict[str, float]
    out_of_fold: NDArray[np.float64]


def fit_sgd(
    fusion: Fusion,
    inputs: NDArray[np.float32],
    targets: NDArray[np.uint8],
    recipe: FusionRecipe,
    seed: int,
    *,
    single_label: bool = False,
) -> None:
    """The paper's fit: SGD for a few epochs, on the training part.

    The weights start at random, from the seed alone: a training that was resumed draws the same.

    Args:
        fusion: trained in place; where the recipe rescales, by these inputs.
        inputs: [n, W], of the training part.
        targets: [n, L].
        recipe: epochs, batch size, optimizer.
        seed: of the first weights and of the order of the batches.
        single_label: whether each photograph has one class.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "fusion", "start"))
        fusion.linear.reset_parameters()
    if fusion.normalise == "rescale":
        _set_rescaling(fusion, inputs)

    all_inputs = torch.from_numpy(inputs)
    all_targets = torch.from_numpy(targets)
    batches = batch_count(len(inputs), recipe.batch_size)
    optimization = Optimization([fusion], recipe.optimizer, recipe.epochs * batches)

    fusion.train()
    for epoch in range(recipe.epochs):
        random = np.random.default_rng(seed_for(seed, "fusion", epoch))
        order = random.permutation(len(inputs))
        for rows in np.array_split(order, batches):
            logits = fusion(all_inputs[rows])
            loss = classification_loss(logits, all_targets[rows], single_label=single_label)
            loss.backward()  # type: ignore[no-untyped-call]
            optimization.step()
    fusion.eval()


def fit_lbfgs(
    fusion: Fusion,
    inputs: NDArray[np.float32],
    targets: NDArray[np.uint8],
    prior: LinearLayer,
    seed: int,
    *,
    min_gain: float = _MIN_GAIN,
    single_label: bool = False,
    groups: NDArray[np.int64] | None = None,
) -> FusionFit:
    """The convex problem to its end: mean binary cross-entropy + penalty/2 · |W - W₀|², by L-BFGS.

    Of single labels it is the mean cross-entropy of the softmax.

    W₀ is the prior, where the fusion is the mean of the scales' own classifiers. A strong penalty
    averages logits and a weak one learns freely; the penalty with the lowest cross-validated loss
    is taken, or the strongest where the gain over it is less than one standard error (paired by
    photograph). W is measured on normalised inputs, where the penalty means the same for each.

    The bias has a normal prior around its own, which many photographs outweigh. A label that all
    or none of the photographs have keeps the prior's weight and bias.

    Args:
        fusion: fitted in place.
        inputs: [n, W], of photographs that the backbones were not trained on.
        targets: [n, L].
        prior: on inputs as they are, before rescaling.
        seed: of the folds.
        min_gain: standard errors by which a penalty has to be better than the strongest.
        single_label: whether each photograph has one class.
        groups: [n], the same number for photographs that stay in one fold; by default each is
            alone.
    """
    if fusion.normalise == "rescale":
        _set_rescaling(fusion, inputs)
    shift = fusion.shift.cpu().double().numpy()
    scale = fusion.scale.cpu().double().numpy()

    # Inputs and prior after the rescaling.
    x = (inputs.astype(np.float64) - shift) * scale
    prior_weight = prior.weight / scale
    start_bias = prior.bias + prior.weight @ shift

    # W - W₀ lies in the span of the photographs, so the problem is solved in a basis of that span.
    width = x.shape[1]
    basis = np.linalg.qr(x.T)[0] if len(x) < width else np.eye(width)
    problem = _Problem(
        inputs=x @ basis,
        prior_logits=x @ prior_weight.T,
        prior_bias=start_bias,
        targets=targets.astype(np.float64),
        single_label=single_label,
    )
    start = LinearLayer(np.zeros((len(start_bias), basis.shape[1])), start_bias)

    # The penalty is chosen by cross-validation, the weights are fitted on all photographs.
    fold = stratified_folds(problem.targets, _FOLDS, seed_for(seed, "folds"), groups)
    fit = _cross_validate(problem, start, fold, min_gain)
    everything = np.ones(len(x), bool)
    solution = problem.solve(everything, fit.penalty, start)
    with torch.no_grad():
        fusion.linear.weight.copy_(torch.from_numpy(prior_weight + solution.weight @ basis.T))
        fusion.linear.bias.copy_(torch.from_numpy(solution.bias))
    return fit


def _cross_validate(
    problem: _Problem, start: LinearLayer, fold: NDArray[np.int64], min_gain: float
) -> FusionFit:
    """The penalty whose out-of-fold logits have the lowest loss, or else the strongest."""
    targets = problem.targets

    # All penalties on the same folds, from the strongest to the weakest.
    losses: dict[float, Array] = {}
    logits_by_penalty: dict[float, Array] = {}
    solutions: dict[int, LinearLayer] = {}
    for penalty in _PENALTIES:
        logits = np.zeros_like(targets)
        for number in np.unique(fold):
            # The solution for the stronger penalty before is near this one's.
            nearby = solutions.get(number, start)
            solutions[number] = problem.solve(fold != number, penalty, nearby)
            logits[fold == number] = problem.logits(fold == number, solutions[number])
        losses[penalty] = photograph_losses(logits, targets, single_label=problem.single_label)
        logits_by_penalty[penalty] = logits

    best = _choose_penalty(losses, min_gain)
    named_losses = {str(penalty): float(loss.mean()) for penalty, loss in losses.items()}
    return FusionFit(best, named_losses, logits_by_penalty[best])


def _choose_penalty(losses: Mapping[float, Array], min_gain: float = _MIN_GAIN) -> float:
    """The penalty of the lowest mean loss, unless the strongest might be as good.

    Args:
        losses: {penalty: out-of-fold loss of each photograph, [n]}.
        min_gain: standard errors by which a penalty has to be better than the strongest.
    """
    strongest = max(losses)
    best = min(losses, key=lambda penalty: float(losses[penalty].mean()))

    # Paired by photograph; one photograph has no standard error.
    gain = losses[strongest] - losses[best]
    if len(gain) < 2:
        return strongest
    standard_error = float(gain.std(ddof=1)) / np.sqrt(len(gain))
    return best if gain.mean() > min_gain * standard_error else strongest


@dataclass(frozen=True)
class _Problem:
    """Penalised regression around a prior, a label at a time in one vector.

    `inputs`: [n, R]. `prior_logits`: [n, L], of the prior's weight alone. `prior_bias`: [L].
    `targets`: [n, L]. `single_label`: one softmax in place of L sigmoids.
    """

    inputs: Array
    prior_logits: Array
    prior_bias: Array
    targets: Array
    single_label: bool = False

    def logits(self, rows: NDArray[np.bool_], offset: LinearLayer) -> Array:
        """Logits [m, L] of some rows, for an offset from the prior."""
        moved = self.inputs[rows] @ offset.weight.T
        return np.asarray(self.prior_logits[rows] + moved + offset.bias)

    def solve(self, rows: NDArray[np.bool_], penalty: float, start: LinearLayer) -> LinearLayer:
        """The offset [L, R] and bias [L] that minimise the penalised loss over some rows.

        Without any row they are the prior's.
        """
        if not rows.any():
            return LinearLayer(np.zeros_like(start.weight), self.prior_bias)
        inputs = self.inputs[rows]
        prior_logits = self.prior_logits[rows]
        targets = self.targets[rows]
        weight_shape = start.weight.shape
        weights = start.weight.size
        count = len(targets) if self.single_label else targets.size
        bias_penalty = 1 / (_BIAS_PRIOR_STD**2 * count)

        # What nothing contradicts has no finite optimum: such a label stays at its prior.
        varies = (targets.min(axis=0) != targets.max(axis=0)).astype(np.float64)

        def loss(flat: Array) -> tuple[float, Array]:
            weight = flat[:weights].reshape(weight_shape)
            z = prior_logits + inputs @ weight.T + flat[weights:]

            bias_offset = flat[weights:] - self.prior_bias
            likelihood = self._likelihood(z, targets, varies) / count
            value = likelihood + penalty / 2 * np.square(weight).sum()
            value += bias_penalty / 2 * np.square(bias_offset).sum()

            probabilities = label_probabilities(z, single_label=self.single_label)
            slope = (probabilities - targets) * varies / count
            weight_slope = slope.T @ inputs + penalty * weight
            bias_slope = slope.sum(axis=0) + bias_penalty * bias_offset
            return float(value), np.concatenate([weight_slope.ravel(), bias_slope])

        result = minimize(
            loss,
            np.concatenate([start.weight.ravel(), start.bias]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 200, "gtol": 1e-6},
        )
        return LinearLayer(result.x[:weights].reshape(weight_shape), result.x[weights:])

    def _likelihood(self, z: Array, targets: Array, varies: Array) -> float:
        """The negative log-likelihood of logits [m, L], as a sum.

        `varies`: [L], 1 for labels that are fitted. A softmax has no terms of single labels: those
        that are not fitted count as they are.
        """
        if self.single_label:
            return float(photograph_losses(z, targets, single_label=True).sum())
        return float(((np.logaddexp(0, z) - z * targets) @ varies).sum())


def _set_rescaling(fusion: Fusion, inputs: NDArray[np.float32]) -> None:
    """Set the buffers that give each input zero mean and each scale's inputs a mean square of one.

    One factor a scale, not one an input: an input that hardly varies stays small instead of
    becoming noise.
    """
    mean = inputs.mean(axis=0, dtype=np.float64)
    by_scale = np.square(inputs - mean).reshape(len(inputs), fusion.scales, -1)
    mean_square = by_scale.mean(axis=(0, 2))
    factors = 1 / np.sqrt(np.maximum(mean_square, _MIN_MEAN_SQUARE))

    fusion.shift.copy_(torch.from_numpy(mean))
    fusion.scale.copy_(torch.from_numpy(np.repeat(factors, len(mean) // fusion.scales)))
