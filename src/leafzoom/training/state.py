"""The state that a stopped training goes on from: whole, checksummed, and the one before it too.

A state is `state-NNNNNN-<SHA-256, first 16 digits>.pt` in the run's `states/`. A file whose content
does not have the hash in its name is reported, set aside as `….damaged`, and the one before it is
used. Nothing but tensors and plain values is ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leafzoom.errors import TrainingError
from leafzoom.storage import make_folder, write_bytes

__all__ = [
    "BestEpoch",
    "Cursor",
    "LogRow",
    "PeakMemory",
    "State",
    "load_state",
    "save_state",
]

_NAME = re.compile(r"state-(\d{6})-([0-9a-f]{16})\.pt")
_KEPT_STATES = 2


@dataclass(frozen=True)
class Cursor:
    """The next batch of an epoch of a stage, and the sums of what this epoch has logged so far."""

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch of a stage so far: its validation loss, its number and its state dict."""

    loss: float
    epoch: int
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class LogRow:
    """One row of log.csv: the epoch (from 1), `stage/phase/metric`, and the value."""

    epoch: int
    key: str
    value: float


@dataclass(frozen=True)
class PeakMemory:
    """The most memory that a stage took, in MB of 10⁶ bytes; None where it is not known."""

    process_mb: float | None = None
    device_mb: float | None = None

    def maximum(self, other: PeakMemory) -> PeakMemory:
        """The greater of both, each by itself."""
        return PeakMemory(
            _maximum(self.process_mb, other.process_mb), _maximum(self.device_mb, other.device_mb)
        )


@dataclass(frozen=True)
class State:
    """All that a training needs to go on.

    `tensors`: {module, or `average`: state dict}. `optimizations`: {name: state}. `best`: the best
    epoch of the stage. `log`: rows of log.csv. `seconds`: by stage. `memory`: the peak by stage.
    """

    cursor: Cursor
    tensors: dict[str, dict[str, Tensor]]
    optimizations: dict[str, dict[str, Any]]
    best: BestEpoch | None
    log: list[LogRow]
    seconds: dict[str, float]
    memory: dict[str, PeakMemory] = field(default_factory=dict)


def save_state(folder: Path, state: State) -> None:
    """Write a state and remove all but the last two.

    Raises:
        LeafzoomError: the file cannot be written; those before it stay.
    """
    make_folder(folder)
    buffer = io.BytesIO()
    torch.save(_to_plain(state), buffer)
    content = buffer.getvalue()

    # The hash in the name tells a whole file from a damaged one.
    earlier = _state_files(folder)
    number = _number(earlier[-1]) + 1 if earlier else 1
    digest = hashlib.sha256(content).hexdigest()[:16]
    write_bytes(folder / f"state-{number:06d}-{digest}.pt", content)

    # Older ones go only when the new one is on the disk.
    superseded = earlier[: len(earlier) + 1 - _KEPT_STATES]
    for path in superseded:
        path.unlink(missing_ok=True)


def load_state(folder: Path, echo: Callable[[str], None] = lambda line: None) -> State | None:
    """The last whole state, or None where no training has saved one.

    Args:
        folder: of the states.
        echo: prints a line about each one that is damaged.

    Raises:
        TrainingError: there are states, but all are damaged; the last one is of another leafzoom;
            the disk fails.
    """
    damaged: list[Path] = []
    for path in reversed(_state_files(folder)):
        content = _whole_content(path)
        if content is None:
            damaged.append(path)
            continue

        # Renamed, damaged states do not count among those that are kept.
        for other in damaged:
            aside = other.with_suffix(".damaged")
            other.replace(aside)
            echo(
                f"{other} is damaged: going on from the state before it (it is kept as "
                f"{aside.name})"
            )
        return _read_state(content, path)

    if damaged:
        raise TrainingError(
            f"every state in {folder} is damaged: start a new training in another folder"
        )
    return None


def _whole_content(path: Path) -> bytes | None:
    """A state's bytes, or None where they do not have the hash in the file's name."""
    try:
        content = path.read_bytes()
    except OSError as error:  # of a disk that may answer later: nothing is set aside for it
        raise TrainingError(
            f"{path} cannot be read ({error}): check the disk, then --resume"
        ) from error
    digest = hashlib.sha256(content).hexdigest()[:16]
    return content if digest in path.name else None


def _read_state(content: bytes, path: Path) -> State:
    """The state in bytes that are whole."""
    try:
        plain = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return _from_plain(plain)
    except (TypeError, KeyError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0][:200]
        raise TrainingError(
            f"{path} was written by another leafzoom or PyTorch ({reason}): go on with that one, "
            "or start a new training in another folder"
        ) from error


def _to_plain(state: State) -> dict[str, Any]:
    """A state as tensors and plain values."""
    tensors = {module: _on_cpu(own) for module, own in state.tensors.items()}
    best: dict[str, Any] = {}
    if state.best is not None:
        best = {
            "loss": state.best.loss,
            "epoch": state.best.epoch,
            "tensors": _shared_where_equal(state.best.tensors, tensors.values()),
        }
    return {
        "cursor": asdict(state.cursor),
        "tensors": tensors,
        "optimizations": state.optimizations,
        "best": best,
        "history": [asdict(row) for row in state.log],
        "seconds": state.seconds,
        "memory": {stage: asdict(peak) for stage, peak in state.memory.items()},
    }


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without gradients, on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def _shared_where_equal(
    tensors: Mapping[str, Tensor], modules: Iterable[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The same tensors, and where a module has an equal one of that name, the module's own.

    PyTorch writes a tensor once that is in a file twice. An APN of the paper's has 64 million
    weights, which classifier phases leave as they are.
    """
    shared = dict(tensors)
    for module in modules:
        for name, tensor in tensors.items():
            if name in module and torch.equal(module[name], tensor):
                shared[name] = module[name]
    return shared


def _from_plain(plain: dict[str, Any]) -> State:
    """The state that `_to_plain` took apart."""
    return State(
        cursor=Cursor(**plain["cursor"]),
        tensors=plain["tensors"],
        optimizations=plain["optimizations"],
        best=BestEpoch(**plain["best"]) if plain["best"] else None,
        log=[LogRow(**row) for row in plain["history"]],
        seconds=plain["seconds"],
        memory={stage: PeakMemory(**peak) for stage, peak in plain["memory"].items()},
    )


def _state_files(folder: Path) -> list[Path]:
    """States by number, oldest first."""
    return sorted(path for path in folder.glob("state-*.pt") if _NAME.fullmatch(path.name))


def _number(path: Path) -> int:
    """The number in a state's file name."""
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1])


def _maximum(first: float | None, second: float | None) -> float | None:
    """The greater of two values, of which either may be unknown."""
    known = [value for value in (first, second) if value is not None]
    return max(known, default=None)
