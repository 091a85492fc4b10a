"""A trained network as a function from sources to every head, by ONNX Runtime, without PyTorch.

Convention: boxes are (x0, y0, x1, y1) in pixels of the source, x to the right, y down, the origin at the outer
corner of the first pixel, x1 and y1 exclusive.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import ModelError
from leafzoom.manifest import Manifest
from leafzoom.onnx_file import read_onnx, with_outputs

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "BOX_OUTPUT",
    "FIRST_STRANGENESS_OUTPUT",
    "PROBABILITY_OUTPUT",
    "STRANGENESS_OUTPUT",
    "Network",
    "NetworkArrays",
    "OnnxNetwork",
]

PROBABILITY_OUTPUT = "probabilities_{head}"
BOX_OUTPUT = "box_scale{scale}"
STRANGENESS_OUTPUT = "strangeness"
FIRST_STRANGENESS_OUTPUT = "strangeness_scale1"


@dataclass(frozen=True)
class NetworkArrays:
    """What a network says of N sources.

    `probabilities`: {head: float32 [N, L]}. `boxes`: a float32 [N, 4] for each scale, coarsest first.
    `strangeness`: float32 [N], above 1 for a picture unlike leaves; None from a model that cannot tell.
    """

    probabilities: dict[str, NDArray[np.float32]]
    boxes: tuple[NDArray[np.float32], ...]
    strangeness: NDArray[np.float32] | None = None


class Network(Protocol):
    """What evaluates and predicts: an exported model or a checkpoint."""

    manifest: Manifest

    def __call__(self, sources: NDArray[np.uint8]) -> NetworkArrays:
        """All heads of uint8 sources [N, S, S, 3]."""

    def first_look(self, sources: NDArray[np.uint8]) -> NetworkArrays | None:
        """Scale 1 alone of uint8 sources [N, S, S, 3]: its probabilities, its box (the whole source) and the first
        look's strangeness. None from a model that was not made for it (`manifest.early_exit` is None).
        """


class OnnxNetwork:
    """A network in an `.onnx` file that leafzoom exported.

    Args:
        path: of the file.
        threads: of ONNX Runtime within one call; by default as many as there are cores.

    Raises:
        ModelError: no such file, not ONNX, without leafzoom's metadata, or of a newer format.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        content, self.manifest = read_onnx(path)
        self._path, self._threads = path, threads or _cores()
        self._session = self._opened(content)
        scales = range(1, self.manifest.scales + 1)
        lacking = {f"scale{scale}" for scale in scales} - set(self.manifest.decisions)
        if lacking or self.manifest.head != "fusion" + "".join(str(scale) for scale in scales):
            raise ModelError(f"{path} has no decision for every scale and their fusion: export the model again")
        self._heads = [head for head in self.manifest.decisions if head != "backbone"]
        self._outputs = [PROBABILITY_OUTPUT.format(head=head) for head in self._heads]
        self._outputs += [BOX_OUTPUT.format(scale=scale) for scale in scales]
        given = {output.name for output in self._session.get_outputs()}
        missing = set(self._outputs) - given
        if missing:
            raise ModelError(f"{path} has no output {sorted(missing)[0]}: export the model again")
        self._boxes = len(self._heads) + self.manifest.scales
        if STRANGENESS_OUTPUT in given:
            self._outputs.append(STRANGENESS_OUTPUT)
        self._check_shapes(path)
        self._first_outputs = [PROBABILITY_OUTPUT.format(head="scale1"), FIRST_STRANGENESS_OUTPUT]
        self._looks_first = self.manifest.early_exit is not None and given.issuperset(self._first_outputs)
        self._file = _file_state(path)
        self._first: onnxruntime.InferenceSession | None = None
        self._opening = threading.Lock()

    def _opened(self, content: bytes) -> onnxruntime.InferenceSession:
        """A session of a model's content."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 4
        try:
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has no one base of its errors
            reason = str(error).splitlines()[0][:200]
            raise ModelError(f"{self._path} is no ONNX model that can be read ({reason}): export it again") from error

    def first_look(self, sources: NDArray[np.uint8]) -> NetworkArrays | None:
        """See `Network`. The part of the graph that it takes is opened at the first call.

        Raises:
            ModelError: the file is another one by then.
        """
        if not self._looks_first:
            return None
        with self._opening:
            if self._first is None:
                content, _ = read_onnx(self._path)
                if _file_state(self._path) != self._file:
                    raise ModelError(f"{self._path} has changed since it was opened: start again")
                self._first = self._opened(with_outputs(content, self._first_outputs))
        probabilities, strangeness = self._first.run(self._first_outputs, {"source": sources})
        side = self.manifest.source_size
        whole = np.tile(np.array([0, 0, side, side], np.float32), (len(sources), 1))
        return NetworkArrays({"scale1": probabilities}, (whole,), strangeness)

    def _check_shapes(self, path: Path) -> None:
        """Whether the graph reads and gives what the metadata says."""
        inputs = [(entry.name, entry.type, entry.shape[1:]) for entry in self._session.get_inputs()]
        side, labels = self.manifest.source_size, len(self.manifest.labels.names)
        if inputs != [("source", "tensor(uint8)", [side, side, 3])]:
            raise ModelError(f"{path} does not read sources uint8 [N, {side}, {side}, 3]: export the model again")
        shapes = {entry.name: entry.shape[1:] for entry in self._session.get_outputs()}
        wanted = {name: [4] for name in shapes if name.startswith("box_")}
        wanted |= {STRANGENESS_OUTPUT: [], FIRST_STRANGENESS_OUTPUT: []}
        odd = [name for name, shape in wanted.items() if shapes.get(name, shape) != shape]
        if odd or isinstance(self._session.get_inputs()[0].shape[0], int):
            raise ModelError(
                f"{path}: {', '.join(odd) or 'its batch'} has another shape than exports have: export again"
            )
        for head in self._heads:
            if shapes[PROBABILITY_OUTPUT.format(head=head)] != [labels]:
                raise ModelError(
                    f"{path} names {labels} labels and head {head} gives another number: export it again"
                )

    def __call__(self, sources: NDArray[np.uint8]) -> NetworkArrays:
        """All heads of uint8 sources [N, S, S, 3]."""
        side = self.manifest.source_size
        if sources.dtype != np.uint8 or sources.shape[1:] != (side, side, 3):
            raise ModelError(f"sources have to be uint8 [N, {side}, {side}, 3], not {sources.dtype} {sources.shape}")
        results: Sequence[NDArray[np.float32]] = self._session.run(self._outputs, {"source": sources})
        count = len(self._heads)
        probabilities = dict(zip(self._heads, results[:count], strict=True))
        strangeness = results[self._boxes] if len(results) > self._boxes else None
        return NetworkArrays(probabilities, tuple(results[count : self._boxes]), strangeness)


def _file_state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written anew: its number, size and time."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
