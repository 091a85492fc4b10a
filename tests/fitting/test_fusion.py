"""Fusion fits: the paper's SGD, and the convex problem to its end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from conftest import TINY
from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.cache import Cache
from leafzoom.fitting.fusion import LinearLayer, _Problem, fit_lbfgs, fit_sgd
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
    problem = _Problem(x, np.zeros((80, 1)), y[:, None])
    start = LinearLayer(np.zeros((1, 5)), np.zeros(1))

    solution = problem.solve(np.ones(80, bool), 0.05, start)

    expected = LogisticRegression(C=1 / (0.05 * 80), tol=1e-10).fit(x, y)
    np.testing.assert_allclose(solution.weight, expected.coef_, atol=1e-3)
    np.testing.assert_allclose(solution.bias, expected.intercept_, atol=1e-3)


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
    problem = _Problem(x, x @ prior_weight.T, targets.astype(np.float64))
    start = LinearLayer(np.zeros((1, 120)), np.zeros(1))
    direct = problem.solve(np.ones(40, bool), fit.penalty, start)
    weight = fusion.linear.weight.detach().numpy()
    np.testing.assert_allclose(weight, prior_weight + direct.weight, atol=2e-3)


def test_sgd_gives_the_same_head_each_time(tiny: Recipe) -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(30, 8)).astype(np.float32)
    targets = (random.random((30, LABELS)) < 0.5).astype(np.uint8)
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        fusion = Fusion(scales=2, width=4, labels=LABELS, inputs="descriptors", normalise="none")
        fit_sgd(fusion, inputs, targets, tiny.fusion, 0)
        weights.append(fusion.linear.weight.detach())
    assert torch.equal(weights[0], weights[1])
