"""The errors that leafzoom raises on purpose, and the exit code of each.

    LeafzoomError                 exit 1: anything found in files or while running
    ├── UsageError                exit 2: the command line
    │   └── RecipeError           exit 2: a recipe's name, key or value
    ├── DataError                 a table, a photograph, a cache or a split
    │   └── PhotoError            one photograph that cannot be read
    ├── ModelError                a checkpoint, weights or an exported model
    ├── TrainingError             a training that cannot go on (a loss that is not finite, a run that is taken)
    └── MissingExtraError         a library of an extra that is not installed

Every message says, in one line, what was expected, what came, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "DataError",
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
    """Base of everything that leafzoom raises on purpose; `exit_code` is the command's exit status."""

    exit_code = 1


class UsageError(LeafzoomError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe has an unknown name, an unknown key or an impossible value."""


class DataError(LeafzoomError):
    """A table, a folder of photographs, a cache or a split is not what it has to be."""


class PhotoError(DataError):
    """One photograph cannot be read."""


class ModelError(LeafzoomError):
    """A checkpoint, a file of weights or an exported model is not what it has to be."""


class TrainingError(LeafzoomError):
    """A training cannot go on."""


class MissingExtraError(LeafzoomError):
    """A library that belongs to one of leafzoom's extras is not installed."""


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Turn an import error inside the block into one line that names the extra to install.

    Raises:
        MissingExtraError: a module imported in the block is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "leafzoom":
            raise
        raise MissingExtraError(
            f'{what} needs the library {error.name!r}, which is not installed: pip install "leafzoom[{extra}]"'
        ) from error
