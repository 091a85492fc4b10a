"""The moving average of weights against a slow loop, and in a training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import TINY
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.run import train
from leafzoom.training.state import load_state
from leafzoom.training.weight_average import WeightAverage
from network_helpers import changed_tensors, snapshot

DECAY = 0.3  # the limit (1 + n) / (10 + n) is below it in the first two of these steps


def small_network() -> nn.Sequential:
    """A convolution with a batch norm; the last layer is frozen."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    network[2].requires_grad_(False)
    return network


def test_it_is_the_moving_average_of_weights_and_statistics() -> None:
    network = small_network()
    frozen = snapshot(network[2])
    average = WeightAverage(network, DECAY)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)

    expected: dict[str, torch.Tensor] = {}
    for step in range(6):
        optimizer.zero_grad()
        network(torch.rand(2, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        average.update()

        # The first step's tensors start the average.
        decay = min(DECAY, (1 + step) / (10 + step)) if step else 0.0
        for name, tensor in network.state_dict().items():
            past = expected.get(name, torch.zeros(()))
            expected[name] = decay * past + (1 - decay) * tensor.double()

    with average.in_place():
        for name, tensor in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                assert int(tensor) == 6
            else:
                assert torch.allclose(tensor.double(), expected[name], atol=1e-6), name
        assert not changed_tensors(frozen, network[2])


def test_the_weights_come_back_bit_for_bit_even_after_an_error() -> None:
    network = small_network()
    average = WeightAverage(network, 0.9)
    average.update()
    with torch.no_grad():
        network[0].weight.mul_(2)
    before = snapshot(network)

    def fail() -> None:
        with average.in_place():
            assert changed_tensors(before, network) == {"0.weight"}
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not changed_tensors(before, network)


def test_a_stored_average_goes_on() -> None:
    network = small_network()
    first = WeightAverage(network, 0.9)
    first.update()
    second = WeightAverage(network, 0.9)
    second.load_state_dict({name: t.clone() for name, t in first.state_dict().items()})

    with torch.no_grad():
        network[0].weight.mul_(2)
    first.update()
    second.update()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_a_training_keeps_the_average(cache: Cache, split: Split, tmp_path: Path) -> None:
    """One epoch, so what is kept is the average after it."""
    changes = [
        *TINY,
        "fine_tuning.epochs=1",
        "alternation.rounds=0",
        "alternation.classifier_epochs=1",
        "fine_tuning.weight_average=0.9",
        "alternation.weight_average=0.9",
    ]
    out = tmp_path / "run"
    kept: list[str] = []
    averages: list[dict[str, torch.Tensor]] = []

    def echo(line: str) -> None:
        if "(" in line and "alternation" in line:
            state = load_state(out / "states")
            assert state is not None
            averages.append(state.tensors["average"])
        kept.append(line)

    train(cache, split, load_recipe("default", changes), out, echo=echo)

    (average,) = averages
    scale = load_checkpoint(out / "model.safetensors").part("scale2")
    stored = {name: average[f"module.backbones.1.{name}"] for name in scale}
    assert all(torch.equal(tensor, stored[name]) for name, tensor in scale.items())
    assert any("alternation: kept epoch 1" in line for line in kept)
