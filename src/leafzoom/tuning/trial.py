"""A trial as an ordinary training, which reports its validation losses as it goes on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.errors import TrainingError
from leafzoom.recipe import load_recipe
from leafzoom.training.run import Settings, train

__all__ = ["TrainTrial", "validation_losses"]

_LOSSES = ("alternation/classifier/select_loss", "alternation/joint/select_loss")


@dataclass(frozen=True)
class TrainTrial:
    """Trains a recipe with a trial's changes.

    `changes`: of all trials. `init`: of all trials, as of `train`.
    """

    cache: Cache
    split: Split
    recipe: str
    changes: Sequence[str]
    init: str | None
    settings: Settings
    echo: Callable[[str], None]

    def __call__(
        self, changes: Sequence[str], folder: Path, report: Callable[[float, int], None]
    ) -> float:
        """The lowest validation loss of the last stage; see `RunTrial`."""
        recipe = load_recipe(self.recipe, [*self.changes, *changes])
        log = _Reports(folder, report)
        settings = replace(self.settings, more_loggers=(lambda folder, name: log,))
        train(
            self.cache,
            self.split,
            recipe,
            folder,
            init=self.init,
            resume=True,
            settings=settings,
            echo=self.echo,
        )

        losses = validation_losses(folder)
        if not losses:
            raise TrainingError(
                f"{folder}: the last stage has no validated epoch, so there is nothing to compare: "
                "tune a recipe with alternation.classifier_epochs, with more photographs"
            )
        return min(losses)


def validation_losses(run: Path) -> list[float]:
    """The validation losses of a run's last stage, one for each epoch that can be kept."""
    with (run / "log.csv").open(encoding="utf-8") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["key"] in _LOSSES]


class _Reports:
    """A logger that reports each validation loss of the last stage once."""

    def __init__(self, run: Path, report: Callable[[float, int], None]) -> None:
        self.run = run
        self.report = report
        self.reported = 0

    def log_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Nothing: the study has it."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Report the losses that the log has since the last epoch, or since a stop."""
        losses = validation_losses(self.run)
        for number in range(self.reported, len(losses)):
            self.reported = number + 1
            self.report(losses[number], number)

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Nothing: the run has it."""

    def log_model(self, path: Path) -> None:
        """Nothing: the run has it."""

    def close(self) -> None:
        """Nothing: every report is written at once."""
