"""What a training writes after every epoch: the zooms of a fixed sample, its log."""

from __future__ import annotations

from dataclasses import replace

from lightning.fabric.loggers.tensorboard import TensorBoardLogger

from leafzoom.training.attention_film import draw_zooms
from leafzoom.training.record import write_log
from leafzoom.training.stage_loop import Progress, StagePlan
from leafzoom.training.stages import TrainingContext

__all__ = ["EpochOutputs"]

_FILM_PHOTOGRAPHS = 6
_ZOOM_FILE_ORDER = {"warm_up": 1, "grouping": 1, "alternation": 2}


class EpochOutputs:
    """Writes the zooms of a fixed sample, log.csv and TensorBoard's log after every epoch."""

    def __init__(self, context: TrainingContext, progress: Progress, *, tensorboard: bool) -> None:
        self.context = context
        self.progress = progress
        self.board: TensorBoardLogger | None = None
        if tensorboard:
            self.board = TensorBoardLogger(context.out, name="tensorboard", version="")

        # A sample spread over the validation part, or over the training part without one.
        part = context.validation_part if context.holds_out else context.train_part
        step = max(1, len(part) // _FILM_PHOTOGRAPHS)
        rows = part.rows[::step][:_FILM_PHOTOGRAPHS]
        self.sample = replace(context.train_part, rows=rows)

    def after_epoch(self, plan: StagePlan, epoch: int) -> None:
        """Draw and write."""
        context = self.context
        if plan.name in _ZOOM_FILE_ORDER:
            order = _ZOOM_FILE_ORDER[plan.name]
            path = context.out / "zooms" / f"{order}-{plan.name}-{epoch + 1:03d}.png"
            title = f"{plan.name} {epoch + 1} ({plan.phases[epoch].name})"
            draw_zooms(context.fabric, context.network, self.sample, path, title)

        write_log(context.out / "log.csv", self.progress.log)

        # The log has all epochs; TensorBoard gets the rows of this one.
        if self.board is not None:
            for row in self.progress.log:
                if row.key.startswith(plan.name) and row.epoch == epoch + 1:
                    self.board.log_metrics({row.key: row.value}, step=epoch + 1)
