"""Fine-grained networks of the same cost beside each other.

    python -m experiments.rivals DATA PARTS.json RUNS [--seeds 0 1 2] [--arm NAME]... [--limit N]

Trains the networks of rivals.toml with every seed on the `train` part of PARTS.json (see
`experiments.parts`), each from a shared checkpoint: a plain network that learned at 128 px from the
photographs of PARTS-shared.json. Answers the `report` part, which nothing was trained or fitted on,
by the decisions of `predict`. Counts multiply-adds, and times the networks in turns. Finished runs
are skipped. Writes results/experiments/rivals.json and docs/experiments/rivals.svg. Networks and
seeds that the result has already are kept in it, and need no run: so several calls, on several
machines, make one comparison.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from experiments.costs import Work, multiply_adds, ratio_quartiles, seconds_in_turns
from experiments.definitions import read_toml
from experiments.publishing import new_figure, result_path, save_figure, style_axes, write_result
from experiments.rival_answers import (
    BySeed,
    common_seeds,
    digest_of,
    kept_rows,
    packed,
    unpacked,
)
from experiments.statistics import paired_difference
from leafzoom.dataset.split import read_split
from leafzoom.evaluation.evaluate import evaluate
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.recipe import load_recipe
from leafzoom.storage import write_json
from leafzoom.training.memory import keep_freed_memory
from leafzoom.training.run import train
from tools.evaluation_data import open_data
from tools.provenance import commit, machine

__all__ = ["Rival", "Rivals", "main", "read_rivals"]

_NAME = "rivals"
_CONTROL = "plain"
_OURS = "ra-cnn"
_BATCH_SIZE = 16
_ROUNDS = 9
_WARM_UP_ROUNDS = 2
_THREADS = 1
_MILLION = 1e6
_COST_KEYS = ("multiply_adds", "time_ratio", "time_ratio_quartiles", "commit")

_BACKBONES = {"lite0": "tf_efficientnet_lite0", "lite2": "tf_efficientnet_lite2"}
_START_CHANGES = (
    "model.input_size=128",
    "fine_tuning.epochs=4",
    "warm_up.epochs=0",
    "alternation.classifier_epochs=0",
    "data.validation_limit=600",
)
_EVERYWHERE = ("prediction.tta=1", "data.validation_limit=600")


@dataclass(frozen=True)
class Rival:
    """A network of rivals.toml: `recipe` with `changes`, from the checkpoint `start`.

    `head`: the one that answers.
    """

    name: str
    title: str
    recipe: str
    start: str
    head: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Rivals:
    """What all trainings have in common.

    `data`: the photographs. `parts`: the split. `runs`: the folder of all runs. `limit`: so many
    photographs are trained on and answered; 0: all. `changes`: of every recipe, for tests.
    """

    data: Path
    parts: Path
    runs: Path
    limit: int = 0
    changes: tuple[str, ...] = ()

    def start(self, backbone: str) -> Path:
        """The checkpoint that a backbone's trainings start from, trained where it is missing."""
        shared = self.parts.with_name(f"{self.parts.stem}-shared.json")
        folder = self.runs / f"start-{backbone}"
        changes = [*_START_CHANGES, f"model.backbone={_BACKBONES[backbone]}", f"name={folder.name}"]
        self._train("default", changes, shared, folder)
        return folder / "backbone.safetensors"

    def train(self, rival: Rival, seed: int) -> Path:
        """A trained network's run; what is finished is left as it is."""
        folder = self.runs / f"{rival.name}-{seed}"
        changes = [*rival.changes, *_EVERYWHERE, f"name={rival.name}", f"seed={seed}"]
        self._train(rival.recipe, changes, self.parts, folder, self.start(rival.start))
        return folder

    def photographs(self) -> tuple[str, ...]:
        """The names of those that are answered."""
        names = read_split(self.parts).test
        return names[: self.limit] if self.limit else names

    def answers(self, rival: Rival, folder: Path) -> NDArray[np.bool_]:
        """Whether a trained network answers each photograph of the `report` part exactly, [n]."""
        file = folder / "answers.json"
        if not file.is_file():
            network = TorchNetwork(load_checkpoint(folder / "model.safetensors"))
            cache = open_data(self.data, network.manifest.source_size)
            evaluation = evaluate(network, cache, self.photographs(), (rival.head,))
            correct = (evaluation.answers_fitted[rival.head] == evaluation.targets).all(axis=1)
            write_json(file, [bool(value) for value in correct])
        return np.array(json.loads(file.read_text(encoding="utf-8")), bool)

    def _train(
        self,
        recipe_name: str,
        changes: Sequence[str],
        split: Path,
        folder: Path,
        init: Path | None = None,
    ) -> None:
        limits: list[str] = []
        if self.limit:
            limits = [f"data.train_limit={self.limit}", f"data.validation_limit={self.limit}"]
        recipe = load_recipe(recipe_name, [*changes, *limits, *self.changes])
        train(
            open_data(self.data, recipe.data.source_size),
            read_split(split),
            recipe,
            folder,
            init=None if init is None else str(init),
            resume=(folder / "run.json").is_file(),
            echo=_echo,
        )


def main() -> None:
    """Train what is missing, answer, count, time, write, draw."""
    rivals = read_rivals()
    arguments = _arguments(rivals)
    keep_freed_memory()
    experiment = Rivals(arguments.data, arguments.parts, arguments.runs, arguments.limit)

    # What an earlier call has measured on the same photographs.
    names = experiment.photographs()
    digest = digest_of(names)
    definitions = {name: _definition(rival) for name, rival in rivals.items()}
    kept = kept_rows(result_path(_NAME), digest, definitions)
    answers = {name: unpacked(row["answers"], len(names)) for name, row in kept.items()}

    # A seed of all networks first, so that a stop leaves a comparison.
    chosen = [rivals[name] for name in arguments.arm or rivals]
    for seed in arguments.seeds:
        for rival in chosen:
            folder = experiment.train(rival, seed)
            by_seed = answers.setdefault(rival.name, {})
            by_seed[seed] = experiment.answers(rival, folder)
            _echo(f"{rival.name} {seed}: exact match {by_seed[seed].mean():.4f}")

    code = commit("src", "experiments", "tools")
    costs = {name: _kept_cost(row) for name, row in kept.items()}
    costs |= _measured_costs(chosen, arguments.runs, arguments.seeds[0], code)
    rows = {
        name: {
            "title": rival.title,
            "definition": definitions[name],
            **costs[name],
            **_scores(name, answers),
        }
        for name, rival in rivals.items()
        if name in answers
    }
    limited = f" --limit {arguments.limit}" if arguments.limit else ""
    result = {
        "name": _NAME,
        "title": "Rivals at the same cost",
        "command": f"python -m experiments.rivals DATA PARTS.json RUNS{limited}",
        "commit": code,
        "machine": machine(),
        "photographs": len(names),
        "photographs_digest": digest,
        "batch": _BATCH_SIZE,
        "threads": _THREADS,
        "networks": rows,
    }
    write_result(_NAME, result)
    _draw(rows)
    for name, row in rows.items():
        print(name, row)


def read_rivals() -> dict[str, Rival]:
    """All networks of rivals.toml by name."""
    return {
        name: Rival(
            name=name,
            title=table["title"],
            recipe=table["recipe"],
            start=table["start"],
            head=table["head"],
            changes=tuple(table["set"]),
        )
        for name, table in read_toml("rivals.toml").items()
    }


def _work(rival: Rival, runs: Path, seed: int) -> Work:
    """From sources to logits: the whole network, or its first look alone."""
    checkpoint = load_checkpoint(runs / f"{rival.name}-{seed}" / "model.safetensors")
    network = network_from_checkpoint(checkpoint)
    side = checkpoint.manifest.source_size
    sources = torch.randint(0, 256, (_BATCH_SIZE, side, side, 3), dtype=torch.uint8)

    def all_looks() -> object:
        return network(sources)

    def first_look() -> object:
        racnn = network.racnn
        return racnn.start(racnn.normalise_pixels(sources)).logits

    return first_look if rival.head == "scale1" else all_looks


def _definition(rival: Rival) -> dict[str, Any]:
    """What a network's answers depend on."""
    return {
        "recipe": rival.recipe,
        "start": rival.start,
        "head": rival.head,
        "set": list(rival.changes),
    }


def _measured_costs(
    chosen: Sequence[Rival], runs: Path, seed: int, code: str
) -> dict[str, dict[str, Any]]:
    """What each network costs, with the code it was measured with."""
    torch.set_num_threads(_THREADS)
    works = {rival.name: _work(rival, runs, seed) for rival in chosen}
    with torch.inference_mode():
        counted = {name: multiply_adds(work, _BATCH_SIZE) for name, work in works.items()}
        seconds = seconds_in_turns(works, _ROUNDS, _WARM_UP_ROUNDS)

    costs = {}
    for name, (low, middle, high) in ratio_quartiles(seconds, _CONTROL).items():
        values = (round(counted[name]), middle, [low, high], code)
        costs[name] = dict(zip(_COST_KEYS, values, strict=True))
    return costs


def _kept_cost(row: dict[str, Any]) -> dict[str, Any]:
    """What an earlier call has measured."""
    return {key: row[key] for key in _COST_KEYS}


def _scores(name: str, answers: dict[str, BySeed]) -> dict[str, Any]:
    """A network's exact match, and its differences to the plain network and to our RA-CNN."""
    own = answers[name]
    means = {seed: float(own[seed].mean()) for seed in sorted(own)}
    scores: dict[str, Any] = {
        "exact_match": round(float(np.mean(list(means.values()))), 4),
        "seeds": list(means),
        "by_seed": [round(mean, 4) for mean in means.values()],
        "answers": packed(own),
    }
    for key, other in (("against_plain", _CONTROL), ("against_ours", _OURS)):
        if other != name and own.keys() & answers.get(other, {}).keys():
            pair = common_seeds(own, answers[other])
            scores[key] = paired_difference(*pair).to_dict()
    return scores


def _draw(rows: dict[str, dict[str, Any]]) -> None:
    """Exact match against multiply-adds, and against time; the range of the seeds."""
    figure = new_figure(11, 4.6)
    by_work, by_time = figure.subplots(1, 2, sharey=True)
    _draw_points(by_work, rows, "multiply_adds", _MILLION)
    _draw_points(by_time, rows, "time_ratio", 1.0)
    by_work.set_xlabel("multiply-adds a photograph, millions")
    by_time.set_xlabel("time a photograph (1 = plain Lite0 at 224 px)")
    by_work.set_ylabel("exact match, %")
    style_axes([by_work, by_time])
    handles, labels = by_work.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, _NAME)


def _draw_points(axes: Axes, rows: dict[str, dict[str, Any]], cost: str, divisor: float) -> None:
    """A point a network, with its seeds as a bar."""
    for number, row in enumerate(rows.values()):
        by_seed = [100 * value for value in row["by_seed"]]
        mean = 100 * row["exact_match"]
        spread = [[mean - min(by_seed)], [max(by_seed) - mean]]
        place = row[cost] / divisor
        axes.errorbar(place, mean, spread, fmt="o", color=f"C{number}", label=row["title"])


def _echo(line: str) -> None:
    print(line, flush=True)


def _arguments(rivals: dict[str, Rival]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("parts", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arm", action="append", metavar="NAME", help="Only these networks.")
    parser.add_argument(
        "--limit", type=int, default=0, help="Photographs to train on and to answer (a trial)."
    )

    arguments = parser.parse_args()
    for name in arguments.arm or ():
        if name not in rivals:
            parser.error(f"no network {name}: there are {', '.join(rivals)}")
    if arguments.arm and _CONTROL not in arguments.arm:
        parser.error(f"all are compared with {_CONTROL}: name it too")
    return arguments


if __name__ == "__main__":
    main()
