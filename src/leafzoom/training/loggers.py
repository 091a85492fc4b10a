"""Loggers of a training beside log.csv: TensorBoard, MLflow, Weights & Biases, and plug-ins.

Other distributions add loggers by the entry point group `leafzoom.loggers`. An entry point's name
is that of `train --logger`, and its object opens a `RunLogger`:

    [project.entry-points."leafzoom.loggers"]
    mine = "my_package:open_log"  # called with the run's folder and its name

The libraries are imported only when they are used.
"""

from __future__ import annotations

import importlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from leafzoom.errors import LeafzoomError, TrainingError, UsageError, needs_extra

__all__ = ["LoggerOpener", "RunLogger", "logger_names", "logger_openers"]

_GROUP = "leafzoom.loggers"

# MLflow would report its use to its makers, and wandb its errors.
_PRIVATE = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
_PROJECT = "leafzoom"


class RunLogger(Protocol):
    """Where a training is logged.

    A step is the number of the epoch in the whole training, from 1. A run that is resumed opens its
    loggers again.
    """

    def log_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Log every value of the recipe, by section."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log an epoch's metrics, by `stage/phase/metric`."""

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Log a PNG that shows where the network looks after an epoch."""

    def log_model(self, path: Path) -> None:
        """Log the file of the trained network."""

    def close(self) -> None:
        """Write what is left: the training has finished."""


LoggerOpener = Callable[[Path, str], RunLogger]
"""Opens the log of a run, from its folder and its name."""


def logger_names() -> tuple[str, ...]:
    """The names of all loggers: `csv` is log.csv, which every run has."""
    added = sorted(set(entry_points(group=_GROUP).names) - set(_OPENERS))
    return ("csv", *_OPENERS, *added)


def logger_openers(names: Sequence[str]) -> list[LoggerOpener]:
    """What opens the loggers of some names, each once.

    Raises:
        UsageError: there is no such logger.
        MissingExtraError: its library is not installed.
        LeafzoomError: the package that adds it is broken.
    """
    chosen = [name for name in dict.fromkeys(names) if name != "csv"]
    return [partial(_Guarded, name, _opener(name)) for name in chosen]


def _opener(name: str) -> LoggerOpener:
    """What opens a logger."""
    if name in _OPENERS:
        for variable, value in _PRIVATE.items():
            os.environ.setdefault(variable, value)
        with needs_extra("loggers", f"--logger {name}"):
            for library in _LIBRARIES[name]:
                importlib.import_module(library)
        return _OPENERS[name]

    found = list(entry_points(group=_GROUP, name=name))
    if not found:
        raise UsageError(f"no logger {name!r}: there are {', '.join(logger_names())}")
    return _load(found[0])


def _load(entry: EntryPoint) -> LoggerOpener:
    """The object of an entry point."""
    source = entry.value if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    try:
        opener: LoggerOpener = entry.load()
    except Exception as error:  # a module may fail in any way while it is imported
        raise LeafzoomError(
            f"the logger {entry.name!r} of {source} cannot be loaded "
            f"({type(error).__name__}: {error}): update the package, or choose another logger"
        ) from error
    if not callable(opener):
        raise LeafzoomError(f"the logger {entry.name!r} of {source} is no function: update it")
    return opener


class _Guarded:
    """A logger whose failures, of a server or a disk, are errors of one line."""

    def __init__(self, kind: str, opener: LoggerOpener, folder: Path, name: str) -> None:
        self.kind = kind
        with self._errors():
            self.logger = opener(folder, name)

    def log_recipe(self, recipe: Mapping[str, Any]) -> None:
        """See `RunLogger`, as for all others."""
        with self._errors():
            self.logger.log_recipe(recipe)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """An epoch."""
        with self._errors():
            self.logger.log_metrics(metrics, step)

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """A picture."""
        with self._errors():
            self.logger.log_picture(name, path, step)

    def log_model(self, path: Path) -> None:
        """The model."""
        with self._errors():
            self.logger.log_model(path)

    def close(self) -> None:
        """The end."""
        with self._errors():
            self.logger.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # loggers and servers fail in many ways
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(
                f"--logger {self.kind} has failed ({type(error).__name__}: {reason}): go on with "
                "--resume, or leave it out"
            ) from error


class _TensorBoardLog:
    """Lightning's TensorBoard log in RUN/tensorboard."""

    def __init__(self, folder: Path, name: str) -> None:
        from lightning.pytorch.loggers import TensorBoardLogger

        self.logger = TensorBoardLogger(folder, name="tensorboard", version="")

    def log_recipe(self, recipe: Mapping[str, Any]) -> None:
        """The recipe as text: TensorBoard's hyperparameters need a metric each."""
        import json

        text = json.dumps(recipe, indent=1, ensure_ascii=False)
        self.logger.experiment.add_text("recipe", f"```\n{text}\n```")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """As scalars."""
        self.logger.log_metrics(dict(metrics), step=step)

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """As an image."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        self.logger.experiment.add_image(name, pixels, step, dataformats="HWC")

    def log_model(self, path: Path) -> None:
        """The file's path: TensorBoard holds no files."""
        self.logger.experiment.add_text("model", str(path.resolve()))

    def close(self) -> None:
        """Flush."""
        self.logger.experiment.flush()
        self.logger.finalize("success")


class _MlflowLog:
    """Lightning's MLflow log: at MLFLOW_TRACKING_URI, else in RUN/mlflow.db and RUN/mlflow."""

    def __init__(self, folder: Path, name: str) -> None:
        from lightning.pytorch.loggers import MLFlowLogger

        folder = folder.resolve()
        stored_id = folder / "mlflow-run.txt"
        server = os.environ.get("MLFLOW_TRACKING_URI")
        self.logger = MLFlowLogger(
            experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT),
            run_name=name,
            tracking_uri=server or f"sqlite:///{folder / 'mlflow.db'}",
            artifact_location=None if server else (folder / "mlflow").as_uri(),
            run_id=stored_id.read_text() if stored_id.exists() else None,
        )
        self.run_id = str(self.logger.run_id)
        stored_id.write_text(self.run_id)

    def log_recipe(self, recipe: Mapping[str, Any]) -> None:
        """As parameters."""
        self.logger.log_hyperparams(dict(recipe))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """As metrics."""
        self.logger.log_metrics(metrics, step=step)

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """As an artifact; the file's name has the epoch."""
        self.logger.experiment.log_artifact(self.run_id, str(path), "zooms")

    def log_model(self, path: Path) -> None:
        """As an artifact."""
        self.logger.experiment.log_artifact(self.run_id, str(path), "model")

    def close(self) -> None:
        """Mark the run as finished."""
        self.logger.finalize("success")


class _WandbLog:
    """Lightning's Weights & Biases log in RUN/wandb: offline, unless WANDB_MODE is online."""

    def __init__(self, folder: Path, name: str) -> None:
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        stored_id = folder / "wandb-run.txt"
        run_id = stored_id.read_text() if stored_id.exists() else secrets.token_hex(4)
        stored_id.write_text(run_id)
        self.logger = WandbLogger(
            name=name,
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            save_dir=folder,
            id=run_id,
            offline=os.environ.get("WANDB_MODE", "offline") != "online",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log_recipe(self, recipe: Mapping[str, Any]) -> None:
        """As the run's configuration."""
        self.logger.experiment.config.update(dict(recipe), allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """As metrics."""
        self.logger.log_metrics(metrics, step=step)

    def log_picture(self, name: str, path: Path, step: int) -> None:
        """As an image."""
        self.logger.log_image(name, [str(path)], step=step)

    def log_model(self, path: Path) -> None:
        """As an artifact."""
        import wandb

        artifact = wandb.Artifact(self.logger.experiment.id, type="model")
        artifact.add_file(str(path))
        self.logger.experiment.log_artifact(artifact)

    def close(self) -> None:
        """Finish the run."""
        self.logger.experiment.finish()


_OPENERS: dict[str, LoggerOpener] = {
    "tensorboard": _TensorBoardLog,
    "mlflow": _MlflowLog,
    "wandb": _WandbLog,
}

_LIBRARIES = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("alembic", "mlflow", "sqlalchemy"),
    "wandb": ("wandb",),
}
"""What has to be installed for a logger."""
