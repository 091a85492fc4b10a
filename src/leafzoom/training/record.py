"""A run's own account of itself, `run.json`: what it trains, so that --resume goes on with the same; its log."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from leafzoom import __version__
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import ModelError, RecipeError, TrainingError
from leafzoom.model.checkpoint import Checkpoint, load_checkpoint
from leafzoom.recipe import Recipe, recipe_from_dict, recipe_to_dict
from leafzoom.storage import sha256_of, write_text

__all__ = ["run_facts", "run_status", "started_from", "write_log"]

_SAME = {
    "data": "other photographs or labels",
    "labels": "other labels",
    "split": "another split",
    "init": "another --init",
    "precision": "another --precision",
}


def run_status(
    out: Path, facts: Mapping[str, Any], recipe: Recipe, *, resume: bool, say: Callable[[str], None]
) -> Literal["new", "training", "finished"]:
    """Whether a folder holds no run yet, one to go on with, or a finished one.

    A folder in which no state was saved counts as new: there is nothing in it to lose. A finished run whose model is
    damaged is one to go on with: its last state has all that the model was made from.

    Args:
        out: the folder.
        facts: what the training that is asked for is made of.
        recipe: its recipe.
        resume: whether a run in the folder may be gone on with.
        say: told of a model that is damaged.

    Raises:
        TrainingError: there is a run (without `resume`), it is made of something else, or its account is damaged, or
            its model is and there is no state.
    """
    path = out / "run.json"
    has_states = any(out.glob("states/state-*.pt"))
    if not path.is_file():
        if has_states:
            raise TrainingError(f"{out} has states but no run.json: choose another folder")
        return "new"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        finished = before["status"] == "finished"
        same_recipe = recipe_from_dict(before["recipe"], str(path)) == recipe
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecipeError) as error:
        raise TrainingError(f"{path} cannot be read ({error}): choose another folder") from error
    if not has_states and not finished:
        return "new"
    if not resume:
        raise TrainingError(f"{out} holds a run already: go on with --resume, or choose another folder")
    if not same_recipe:
        raise TrainingError(
            f"{out} was trained with another recipe: --resume takes the same --recipe and --set; to change one, "
            "choose another folder"
        )
    for key, what in _SAME.items():
        if before.get(key) != facts[key]:
            raise TrainingError(f"{out} was trained with {what}: --resume needs the same, or choose another folder")
    return "finished" if finished and _is_whole(out / "model.safetensors", has_states, say) else "training"


def _is_whole(model: Path, has_states: bool, say: Callable[[str], None]) -> bool:
    """Whether a finished run's model can be read; if not, whether it can be made again."""
    try:
        load_checkpoint(model)
    except ModelError as error:
        what = f"{model} is damaged or gone"
        if not has_states:
            raise TrainingError(f"{what}, and there is no state to make it from: train in another folder") from error
        say(f"{what}: it is made again from the last state")
        return False
    return True


def started_from(out: Path, digest: str) -> str:
    """The digest of the start weights of the run in a folder: what it says itself, else `digest`."""
    path = out / "run.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return str(stored.get("start_weights", digest))


def write_log(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows `epoch, key, value` of a run's log."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", "key", "value"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def run_facts(
    cache: Cache, split: Split, recipe: Recipe, labels: tuple[str, ...], init: Checkpoint | None, precision: str
) -> dict[str, Any]:
    """What a run is made of; --resume wants the same."""
    return {
        "leafzoom": __version__,
        "recipe": recipe_to_dict(recipe),
        "init": sha256_of(init.path) if init else None,
        "precision": precision,
        "labels": list(labels),
        "data": {
            "csv": cache.table.csv.name,
            "table": cache.table.digest(),
            "photographs": cache.digest,
        },
        "split": {
            "name": split.name,
            "train": len(split.train),
            "select": len(split.select),
            "report": len(split.report),
            "digest": split.digest(),
        },
    }
