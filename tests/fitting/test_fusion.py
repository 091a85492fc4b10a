"""Fusion fits: the paper's SGD, and the convex problem to its end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray

from conftest import TINY
from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.cache import Cache
from leafzoom.fitting.fusion import (
    _BIAS_PRIOR_STD,
    LinearLayer,
    _choose_penalty,
    _Problem,
    fit_lbfgs,
    fit_sgd,
)
from leafzoom.fitting.likelihood import label_probabilities
from leafzoom.fitting.scale_outputs import scale_outputs
from leafzoom.model.build import build_fusions
from leafzoom.model.fusion import Fusion
from leafzoom.recipe import Recipe, load_recipe
from network_helpers import LABELS, changed_tensors, small_racnn, snapshot


@pytest.mark.parametrize("fit", ["sgd", "lbfgs"])
def test_no_racnn_parameter_or_buffer_changes(fit: str, cache: Cache, tiny: Recipe) -> None:
    racnn = small_racnn()
    fusion = build_fusions(load_recipe("default", [*TINY, f"fusion.fit={fit}"]).fusion, racnn)[1]
    racnn.train()
    table = cache.table
    part = DatasetPart(
        cache.sources, table.targets(table.label_set()), table.image_names, np.arange(24)
    )
    racnn_before = snapshot(racnn)
    fusion_before = snapshot(fusion)

    (inputs,) = scale_outputs(Fabric(accelerator="cpu"), racnn, part, (fusion,)).fusion_inputs
    if fit == "sgd":
        fit_sgd(fusion, inputs, part.part_targets, tiny.fusion, 0)
    else:
        prior = LinearLayer(np.zeros((LABELS, inputs.shape[1])), np.zeros(LABELS))
        fit_lbfgs(fusion, inputs, part.part_targets, prior, 0)

    assert not changed_tensors(racnn_before, racnn)
    assert "linear.weight" in changed_tensors(fusion_before, fusion)


def test_lbfgs_finds_the_minimum_that_scikit_learn_finds() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    x = random.normal(size=(80, 5))
    y = (x @ random.normal(size=5) + random.normal(size=80) > 0).astype(np.float64)
    problem = _Problem(x, np.zeros((80, 1)), np.zeros(1), y[:, None])
    start = LinearLayer(np.zeros((1, 5)), np.zeros(1))

    solution = problem.solve(np.ones(80, bool), 0.05, start)

    # A bias with a penalty of its own is the weight of a constant input.
    bias_penalty = 1 / (_BIAS_PRIOR_STD**2 * 80)
    constant = np.full((80, 1), np.sqrt(0.05 / bias_penalty))
    inputs = np.concatenate([x, constant], axis=1)
    oracle = LogisticRegression(C=1 / (0.05 * 80), tol=1e-10, fit_intercept=False).fit(inputs, y)
    np.testing.assert_allclose(solution.weight, oracle.coef_[:, :5], atol=1e-3)
    np.testing.assert_allclose(solution.bias, oracle.coef_[:, 5] * constant[0], atol=1e-3)


def test_a_label_without_positives_keeps_its_prior() -> None:
    """Its bias had no minimum, and its weights learned to say no."""
    random = np.random.default_rng(0)
    fusion = Fusion(scales=2, width=10, labels=3, inputs="descriptors", normalise="rescale")
    inputs = random.normal(size=(12, 20)).astype(np.float32)
    targets = np.zeros((12, 3), np.uint8)
    targets[:6, 0] = 1
    targets[6:, 1] = 1
    prior = LinearLayer(random.normal(size=(3, 20)), random.normal(size=3))

    fit_lbfgs(fusion, inputs, targets, prior, 0)
    with torch.no_grad():
        logits = fusion(torch.from_numpy(inputs)).numpy()
    expected = inputs @ prior.weight.T + prior.bias
    np.testing.assert_allclose(logits[:, 2], expected[:, 2], atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_hardly_any_photographs_leave_the_prior(count: int) -> None:
    """All labels are right already, and fewer photographs than folds are no empty fold."""
    random = np.random.default_rng(0)
    fusion = Fusion(scales=2, width=10, labels=2, inputs="descriptors", normalise="rescale")
    inputs = random.normal(size=(count, 20)).astype(np.float32)
    prior = LinearLayer(random.normal(size=(2, 20)), np.zeros(2))
    targets = (inputs @ prior.weight.T > 0).astype(np.uint8)

    fit = fit_lbfgs(fusion, inputs, targets, prior, 0)
    assert np.isfinite(fit.out_of_fold).all()
    new = random.normal(size=(200, 20)).astype(np.float32)
    with torch.no_grad():
        logits = fusion(torch.from_numpy(new)).numpy()
    agrees = (logits > 0) == (new @ prior.weight.T > 0)
    assert agrees.mean() > 0.85


def test_a_gain_within_a_standard_error_leaves_the_strongest_penalty() -> None:
    random = np.random.default_rng(0)
    base = random.random(40)
    noise = random.normal(size=40)
    noise -= noise.mean()
    little = base - 0.5 * noise.std(ddof=1) / np.sqrt(40) + noise
    much = base - 2 * noise.std(ddof=1) / np.sqrt(40) + noise
    assert _choose_penalty({10.0: base, 1.0: little}) == 10.0
    assert _choose_penalty({10.0: base, 1.0: much}) == 1.0
    assert _choose_penalty({10.0: base[:1], 1.0: base[:1] - 1}) == 10.0


def test_the_basis_of_few_photographs_gives_the_same_head_as_all_inputs() -> None:
    random = np.random.default_rng(0)
    fusion = Fusion(scales=2, width=60, labels=1, inputs="descriptors", normalise="rescale")
    inputs = random.normal(size=(40, 120)).astype(np.float32)
    targets = (random.random((40, 1)) < 0.5).astype(np.uint8)
    prior = LinearLayer(random.normal(size=(1, 120)) * 0.1, np.zeros(1))

    fit = fit_lbfgs(fusion, inputs, targets, prior, 0)

    # The same problem with all 120 inputs.
    scale = fusion.scale.numpy()
    x = (inputs - fusion.shift.numpy()) * scale
    prior_weight = prior.weight / scale
    start_bias = prior.weight @ fusion.shift.numpy()
    problem = _Problem(x, x @ prior_weight.T, start_bias, targets.astype(np.float64))
    start = LinearLayer(np.zeros((1, 120)), start_bias)
    direct = problem.solve(np.ones(40, bool), fit.penalty, start)
    weight = fusion.linear.weight.detach().numpy()
    np.testing.assert_allclose(weight, prior_weight + direct.weight, atol=2e-3)


def test_sgd_gives_the_same_head_whatever_was_drawn_before(tiny: Recipe) -> None:
    """A training that was resumed has drawn other numbers by then."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(30, 8)).astype(np.float32)
    targets = (random.random((30, LABELS)) < 0.5).astype(np.uint8)
    weights = []
    for drawn_before in range(2):
        torch.manual_seed(drawn_before)
        fusion = Fusion(scales=2, width=4, labels=LABELS, inputs="descriptors", normalise="none")
        fit_sgd(fusion, inputs, targets, tiny.fusion, 0)
        weights.append(fusion.linear.weight.detach())
    assert torch.equal(weights[0], weights[1])


def classes_around_centres(count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Inputs [count, 6] around a centre a class, and one class of three a photograph."""
    random = np.random.default_rng(5)
    truth = np.arange(count) % 3
    centres = random.normal(size=(3, 6))
    inputs = centres[truth] + 1.5 * random.normal(size=(count, 6))
    return inputs.astype(np.float32), np.eye(3, dtype=np.uint8)[truth]


def fusion_of_classes() -> Fusion:
    """Two scales of three inputs each, three classes."""
    torch.manual_seed(0)
    return Fusion(scales=2, width=3, labels=3, inputs="descriptors", normalise="none")


def mean_cross_entropy(
    fusion: Fusion, inputs: NDArray[np.float32], truth: NDArray[np.intp]
) -> float:
    """Of the softmax, by torch."""
    with torch.no_grad():
        logits = fusion(torch.from_numpy(inputs)).double()
    return float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(truth)))


def test_lbfgs_finds_scikit_learns_multinomial_minimum() -> None:
    """A penalty C of scikit-learn is 1 / (n * ours); the biases differ by the prior alone."""
    from sklearn.linear_model import LogisticRegression

    inputs, targets = classes_around_centres(300)
    x = inputs.astype(np.float64)
    truth = targets.argmax(axis=1)
    problem = _Problem(x, np.zeros((300, 3)), np.zeros(3), targets.astype(float), True)
    start = LinearLayer(np.zeros((3, 6)), np.zeros(3))
    solution = problem.solve(np.ones(300, bool), 0.05, start)

    model = LogisticRegression(C=1 / (300 * 0.05), tol=1e-10, max_iter=1000).fit(x, truth)
    probabilities = label_probabilities(
        problem.logits(np.ones(300, bool), solution), single_label=True
    )
    np.testing.assert_allclose(probabilities, model.predict_proba(x), atol=0.01)
    np.testing.assert_allclose(
        solution.weight - solution.weight.mean(axis=0), model.coef_, atol=0.02
    )


@pytest.mark.parametrize("fit", ["sgd", "lbfgs"])
def test_fits_of_classes_minimise_the_softmaxs_cross_entropy(fit: str) -> None:
    inputs, targets = classes_around_centres(240)
    truth = targets.argmax(axis=1)
    fusion = fusion_of_classes()
    before = mean_cross_entropy(fusion, inputs, truth)
    if fit == "sgd":
        changes = ["fusion.epochs=30", "fusion.optimizer.learning_rate=0.05"]
        recipe = load_recipe("paper", changes).fusion
        fit_sgd(fusion, inputs, targets, recipe, 0, single_label=True)
    else:
        prior = LinearLayer(np.zeros((3, 6)), np.zeros(3))
        fit_result = fit_lbfgs(fusion, inputs, targets, prior, 0, single_label=True)
        chosen = fit_result.losses[str(fit_result.penalty)]
        logits = torch.from_numpy(fit_result.out_of_fold)
        by_torch = torch.nn.functional.cross_entropy(logits, torch.from_numpy(truth))
        assert chosen == pytest.approx(float(by_torch), rel=1e-9)

    after = mean_cross_entropy(fusion, inputs, truth)
    assert after < min(0.85 * before, 0.9)

    # A softmax, not three sigmoids: every weight is part of one distribution.
    shifted = fusion_of_classes()
    with torch.no_grad():
        shifted.linear.weight.copy_(fusion.linear.weight + 1.0)
        shifted.linear.bias.copy_(fusion.linear.bias + 1.0)
    assert mean_cross_entropy(shifted, inputs, truth) == pytest.approx(after, rel=1e-5)


def test_a_class_that_no_photograph_has_keeps_its_prior() -> None:
    inputs, targets = classes_around_centres(90)
    rows = targets[:, 1] == 0
    fusion = fusion_of_classes()
    prior = LinearLayer(np.full((3, 6), 0.1), np.array([0.0, -0.4, 0.2]))
    fit_lbfgs(fusion, inputs[rows], targets[rows], prior, 0, single_label=True)
    np.testing.assert_allclose(fusion.linear.weight[1].detach().numpy(), 0.1, rtol=1e-6)
    assert float(fusion.linear.bias[1].detach()) == pytest.approx(-0.4)
    assert abs(float(fusion.linear.bias[0].detach())) > 1e-6
