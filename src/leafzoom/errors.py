"""The errors that leafzoom raises on purpose, and the exit code of each.

    LeafzoomError                 exit 1: a file, or a failure while running
    ├── UsageError                exit 2: the command line
    │   └── RecipeError           exit 2: a recipe's name, key or value
    ├── DataError                 a table, a photograph, a cache or a split
    │   └── PhotoError            one photograph that cannot be read
    ├── ModelError                a checkpoint, weights or an exported model
    ├── DeviceError               a device to compute on that is not there
    ├── TrainingError             a training that cannot start or go on
    │   └── DivergedError         a loss or a weight that is not finite
    └── MissingExtraError         a library of an extra that is not installed

Every message says in one line what was expected, what came, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "DataError",
    "DeviceError",
    "DivergedError",
    "LeafzoomError",
    "MissingExtraError",
    "ModelError",
    "PhotoError",
    "RecipeError",
    "TrainingError",
    "UsageError",
    "needs_extra",
]


class LeafzoomError(Exception):
    """Base of all errors of leafzoom; `exit_code` is the command's exit status."""

    exit_code = 1


class UsageError(LeafzoomError):
    """The command line names something that does not exist, or its parts contradict each other."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe has an unknown name, an unknown key or an impossible value."""


class DataError(LeafzoomError):
    """A table, a folder of photographs, a cache or a split is missing, damaged or invalid."""


class PhotoError(DataError):
    """One photograph cannot be read."""


class ModelError(LeafzoomError):
    """A checkpoint, a file of weights or an exported model is missing, damaged or invalid."""


class DeviceError(LeafzoomError):
    """A device to compute on is not there, or does not start."""


class TrainingError(LeafzoomError):
    """A training cannot start or go on."""


class DivergedError(TrainingError):
    """A loss or a weight of a training is no longer finite."""


class MissingExtraError(LeafzoomError):
    """A library that belongs to one of leafzoom's extras is not installed."""


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Turn an import error inside the block into one line that names the extra to install.

    Args:
        extra: the extra of the package that has the library.
        what: needs the library; the first words of the message.

    Raises:
        MissingExtraError: a module imported in the block is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        # A missing module of leafzoom itself is a bug, not a missing library.
        if (error.name or "").split(".")[0] == "leafzoom":
            raise

        raise MissingExtraError(
            f"{what} needs the library {error.name!r}, which is not installed: "
            f'pip install "leafzoom[{extra}]"'
        ) from error
