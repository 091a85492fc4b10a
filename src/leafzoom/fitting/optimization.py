"""Optimizers and their schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from leafzoom.recipe import OptimizerRecipe

__all__ = ["Optimization", "freeze", "schedule_factor"]

_RISING_SHARE = 0.25  # of the steps of a one_cycle schedule
_START_FACTOR = 0.04  # of the learning rate, at the start of one_cycle


class Optimization:
    """An optimizer over some modules, each its own parameter groups, with a schedule by step.

    Weight decay is for weights, not for biases and normalisation. The schedule is a function of the
    step: the optimizer's state and the number of steps are all that has to be saved.

    `before_step` is called before every step, with all gradients computed: processes that share a
    batch add theirs up there.

    Args:
        modules: one for each scale; all their parameters are optimized, each once.
        recipe: which optimizer, learning rate and schedule.
        total_steps: over which the schedule runs.
    """

    def __init__(
        self, modules: Sequence[nn.Module], recipe: OptimizerRecipe, total_steps: int
    ) -> None:
        groups = _parameter_groups(modules, recipe.weight_decay)
        self.optimizer: torch.optim.Optimizer
        if recipe.name == "sgd":
            self.optimizer = torch.optim.SGD(
                groups, lr=recipe.learning_rate, momentum=recipe.momentum
            )
        else:
            self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)

        self.learning_rate = recipe.learning_rate
        self.schedule = recipe.schedule
        self.total_steps = total_steps
        self.steps = 0
        self.before_step: Callable[[], None] | None = None

    def step(self) -> float:
        """Take one step at the schedule's learning rate, clear the gradients, return that rate."""
        factor = schedule_factor(self.schedule, self.steps, self.total_steps)
        rate = self.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = rate

        if self.before_step:
            self.before_step()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return rate

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the number of steps taken."""
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]


def _parameter_groups(modules: Sequence[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """For each module a group of weights, which decay, and a group of all else, which does not."""
    groups: list[dict[str, Any]] = []
    for module in modules:
        parameters = list(module.parameters())
        weights = [parameter for parameter in parameters if parameter.ndim > 1]
        others = [parameter for parameter in parameters if parameter.ndim <= 1]
        groups.append({"params": weights, "weight_decay": weight_decay})
        groups.append({"params": others, "weight_decay": 0.0})
    return [group for group in groups if group["params"]]


def schedule_factor(
    schedule: Literal["constant", "cosine", "one_cycle"], step: int, total: int
) -> float:
    """The share of the learning rate at a step, 0..1; `step` counts from 0 to `total` - 1."""
    if schedule == "constant":
        return 1.0

    # Measured at the middle of the step.
    progress = (step + 0.5) / max(total, 1)
    if schedule == "one_cycle":
        if progress < _RISING_SHARE:
            rise = (1 - math.cos(math.pi * progress / _RISING_SHARE)) / 2
            return _START_FACTOR + (1 - _START_FACTOR) * rise
        progress = (progress - _RISING_SHARE) / (1 - _RISING_SHARE)

    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def freeze(modules: Iterable[nn.Module]) -> None:
    """Freeze modules: no gradients, and eval(), so that batch-norm statistics stay still too."""
    for module in modules:
        module.eval().requires_grad_(False)
