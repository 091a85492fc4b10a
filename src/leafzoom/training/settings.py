"""How a training runs on its machines, and the files that it reads beside the photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from leafzoom.training.loggers import LoggerOpener
from leafzoom.training.teachers import SourceCaches

__all__ = ["DEFAULT_SETTINGS", "Settings"]


@dataclass(frozen=True)
class Settings:
    """How a training runs, and the files that it reads: not part of the recipe.

    `devices`: on each machine: GPUs, or processes on the CPU. `nodes`: machines. All processes
    share each batch.
    """

    accelerator: str = "auto"
    precision: str = "32-true"
    devices: int = 1
    nodes: int = 1
    tensorboard: bool = False  # as "tensorboard" in loggers
    loggers: tuple[str, ...] = ()  # see `logger_names`; log.csv is always written
    more_loggers: tuple[LoggerOpener, ...] = ()  # opened beside those
    negatives: Path | None = None  # a folder or ZIP archive of pictures without the leaves
    teachers: tuple[str, ...] = ()  # networks of alternation.soft_labels, as --teacher names them
    source_sizes: SourceCaches | None = None  # the photographs at a teacher's source size


DEFAULT_SETTINGS = Settings()
"""One process on what there is, without loggers."""
