"""Which parameters does each loss reach (figure 6 of the paper)?

    python -m experiments.reach

Three ways of training the paper's network: `alternate`, each classifier and APN by its own loss;
`shared`, one loss for all classifiers and one for both APNs (§3.3.3, which failed); `joint`, one
loss for everything. A loss reaches a part where its gradient is not zero; whether the part learns
from it is up to the phase. Random weights and pictures: what is reached depends on the graph alone.
Writes results/experiments/reach.json and docs/experiments/reach.svg.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.publishing import new_figure, save_figure, write_result
from leafzoom.model.build import build_racnn
from leafzoom.model.losses import classification_loss, ranking_loss
from leafzoom.model.racnn import RACNN
from leafzoom.model.view import ScaleState
from leafzoom.recipe import load_recipe
from tools.provenance import commit, machine

__all__ = ["main", "reached_parts"]

_NAME = "reach"
_OBJECTIVES = ("alternate", "shared", "joint")
_TITLES = {
    "alternate": "alternate: a loss for each",
    "shared": "shared: one for classifiers, one for APNs",
    "joint": "joint: one loss for everything",
}
_LEARNS = "#0072B2"
_REACHES = "#D55E00"
_RECIPE = (
    "model.backbone=test_efficientnet",
    "model.pretrained=none",
    "model.input_size=64",
    "model.apn_hidden=16",
    "data.source_size=64",
)
_LABELS = 3
_BATCH = 4

Reached = dict[str, dict[str, bool]]
"""{loss: {part: whether the part learns from it}}, of the parts that the loss reaches."""


def main() -> None:
    """Follow the gradients, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()

    reached = {objective: reached_parts(objective) for objective in _OBJECTIVES}
    result = {
        "name": _NAME,
        "command": "python -m experiments.reach",
        "commit": commit(),
        "machine": machine(),
        "objectives": reached,
    }
    print(write_result(_NAME, result))
    print(_draw(reached))


def reached_parts(objective: str) -> Reached:
    """The parts that each loss reaches.

    Args:
        objective: `alternate` detaches the state before each APN and after each pair; `shared` and
            `joint` detach nothing. Classifiers learn from classification losses and APNs from
            ranking losses, except in `joint`, where all learn from both.
    """
    torch.manual_seed(0)
    racnn = build_racnn(load_recipe("paper", [*_RECIPE]), _LABELS).train()
    images = torch.rand(_BATCH, 3, 64, 64)
    targets = (torch.rand(_BATCH, _LABELS) > 0.5).to(torch.uint8)
    targets[:, 0] = 1

    parts = {f"backbone {number + 1}": part for number, part in enumerate(racnn.backbones)}
    parts |= {f"APN {number + 1}": part for number, part in enumerate(racnn.apns)}
    reached: Reached = {}
    for name, loss in _losses(racnn, images, targets, detached=objective == "alternate").items():
        own_kind = "backbone" if name.startswith("L_cls") else "APN"
        reached[name] = {}
        for part, module in parts.items():
            gradients = torch.autograd.grad(
                loss, list(module.parameters()), retain_graph=True, allow_unused=True
            )
            if any(gradient is not None and bool(gradient.any()) for gradient in gradients):
                learns = objective == "joint" or part.startswith(own_kind)
                reached[name][part] = learns
    return reached


def _losses(racnn: RACNN, images: Tensor, targets: Tensor, *, detached: bool) -> dict[str, Tensor]:
    """Every scale's classification loss and every pair's ranking loss."""
    sources = racnn.normalise(images)
    if detached:
        return _detached_losses(racnn, sources, targets)

    states = [racnn.start(sources)]
    for _ in racnn.apns:
        states.append(racnn.advance(states[-1], racnn.propose(states[-1])))
    losses = _classification_losses(states, targets)
    for number, (coarse, fine) in enumerate(pairwise(states), start=1):
        name = f"L_rank {number}, {number + 1}"
        losses[name] = _ranking(coarse.logits, fine.logits, targets, detach_coarse=False)
    return losses


def _detached_losses(racnn: RACNN, sources: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """As the phases of `alternate` compute them."""
    states = [racnn.start(sources)]
    for _ in racnn.apns:
        coarse = states[-1].detach()
        states.append(racnn.advance(coarse, racnn.propose(coarse).detach()))
    losses = _classification_losses(states, targets)

    coarse = states[0].detach()
    for number in range(1, racnn.scales):
        fine = racnn.advance(coarse, racnn.propose(coarse))
        name = f"L_rank {number}, {number + 1}"
        losses[name] = _ranking(coarse.logits, fine.logits, targets, detach_coarse=True)
        coarse = fine.detach()
    return losses


def _classification_losses(states: list[ScaleState], targets: Tensor) -> dict[str, Tensor]:
    """L_cls of every scale."""
    losses = {}
    for number, state in enumerate(states, start=1):
        losses[f"L_cls {number}"] = classification_loss(state.logits, targets)
    return losses


def _ranking(coarse: Tensor, fine: Tensor, targets: Tensor, *, detach_coarse: bool) -> Tensor:
    """L_rank with a margin that no pair of scales reaches."""
    return ranking_loss(
        coarse,
        fine,
        targets,
        margin=1.0,
        labels="present",
        reduction="sum",
        detach_coarse=detach_coarse,
    )


def _draw(reached: Mapping[str, Reached]) -> Path:
    """A panel an objective: losses down, parts across."""
    figure = new_figure(11.4, 3.2)
    panels = figure.subplots(1, len(reached), sharey=True)
    parts = ["backbone 1", "APN 1", "backbone 2", "APN 2", "backbone 3"]
    for axes, (objective, losses) in zip(panels, reached.items(), strict=True):
        names = list(losses)
        for row, name in enumerate(names):
            for part, learns in losses[name].items():
                face = _LEARNS if learns else "none"
                edge = _LEARNS if learns else _REACHES
                axes.scatter(
                    parts.index(part), row, s=120, facecolors=face, edgecolors=edge, linewidths=1.8
                )
        axes.set_title(_TITLES[objective], fontsize=9)
        axes.set_xticks(range(len(parts)), parts, rotation=35, ha="right", fontsize=8)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xlim(-0.5, len(parts) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)

    _legend(figure)
    return save_figure(figure, _NAME)


def _legend(figure: Any) -> None:
    """What the dots mean."""
    handles = []
    for face, edge in ((_LEARNS, _LEARNS), ("none", _REACHES)):
        axes = figure.axes[0]
        handles.append(axes.scatter([], [], s=80, facecolors=face, edgecolors=edge, linewidths=1.8))
    names = ["the part learns from this loss", "the loss's gradient passes, and the part is frozen"]
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=8)


if __name__ == "__main__":
    main()
