"""Optimizers and their schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from leafzoom.recipe import OptimizerRecipe

__all__ = ["Optimization", "frozen", "schedule_factor"]

_RISE = 0.25  # share of a one_cycle schedule that rises
_START = 0.04  # of the learning rate, where one_cycle starts


class Optimization:
    """An optimizer over some modules, each its own parameter groups, with a schedule by step.

    Weight decay is for weights, not for biases and normalisation. The schedule is a function of the step, so
    the optimizer's state and the number of steps are all there is to save.

    Args:
        modules: one for each scale; all their parameters are optimized, each once.
        recipe: which optimizer, learning rate and schedule.
        total_steps: over which the schedule runs.
    """

    def __init__(self, modules: Sequence[nn.Module], recipe: OptimizerRecipe, total_steps: int) -> None:
        groups: list[dict[str, Any]] = []
        for module in modules:
            parameters = list(module.parameters())
            groups.append({"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay})
            groups.append({"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0})
        groups = [group for group in groups if group["params"]]
        self.optimizer: torch.optim.Optimizer
        if recipe.name == "sgd":
            self.optimizer = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum)
        else:
            self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        self.learning_rate = recipe.learning_rate
        self.schedule, self.total_steps, self.steps = recipe.schedule, total_steps, 0

    def step(self) -> float:
        """Take one step at the schedule's learning rate, forget the gradients, and return that rate."""
        rate = self.learning_rate * schedule_factor(self.schedule, self.steps, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return rate

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the steps taken."""
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]


def schedule_factor(schedule: Literal["constant", "cosine", "one_cycle"], step: int, total: int) -> float:
    """The share of the learning rate at a step, 0..1; `step` counts from 0 to `total` - 1."""
    if schedule == "constant":
        return 1.0
    place = (step + 0.5) / max(total, 1)
    if schedule == "one_cycle" and place < _RISE:
        return _START + (1 - _START) * (1 - math.cos(math.pi * place / _RISE)) / 2
    if schedule == "one_cycle":
        place = (place - _RISE) / (1 - _RISE)
    return (1 + math.cos(math.pi * min(place, 1.0))) / 2


def frozen(modules: Iterable[nn.Module]) -> None:
    """Keep modules as they are: no gradients, and eval(), so that batch-norm statistics stay still too."""
    for module in modules:
        module.eval().requires_grad_(False)
