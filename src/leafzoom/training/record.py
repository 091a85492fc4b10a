"""A run's own record, `run.json`: what it is made of, so that --resume goes on with the same."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from leafzoom import __version__
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import SelectOn, Split
from leafzoom.errors import DataError, ModelError, RecipeError, TrainingError
from leafzoom.labels import LabelSet
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint
from leafzoom.recipe import Recipe, recipe_from_dict, recipe_to_dict
from leafzoom.storage import sha256_of, write_text
from leafzoom.training.state import LogRow

__all__ = [
    "RunFacts",
    "RunStatus",
    "run_facts",
    "run_status",
    "stored_start_weights",
    "training_labels",
    "write_log",
]

RunStatus = Literal["new", "training", "finished"]

_MUST_AGREE = {
    "data": "other photographs or labels",
    "labels": "other labels",
    "select_on": "another --select-on",
    "split": "another split",
    "init": "another --init",
    "teachers": "other teachers (--teacher)",
    "precision": "another --precision",
}
_ONE_PROCESS = 1  # what records of earlier versions are of


@dataclass(frozen=True)
class RunFacts:
    """What a run is made of; --resume needs the same.

    `recipe`: every value. `init`: SHA-256 of the checkpoint of `--init`. `teachers`: name and
    SHA-256 of each checkpoint of `--teacher`. `data`: name and digest of the table, digest of the
    photographs. `split`: its name, sizes and digest. `select_on`: `none` where nothing is held out.
    `processes`: that shared each batch.
    """

    leafzoom: str
    recipe: dict[str, Any]
    init: str | None
    teachers: list[dict[str, str]]
    precision: str
    labels: list[str]
    data: dict[str, str]
    split: dict[str, str | int]
    select_on: SelectOn
    processes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in `run.json`."""
        return asdict(self)


def training_labels(cache: Cache, split: Split, recipe: Recipe) -> LabelSet:
    """The labels of a training, with the combinations that it may learn.

    Combinations that only the test part has are not seen by a decision, as those of a user's photos
    will not be. Of single labels, every class is an answer.

    Raises:
        DataError: with `model.loss = "softmax"`, a photograph without exactly one label, or fewer
            than two classes.
    """
    everything = split.train + split.validation + split.test
    table = cache.table.take(everything)
    names = table.label_set(recipe.data.labels).names
    if recipe.single_label:
        table.require_one_label()
        if len(names) < 2:
            raise DataError(
                f"{table.csv} has one class, {names[0]}, and model.loss softmax needs two: add "
                "photographs of another"
            )
        return LabelSet.of_classes(names)

    seen = cache.table.take(split.train + split.validation).label_set(names)
    if recipe.decision.combinations == "seen":
        return seen
    return seen.with_possible_combinations(recipe.decision.exclusive)


def run_facts(
    cache: Cache,
    split: Split,
    recipe: Recipe,
    labels: tuple[str, ...],
    init: Checkpoint | None,
    teachers: Sequence[Checkpoint],
    precision: str,
    processes: int,
) -> RunFacts:
    """What a run of this recipe on these data is made of."""
    return RunFacts(
        leafzoom=__version__,
        recipe=recipe_to_dict(recipe),
        init=sha256_of(init.path) if init else None,
        teachers=[
            {"name": teacher.manifest.name, "sha256": sha256_of(teacher.path)}
            for teacher in teachers
        ],
        precision=precision,
        labels=list(labels),
        data={
            "csv": cache.table.csv.name,
            "table": cache.table.digest(),
            "photographs": cache.digest,
            **({"group_column": cache.table.group_column} if cache.table.group_column else {}),
        },
        split={
            "name": split.name,
            "train": len(split.train),
            "select": len(split.validation),
            "report": len(split.test),
            "digest": split.digest(),
        },
        select_on=split.select_on,
        processes=processes,
    )


def run_status(
    out: Path, facts: RunFacts, recipe: Recipe, *, resume: bool, echo: Callable[[str], None]
) -> RunStatus:
    """Whether a folder holds no run yet, one to go on with, or a finished one.

    A folder in which no state was saved counts as new: there is nothing in it to lose. A finished
    run whose model is damaged is one to go on with: its last state has all that the model is made
    from.

    Args:
        out: the folder.
        facts: of the training that is asked for.
        recipe: its recipe.
        resume: whether a run in the folder may be continued.
        echo: prints a line about a damaged model.

    Raises:
        TrainingError: there is a run (without `resume`), it is made of something else, its record
            is damaged, or its model is damaged and there is no state.
    """
    path = out / "run.json"
    has_states = any(out.glob("states/state-*.pt"))
    if not path.is_file():
        if has_states:
            raise TrainingError(f"{out} has states but no run.json: choose another folder")
        return "new"

    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        finished = stored["status"] == "finished"
        same_recipe = recipe_from_dict(stored["recipe"], str(path)) == recipe
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecipeError,
        RecursionError,
    ) as error:
        raise TrainingError(f"{path} cannot be read ({error}): choose another folder") from error

    if not has_states and not finished:
        return "new"
    if not resume:
        raise TrainingError(
            f"{out} holds a run already: go on with --resume, or choose another folder"
        )
    _require_same(out, stored, facts, same_recipe=same_recipe)

    # A damaged model is made again from the last state.
    if finished and _model_is_whole(out / "model.safetensors", has_states, echo):
        return "finished"
    return "training"


def stored_start_weights(out: Path, digest: str) -> str:
    """The digest of the start weights that a run's record has, else `digest`."""
    path = out / "run.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return str(stored.get("start_weights", digest))


def write_log(path: Path, rows: Sequence[LogRow]) -> None:
    """Write a run's log with the columns `epoch, key, value`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", "key", "value"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_text(path, text.getvalue())


def _require_same(
    out: Path, stored: Mapping[str, Any], facts: RunFacts, *, same_recipe: bool
) -> None:
    """Refuse to go on with a run that is made of something else."""
    if not same_recipe:
        raise TrainingError(
            f"{out} was trained with another recipe: --resume takes the same --recipe and --set; "
            "to change one, choose another folder"
        )

    # Another number of processes draws other random numbers.
    processes = stored.get("processes", _ONE_PROCESS)
    if processes != facts.processes:
        raise TrainingError(
            f"{out} was trained by {processes} at once, and --devices times --nodes is "
            f"{facts.processes}: --resume needs {processes}, or choose another folder"
        )

    # Records of earlier versions have no teachers, which is the same as none, and select.
    stored = {"select_on": "validation", **stored}
    requested = facts.to_dict()
    for key, difference in _MUST_AGREE.items():
        if (stored.get(key) or None) != (requested[key] or None):
            raise TrainingError(
                f"{out} was trained with {difference}: --resume needs the same, or choose another "
                "folder"
            )


def _model_is_whole(model: Path, has_states: bool, echo: Callable[[str], None]) -> bool:
    """Whether a finished run's model can be read; if not, whether it can be made again."""
    try:
        load_checkpoint(model)
    except ModelError as error:
        damage = f"{model} is damaged or gone"
        if not has_states:
            raise TrainingError(
                f"{damage}, and there is no state to make it from: train in another folder"
            ) from error
        echo(f"{damage}: it is made again from the last state")
        return False
    return True
