"""Optimizers hold every parameter once; schedules rise and fall."""

from __future__ import annotations

import numpy as np

from leafzoom.fitting.optimization import Optimization, schedule_factor
from leafzoom.recipe import OptimizerRecipe
from network_helpers import sgd, small_racnn


def test_every_parameter_is_optimized_once() -> None:
    racnn = small_racnn()
    for modules in (racnn.backbones, racnn.apns):
        groups = sgd(modules).optimizer.param_groups
        optimized: list[int] = []
        for group in groups:
            optimized += [id(parameter) for parameter in group["params"]]
        assert sorted(optimized) == sorted(id(parameter) for parameter in modules.parameters())
        assert len(set(optimized)) == len(optimized)


def test_weights_decay_and_biases_do_not() -> None:
    recipe = OptimizerRecipe(name="sgd", learning_rate=0.1, weight_decay=0.01)
    groups = Optimization([small_racnn().apns[0]], recipe, 10).optimizer.param_groups
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0]


def test_schedules() -> None:
    assert [schedule_factor("constant", step, 10) for step in (0, 9)] == [1, 1]

    cosine = [schedule_factor("cosine", step, 100) for step in range(100)]
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[0] > 0.999
    assert cosine[-1] < 0.001

    cycle = [schedule_factor("one_cycle", step, 100) for step in range(100)]
    assert int(np.argmax(cycle)) in (24, 25)
    assert cycle[0] < 0.06
    assert cycle[-1] < 0.001
