"""The paper from one command: its trainings, tables 1 to 6, figures 7 to 13, and its claims.

    python -m experiments.reproduce DATA RUNS [--seeds 0 1 2] [--arm NAME]... [--set KEY=VALUE]...

Trains the arms of reproduction.toml (recipe `paper-lite`) on `inner-train` with every seed; what is
finished is skipped, what was stopped goes on. Writes results/experiments/reproduction.json,
docs/experiments/reproduction.svg, and RUNS/figures: the paper's figures as a page, with zoomed
photographs. `python -m tools.tables` makes docs/paper.md from the JSON. With `--scored` it then
trains the paper's network on all of the paper's training photographs, with nothing held out, and
writes RUNS/scored.safetensors in half precision, for the paper's validation photographs.

The paper's own size (224 px, ten rounds) takes days on two cores. `--set model.input_size=128 --set
data.source_size=128 --set data.train_limit=4000 --set alternation.rounds=4` takes hours.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator

from experiments.paper_claims import judge_claims
from experiments.publishing import new_figure, save_figure, style_axes, write_result
from experiments.reproduced_runs import (
    HEADS,
    ReproducedArm,
    ReproductionArm,
    published_tables,
    read_arm,
    read_arms,
)
from leafzoom.dataset.split import training_split
from leafzoom.errors import DivergedError
from leafzoom.evaluation.compare import compare_runs
from leafzoom.model_file.checkpoint import load_checkpoint, save_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.training.memory import keep_freed_memory
from leafzoom.training.run import train
from tools.evaluation_data import open_data
from tools.provenance import commit, machine

__all__ = ["main", "reproduction", "train_arm"]

_NAME = "reproduction"
_RECIPE = "paper-lite"
_PAPER = "wide-sigmoid"
_SPLIT = "inner-train"
_PAPER_SPLIT = "paper-train"
_FIGURES = (
    ("exact match of scale 2 (figure 7)", "exact_match_scale2"),
    ("exact match of scale 3 (figure 8)", "exact_match_scale3"),
    ("classification loss of scale 3 (figure 11)", "loss_scale3"),
    ("ranking loss of scales 2, 3 (figure 12)", "ranking_loss23"),
)
_COLOURS = ("#000000", "#0072B2", "#E69F00", "#56B4E9", "#009E73", "#D55E00")


def main() -> None:
    """Train what is missing, then write the result, the plots and the page of figures."""
    arms = read_arms()
    arguments = _arguments(arms)
    keep_freed_memory()

    chosen = [arms[name] for name in arguments.arm or arms]
    folders: dict[str, list[Path]] = {arm.name: [] for arm in chosen}
    diverged: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        for arm in chosen:
            folder = arguments.runs / f"{arm.name}-{seed}"
            try:
                train_arm(arguments.data, arm, seed, arguments.set, folder)
            except DivergedError as error:
                diverged.append({"arm": arm.name, "seed": seed, "where": str(error).split(":")[0]})
                _echo(f"{arm.name} diverged, which is a result: {error}")
                continue
            folders[arm.name].append(folder)

    reproduced = {name: read_arm(name, of_arm) for name, of_arm in folders.items() if of_arm}
    options = [f"--seeds {' '.join(map(str, arguments.seeds))}"]
    options += [f"--arm {name}" for name in arguments.arm or ()]
    options += [f"--set {change}" for change in arguments.set]
    result = {
        "name": _NAME,
        "command": f"python -m experiments.reproduce DATA RUNS {' '.join(options)}",
        "commit": commit("src", "experiments", "tools"),
        "machine": machine(),
        "settings": _settings(arguments.set),
        "diverged": diverged,
        **reproduction(reproduced),
    }
    write_result(_NAME, result)
    _draw(reproduced)
    every_folder = [folder for of_arm in folders.values() for folder in of_arm]
    print(f"see {compare_runs(every_folder, arguments.runs / 'figures')}")

    if arguments.scored:
        print(f"see {train_scored(arguments.data, arguments.set, arguments.runs)}")


def train_arm(
    data: Path, arm: ReproductionArm, seed: int, changes: Sequence[str], folder: Path
) -> None:
    """Train an arm with one seed; what is finished is left as it is.

    Raises:
        DivergedError: a loss or a weight is no longer finite.
    """
    recipe = load_recipe(_RECIPE, [*changes, *arm.changes, f"name={arm.name}", f"seed={seed}"])
    cache = open_data(data, recipe.data.source_size)
    split = training_split(cache, _SPLIT)
    resume = (folder / "run.json").is_file()
    train(cache, split, recipe, folder, resume=resume, echo=_echo)


def train_scored(data: Path, changes: Sequence[str], runs: Path) -> Path:
    """Train the paper's network as it did, without a held-out part; half-precision weights."""
    arm = read_arms()[_PAPER]
    folder = runs / "scored"
    recipe = load_recipe(_RECIPE, [*arm.changes, *changes, "name=scored"])
    cache = open_data(data, recipe.data.source_size)
    resume = (folder / "run.json").is_file()
    split = training_split(cache, _PAPER_SPLIT, "none")
    checkpoint = load_checkpoint(train(cache, split, recipe, folder, resume=resume, echo=_echo))
    path = runs / "scored.safetensors"
    save_checkpoint(path, checkpoint.tensors, checkpoint.manifest, torch.float16)
    return path


def reproduction(arms: dict[str, ReproducedArm]) -> dict[str, Any]:
    """Tables, final scores and claims of finished trainings.

    Args:
        arms: by name, `wide-sigmoid` among them.
    """
    paper = arms[_PAPER]
    tables = {head: _table(paper, head) for head in HEADS}
    final = {name: _exact_matches(arm) for name, arm in arms.items()}
    return {
        "photographs": len(paper.runs[0].image_names),
        "seeds": len(paper.runs),
        "tables": tables,
        "published": published_tables(),
        "exact_match": final,
        "titles": {name: arm.title for name, arm in read_arms().items()},
        "claims": [claim.to_dict() for claim in judge_claims(arms)],
    }


def _table(arm: ReproducedArm, head: str) -> dict[str, list[list[float]]]:
    """Rows of one of the paper's tables: precision, recall, F1 and support, a list a seed."""
    rows: dict[str, list[list[float]]] = {}
    for metrics in arm.metrics(head):
        averages = {
            "micro": metrics.micro,
            "macro": metrics.macro,
            "weighted": metrics.weighted,
            "samples": metrics.samples,
        }
        for name, scores in {**metrics.per_label, **averages}.items():
            values = [round(float(value), 4) for value in asdict(scores).values()]
            rows.setdefault(name, []).append(values)
    return rows


def _exact_matches(arm: ReproducedArm) -> dict[str, list[float]]:
    """The exact match of every head of an arm, a value a seed."""
    exact = {}
    for head in HEADS:
        if head in arm.runs[0].logits:
            by_seed = arm.correct(head).mean(axis=1)
            exact[head] = [round(float(value), 4) for value in by_seed]
    return exact


def _settings(changes: Sequence[str]) -> dict[str, Any]:
    """The values of the trainings that say how far they are from the paper's."""
    recipe = load_recipe(_RECIPE, list(changes))
    return {
        "input_size": recipe.model.input_size,
        "backbone": recipe.model.backbone,
        "train_limit": recipe.data.train_limit,
        "fine_tuning_epochs": recipe.fine_tuning.epochs,
        "rounds": recipe.alternation.rounds,
    }


def _draw(arms: dict[str, ReproducedArm]) -> None:
    """A panel a figure, a line an arm: the mean over seeds, and their range."""
    figure = new_figure(10, 6.4)
    panels = list(figure.subplots(2, 2).flat)
    for axes, (title, metric) in zip(panels, _FIGURES, strict=True):
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch of the alternation", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for (name, arm), colour in zip(arms.items(), _COLOURS, strict=False):
            curves = arm.curve(metric)
            epochs = np.arange(1, curves.shape[1] + 1)
            axes.plot(epochs, curves.mean(axis=0), "o-", color=colour, ms=3, lw=1.4, label=name)
            axes.fill_between(
                epochs, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.15, lw=0
            )

    style_axes(panels)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, _NAME)


def _echo(line: str) -> None:
    print(line, flush=True)


def _arguments(arms: dict[str, ReproductionArm]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arm", action="append", metavar="NAME", help="Only these arms.")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="Change the recipe."
    )
    parser.add_argument(
        "--scored", action="store_true", help="Train on all photographs too, and keep the weights."
    )

    arguments = parser.parse_args()
    for name in arguments.arm or ():
        if name not in arms:
            parser.error(f"no arm {name}: there are {', '.join(arms)}")
    if arguments.arm and _PAPER not in arguments.arm:
        parser.error(f"the tables are of {_PAPER}: name it too")
    return arguments


if __name__ == "__main__":
    main()
