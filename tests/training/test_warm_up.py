"""The warm-up brings the boxes to its targets."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from leafzoom.fitting.optimization import Optimization
from leafzoom.recipe import OptimizerRecipe
from leafzoom.training.warm_up import WarmUpPhase
from network_helpers import changed_tensors, random_batch, sgd, small_racnn, snapshot


@pytest.mark.parametrize("target", ["response", "activation"])
def test_boxes_move_to_the_target(target: Literal["response", "activation"]) -> None:
    racnn = small_racnn(
        "model.apn_normalise=places", "model.apn_activation=relu", "model.apn_hidden=32"
    )
    recipe = OptimizerRecipe(name="adamw", learning_rate=0.01, schedule="constant")
    phase = WarmUpPhase(
        racnn,
        Optimization(list(racnn.apns), recipe, 60),
        torch.Tensor.backward,
        target=target,
        size_target=1.0,
    )
    phase.begin()
    before = snapshot(racnn)

    losses = [float(phase.step(*random_batch())["loss_apn1"]) for _ in range(60)]

    assert {name.split(".")[0] for name in changed_tensors(before, racnn)} == {"apns"}
    assert losses[-1] < 0.1 * losses[0]


def test_boxes_move_to_the_centre() -> None:
    racnn = small_racnn()
    with torch.no_grad():
        for apn in racnn.apns:
            apn.layers[3].bias.copy_(torch.tensor([0.5, -0.5, 0.5]))  # type: ignore[index]
    phase = WarmUpPhase(
        racnn, sgd(racnn.apns, 0.5), torch.Tensor.backward, target="centre", size_target=0.0
    )
    phase.begin()

    images, targets = random_batch()
    for _ in range(120):
        phase.step(images, targets)

    with torch.no_grad():
        state = racnn.start(racnn.normalise(images))
        assert racnn.propose(state).abs().max() < 0.05


def test_each_zoom_has_a_size_of_its_own() -> None:
    racnn = small_racnn()
    phase = WarmUpPhase(
        racnn,
        sgd(racnn.apns, 0.5),
        torch.Tensor.backward,
        target="centre",
        size_target=(0.8, -0.8),
    )
    phase.begin()

    images, targets = random_batch()
    for _ in range(150):
        phase.step(images, targets)

    with torch.no_grad():
        state = racnn.start(racnn.normalise(images))
        first = racnn.propose(state)
        second = racnn.propose(racnn.advance(state, first))
    assert first[:, 2].mean() == pytest.approx(0.8, abs=0.05)
    assert second[:, 2].mean() < -0.7


def test_sizes_for_another_number_of_zooms_are_refused() -> None:
    racnn = small_racnn()
    with pytest.raises(ValueError, match="size_target has 1 sizes for 2 zooms"):
        WarmUpPhase(
            racnn, sgd(racnn.apns), torch.Tensor.backward, target="centre", size_target=[1.0]
        )
