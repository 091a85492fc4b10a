"""What a study has found: its best recipe, its trials, and which values mattered.

OUT/best.toml       the recipe of the best trial
OUT/trials.csv      a row a trial
OUT/index.html      both, with the importance of each value
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from leafzoom.evaluation.figures import bars
from leafzoom.recipe import load_recipe, recipe_names, recipe_to_dict
from leafzoom.storage import write_text
from leafzoom.tuning.study import Study

__all__ = ["best_recipe_text", "importances", "write_report"]

_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class _Row:
    """A trial in the report."""

    number: int
    state: str
    loss: str
    exact_match: str
    changes: str
    folder: str


def write_report(study: Study, recipe: str, changes: Sequence[str]) -> Path | None:
    """Write all files of the report.

    Args:
        study: with the trials.
        recipe: name or file of the recipe that they change.
        changes: of `--set`, which all trials share.

    Returns:
        The best recipe's file; None where no trial has finished.

    Raises:
        LeafzoomError: a file cannot be written.
    """
    trials = sorted(study.trials, key=_rank)
    rows = [_row(study, trial) for trial in trials]
    _write_table(study.out / "trials.csv", rows)

    best_text = ""
    best_path = None
    if trials and trials[0].state == TrialState.COMPLETE:
        best_path = study.out / "best.toml"
        best_text = best_recipe_text(recipe, changes, study.changes_of(trials[0]))
        write_text(best_path, best_text)

    shares = importances(study.optuna)
    percents = {name: round(100 * share) for name, share in shares.items()}
    template = (resources.files("leafzoom") / "tuning" / "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(template).render(
        recipe=recipe,
        ranges=study.ranges.name,
        rows=rows,
        figure=bars(percents, "Importance of each value, percent") if percents else "",
        best=best_text,
    )
    write_text(study.out / "index.html", page)
    return best_path


def importances(study: optuna.Study) -> dict[str, float]:
    """How much of the losses' variance each value explains, the greatest first.

    Optuna's evaluator: a functional ANOVA over random forests (Hutter et al. 2014). None where
    fewer than two trials have finished, or none differ.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    losses = {trial.value for trial in complete}
    if len(losses) < 2:
        return {}
    try:
        evaluator = FanovaImportanceEvaluator(seed=0)
        return dict(get_param_importances(study, evaluator=evaluator))
    except (ValueError, RuntimeError):  # of values that do not vary
        return {}


def best_recipe_text(recipe: str, changes: Sequence[str], best: Sequence[str]) -> str:
    """A recipe's TOML: what it extends, and what the best trial changed.

    Args:
        recipe: name or file of the recipe that was tuned.
        changes: of `--set`, which all trials shared.
        best: of the best trial.
    """
    tuned = recipe_to_dict(load_recipe(recipe, [*changes, *best]))
    base = recipe if recipe in recipe_names() else str(Path(recipe).resolve())
    lines = [
        "# Made by leafzoom tune: the values of the trial with the lowest validation loss.",
        f"name = {json.dumps(Path(recipe).stem + '-tuned')}",
        f"extends = {json.dumps(base)}",
    ]
    keys = dict.fromkeys(change.partition("=")[0].strip() for change in (*changes, *best))
    lines += [f"{key} = {json.dumps(_value_at(tuned, key))}" for key in keys if key != "name"]
    return "\n".join(lines) + "\n"


def _value_at(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    value: Any = values
    for name in key.split("."):
        value = value[name]
    return value


def _rank(trial: FrozenTrial) -> tuple[bool, float, int]:
    """The order of the report: finished trials by their loss, then the others."""
    loss = trial.value if trial.state == TrialState.COMPLETE else None
    return (loss is None, loss or 0.0, trial.number)


def _row(study: Study, trial: FrozenTrial) -> _Row:
    """A trial's row."""
    loss = trial.value if trial.state == TrialState.COMPLETE else None
    return _Row(
        number=trial.number,
        state=_STATES[trial.state],
        loss="" if loss is None else f"{loss:.4f}",
        exact_match=_exact_match(study.folder_of(trial)),
        changes=", ".join(study.changes_of(trial)),
        folder=str(study.folder_of(trial).relative_to(study.out)),
    )


def _exact_match(run: Path) -> str:
    """The validation exact match of a finished run's last head; empty without one."""
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        last_head = list(record["metrics"]["inner-select"].values())[-1]
        return f"{last_head['exact_match']:.4f}"
    except (OSError, ValueError, KeyError, IndexError):
        return ""


def _write_table(path: Path, rows: Sequence[_Row]) -> None:
    """Write the trials as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_Row.__annotations__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    write_text(path, text.getvalue())
