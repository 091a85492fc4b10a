"""What a training writes after every epoch: the zooms of a fixed sample, its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leafzoom.recipe import recipe_to_dict
from leafzoom.training.attention_film import draw_zooms
from leafzoom.training.loggers import RunLogger
from leafzoom.training.record import write_log
from leafzoom.training.stage_loop import Progress, StagePlan
from leafzoom.training.stages import TrainingContext

__all__ = ["EpochOutputs"]

_FILM_PHOTOGRAPHS = 6
_ZOOM_FILE_ORDER = {"warm_up": 1, "grouping": 1, "alternation": 2}


class EpochOutputs:
    """Writes the zooms of a fixed sample, log.csv and all loggers after every epoch."""

    def __init__(
        self, context: TrainingContext, progress: Progress, loggers: Sequence[RunLogger]
    ) -> None:
        self.context = context
        self.progress = progress
        self.loggers = loggers
        for logger in loggers:
            logger.log_recipe(recipe_to_dict(context.recipe))

        # A sample spread over the validation part, or over the training part without one.
        part = context.validation_part if context.holds_out else context.train_part
        step = max(1, len(part) // _FILM_PHOTOGRAPHS)
        rows = part.rows[::step][:_FILM_PHOTOGRAPHS]
        self.sample = replace(context.train_part, rows=rows)

    def after_epoch(self, plan: StagePlan, epoch: int) -> None:
        """Draw and write."""
        context = self.context
        drawn = None
        if plan.name in _ZOOM_FILE_ORDER:
            order = _ZOOM_FILE_ORDER[plan.name]
            drawn = context.out / "zooms" / f"{order}-{plan.name}-{epoch + 1:03d}.png"
            title = f"{plan.name} {epoch + 1} ({plan.phases[epoch].name})"
            draw_zooms(context.fabric, context.network, self.sample, drawn, title)

        write_log(context.out / "log.csv", self.progress.log)
        self._log(plan, epoch, drawn)

    def finish(self, model: Path) -> None:
        """Log the trained network's file, and close all loggers."""
        for logger in self.loggers:
            logger.log_model(model)
            logger.close()

    def _log(self, plan: StagePlan, epoch: int, drawn: Path | None) -> None:
        """Give the loggers an epoch; the log has the rows of all epochs."""
        stage_of_row = [(row.key.split("/")[0], row.epoch) for row in self.progress.log]
        step = len(set(stage_of_row))
        metrics = {
            row.key: row.value
            for row, key in zip(self.progress.log, stage_of_row, strict=True)
            if key == (plan.name, epoch + 1)
        }
        for logger in self.loggers:
            logger.log_metrics(metrics, step)
            if drawn is not None:
                logger.log_picture(f"{plan.name}/zooms", drawn, step)
