"""What a training goes on from after a stop: whole, checksummed, and the one before it as well.

A state is `state-NNNNNN-<sha256, first 16>.pt` in the run's `states/`. A file whose content does not have the
hash in its name is named, set aside as `….damaged`, and the one before it used; nothing but tensors and plain values
is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from leafzoom.errors import TrainingError
from leafzoom.storage import make_folder, write_bytes

__all__ = ["Cursor", "State", "load_state", "save_state"]

_NAME = re.compile(r"state-(\d{6})-([0-9a-f]{16})\.pt")
_KEEP = 2


@dataclass(frozen=True)
class Cursor:
    """Where a training is: the next batch of an epoch of a stage, and the sums of what this epoch has logged."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """All that a training needs to go on.

    `tensors`: {module: state dict}. `optimizations`: {name: state}. `best`: the best epoch of the stage so far
    (loss, epoch, state dict) or empty. `history`: rows of the log. `seconds`: spent in each stage.
    `memory`: {stage: {"process_mb", "device_mb"}}, the most that it took.
    """

    cursor: Cursor
    tensors: dict[str, Any]
    optimizations: dict[str, Any]
    best: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: dict[str, float]
    memory: dict[str, dict[str, float | None]] = field(default_factory=dict)


def save_state(folder: Path, state: State) -> None:
    """Write a state and remove all but the last two.

    Raises:
        LeafzoomError: the file cannot be written; those before it stay.
    """
    make_folder(folder)
    buffer = io.BytesIO()
    torch.save({**vars(state), "cursor": vars(state.cursor)}, buffer)
    content = buffer.getvalue()
    earlier = _files(folder)
    number = 1 + (int(_NAME.fullmatch(earlier[-1].name)[1]) if earlier else 0)  # type: ignore[index]
    digest = hashlib.sha256(content).hexdigest()[:16]
    write_bytes(folder / f"state-{number:06d}-{digest}.pt", content)
    for path in earlier[: len(earlier) + 1 - _KEEP]:
        path.unlink(missing_ok=True)


def load_state(folder: Path, say: Callable[[str], None] = lambda line: None) -> State | None:
    """The last whole state, or None where no training has saved one.

    Args:
        folder: of the states.
        say: told of each one that is damaged.

    Raises:
        TrainingError: there are states, but all are damaged; the last one is of another leafzoom; the disk fails.
    """
    damaged: list[Path] = []
    for path in reversed(_files(folder)):
        content = _content(path)
        if content is not None:
            for other in damaged:
                aside = other.with_suffix(".damaged")  # so that it does not count as one of those that are kept
                other.replace(aside)
                say(f"{other} is damaged: going on from the state before it (it is kept as {aside.name})")
            return _state(content, path)
        damaged.append(path)
    if damaged:
        raise TrainingError(f"every state in {folder} is damaged: start anew in another folder")
    return None


def _content(path: Path) -> bytes | None:
    """A state's bytes, or None where they are not those that its name tells."""
    try:
        content = path.read_bytes()
    except OSError as error:  # of a disk that may answer again: nothing is set aside for it
        raise TrainingError(f"{path} cannot be read ({error}): see to the disk, then --resume") from error
    return content if hashlib.sha256(content).hexdigest()[:16] in path.name else None


def _state(content: bytes, path: Path) -> State:
    """The state in some bytes that are whole."""
    try:
        stored = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return State(**{**stored, "cursor": Cursor(**stored["cursor"])})
    except (TypeError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:200]
        raise TrainingError(
            f"{path} was written by another leafzoom or PyTorch ({reason}): go on with that one, or start anew in "
            "another folder"
        ) from error


def _files(folder: Path) -> list[Path]:
    """States by number, oldest first."""
    return sorted(path for path in folder.glob("state-*.pt") if _NAME.fullmatch(path.name))
