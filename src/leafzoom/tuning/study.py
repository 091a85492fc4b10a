"""A study: trials of a recipe in one folder, which can go on where it stopped.

OUT/study.db        Optuna's storage in SQLite
OUT/study.json      what the trials share
OUT/trials/NNNN/    the run of each trial
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
from filelock import FileLock, Timeout
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState

from leafzoom.dataset.batches import seed_for
from leafzoom.errors import DivergedError, LeafzoomError, RecipeError, TrainingError
from leafzoom.storage import make_folder, write_json
from leafzoom.tuning.ranges import Ranges

__all__ = ["RunTrial", "Study", "open_study"]

_NAME = "leafzoom"
_TRIALS_BEFORE_PRUNING = 4
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

# Names of what Optuna keeps with a trial.
_FOLDER = "folder"
_CHANGES = "changes"
_ERROR = "error"
_INTERRUPTED = "interrupted"


class RunTrial(Protocol):
    """Trains one trial."""

    def __call__(
        self, changes: Sequence[str], folder: Path, report: Callable[[float, int], None]
    ) -> float:
        """Train, or go on with what a stop left in the folder.

        Args:
            changes: of the recipe, as `--set` has them.
            folder: of the run.
            report: called after an epoch with its validation loss and its number, from 0; ends the
                trial where others were better by then.

        Returns:
            What is minimised.
        """


@dataclass(frozen=True)
class Study:
    """A study in a folder."""

    optuna: optuna.Study
    out: Path
    ranges: Ranges
    seed: int

    @property
    def trials(self) -> list[FrozenTrial]:
        """The trials that have ended; an interrupted one is not among them."""
        interrupted = self.optuna.user_attrs.get(_INTERRUPTED, [])
        trials = self.optuna.get_trials(deepcopy=False, states=_ENDED)
        return [trial for trial in trials if trial.number not in interrupted]

    def folder_of(self, trial: FrozenTrial) -> Path:
        """The run of a trial."""
        return self.out / "trials" / str(trial.user_attrs[_FOLDER])

    def changes_of(self, trial: FrozenTrial) -> list[str]:
        """What a trial changed in the recipe."""
        return list(trial.user_attrs.get(_CHANGES, []))

    def run(self, run_trial: RunTrial, trials: int, echo: Callable[[str], None]) -> None:
        """Run trials until so many have ended; those of earlier calls count.

        Raises:
            LeafzoomError: another study is at work in the folder, or a trial cannot be run for a
                reason that other trials would have too.
        """
        try:
            with FileLock(self.out / "lock", timeout=0):
                self._take_up_interrupted(echo)
                while len(self.trials) < trials:
                    self._run_one(run_trial, f"{len(self.trials) + 1} of {trials}", echo)
        except Timeout as error:
            raise TrainingError(f"another study is at work in {self.out}") from error

    def _run_one(self, run_trial: RunTrial, which: str, echo: Callable[[str], None]) -> None:
        """Run the next trial."""
        # The same draws whether the study was stopped in between or not.
        number = len(self.optuna.get_trials(deepcopy=False))
        self.optuna.sampler = TPESampler(seed=seed_for(self.seed, "tune", number) % 2**32)
        trial = self.optuna.ask()
        changes = self.ranges.changes(trial)
        name = trial.user_attrs.get(_FOLDER, f"{trial.number:04d}")
        trial.set_user_attr(_FOLDER, name)
        trial.set_user_attr(_CHANGES, changes)
        echo(f"trial {which}: {', '.join(changes)}")

        def report(value: float, step: int) -> None:
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned

        folder = self.out / "trials" / name
        try:
            value = run_trial(changes, folder, report)
        except optuna.TrialPruned:
            self.optuna.tell(trial, state=TrialState.PRUNED)
            echo("pruned: half of the trials had a lower validation loss by this epoch")
        except (RecipeError, DivergedError) as error:
            # Of this trial's values: others may do.
            trial.set_user_attr(_ERROR, str(error))
            self.optuna.tell(trial, state=TrialState.FAIL)
            echo(f"failed: {error}")
        else:
            self.optuna.tell(trial, value)
            echo(f"validation loss {value:.4f}, the lowest so far {self.optuna.best_value:.4f}")
        shutil.rmtree(folder / "states", ignore_errors=True)

    def _take_up_interrupted(self, echo: Callable[[str], None]) -> None:
        """Let the next trial be the one that was at work when the study stopped."""
        for trial in self.optuna.get_trials(states=(TrialState.RUNNING,)):
            interrupted = self.optuna.user_attrs.get(_INTERRUPTED, [])
            self.optuna.set_user_attr(_INTERRUPTED, [*interrupted, trial.number])
            self.optuna.tell(trial.number, state=TrialState.FAIL)
            if _FOLDER in trial.user_attrs:
                folder = trial.user_attrs[_FOLDER]
                self.optuna.enqueue_trial(trial.params, user_attrs={_FOLDER: folder})
                echo(f"going on with the trial in {self.out / 'trials' / folder}")


def open_study(
    out: Path, ranges: Ranges, shared: Mapping[str, Any], *, seed: int, resume: bool
) -> Study:
    """The study of a folder, new or to go on with.

    Args:
        out: its folder.
        ranges: of the trials.
        shared: what all trials share, as plain values: recipe, photographs, split, start.
        seed: of the choice of values.
        resume: go on with a study that is there.

    Raises:
        TrainingError: there is a study (without `resume`), or it shares something else.
        LeafzoomError: the folder or its database cannot be used.
    """
    record = {"ranges": ranges.to_dict(), "seed": seed, **shared}
    path = out / "study.json"
    make_folder(out)
    if path.exists():
        _require_same(out, path, record, resume=resume)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{out.resolve() / 'study.db'}",
            study_name=_NAME,
            direction="minimize",
            pruner=MedianPruner(n_startup_trials=_TRIALS_BEFORE_PRUNING),
            load_if_exists=True,
        )
    except Exception as error:  # of SQLAlchemy, which has many
        reason = str(error).splitlines()[0][:200]
        raise LeafzoomError(
            f"{out / 'study.db'} cannot be used ({reason}): choose another folder"
        ) from error
    write_json(path, record)
    return Study(study, out, ranges, seed)


def _require_same(out: Path, path: Path, record: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse to mix a study with another one."""
    if not resume:
        raise TrainingError(f"{out} holds a study already: go on with --resume, or choose another")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key in record if stored.get(key) != record[key]]
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path} cannot be read ({error}): choose another folder") from error
    if different:
        raise TrainingError(
            f"{out} holds a study with another {different[0]}: --resume needs the same, or choose "
            "another folder"
        )
