"""Small networks and random batches for the tests of model/, fitting/ and training/."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from conftest import TINY
from leafzoom.fitting.optimization import Optimization
from leafzoom.model.attention_sampling import AttentionSampling
from leafzoom.model.build import (
    build_attention_sampling,
    build_cal,
    build_macnn,
    build_racnn,
)
from leafzoom.model.cal import CAL
from leafzoom.model.macnn import MACNN
from leafzoom.model.racnn import RACNN
from leafzoom.recipe import OptimizerRecipe, load_recipe

LABELS = 3
RESIDUAL = ("model.residual=0.6", "model.surrogate=exact")

MA_TINY = (*(change for change in TINY if "apn" not in change), "parts.hidden=8")
"""`TINY` for the recipe `ma-cnn`."""

CAL_TINY = (
    *(change for change in TINY if "apn" not in change and "warm_up" not in change),
    "counterfactual.maps=3",
)
"""`TINY` for the recipe `cal`."""

SAMPLING_TINY = tuple(change for change in TINY if "apn" not in change and "warm_up" not in change)
"""`TINY` for the recipe `attention-sampling`."""

State = dict[str, Tensor]


def small_racnn(*changes: str) -> RACNN:
    """The tiny recipe's RA-CNN with changes; the same random weights each time."""
    torch.manual_seed(0)
    return build_racnn(load_recipe("default", [*TINY, *changes]), LABELS)


def small_macnn(*changes: str) -> MACNN:
    """The tiny MA-CNN with changes; the same random weights each time."""
    torch.manual_seed(0)
    return build_macnn(load_recipe("ma-cnn", [*MA_TINY, *changes]), LABELS)


def small_cal(*changes: str) -> CAL:
    """The tiny CAL network with changes; the same random weights each time."""
    torch.manual_seed(0)
    return build_cal(load_recipe("cal", [*CAL_TINY, *changes]), LABELS)


def small_sampling(*changes: str) -> AttentionSampling:
    """The tiny network of attention sampling with changes; the same random weights each time."""
    torch.manual_seed(0)
    recipe = load_recipe("attention-sampling", [*SAMPLING_TINY, *changes])
    return build_attention_sampling(recipe, LABELS)


def random_batch(count: int = 6) -> tuple[Tensor, Tensor]:
    """Images [count, 3, 96, 96] and targets [count, LABELS]; the first has every label."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, 96, 96, generator=generator)
    targets = (torch.rand(count, LABELS, generator=generator) > 0.5).to(torch.uint8)
    targets[0] = 1
    return images, targets


def sgd(modules: Sequence[nn.Module], rate: float = 0.1) -> Optimization:
    """Plain SGD at a constant rate, without momentum's effect in the first step."""
    recipe = OptimizerRecipe(name="sgd", learning_rate=rate, weight_decay=0.0, schedule="constant")
    return Optimization(list(modules), recipe, 10)


def snapshot(module: nn.Module) -> State:
    """A copy of a module's parameters and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def changed_tensors(before: State, module: nn.Module) -> set[str]:
    """Names of the tensors that are not, bit for bit, as before."""
    state = module.state_dict()
    return {name for name, tensor in state.items() if not torch.equal(tensor, before[name])}


def changed_parts(before: State, racnn: RACNN) -> set[str]:
    """The backbones and APNs of which a tensor has changed: `backbones.0`, `apns.1`, …"""
    return {".".join(name.split(".")[:2]) for name in changed_tensors(before, racnn)}


def parts_with_gradients(racnn: RACNN) -> set[str]:
    """The backbones and APNs that a backward pass has reached."""
    names = [name for name, p in racnn.named_parameters() if p.grad is not None]
    return {".".join(name.split(".")[:2]) for name in names}


def silent(_: str) -> None:
    """Print nothing."""


def training_losses(run: Path) -> list[str]:
    """Every logged training value of a run, with its key."""
    with (run / "log.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "/train_" in row["key"]]
    return [f"{row['key']} {row['value']}" for row in rows]


def model_digest(run: Path) -> str:
    """SHA-256 of a run's model file."""
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
