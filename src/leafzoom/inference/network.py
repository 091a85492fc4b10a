"""A trained network as a function from sources to every head, by ONNX Runtime, without PyTorch.

Convention: boxes are (x0, y0, x1, y1) in pixels of the source, x to the right, y down, the origin
at the outer corner of the first pixel, x1 and y1 exclusive.
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
from leafzoom.inference.devices import AUTO, open_session, session_device
from leafzoom.inference.graph_shapes import check_shapes, has_any_side
from leafzoom.model_file.manifest import Manifest, possible_source_sizes
from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.model_file.onnx_subgraph import linear_input, output_names, with_outputs
from leafzoom.model_file.outputs import (
    FIRST_EVIDENCE_BIAS_OUTPUT,
    FIRST_EVIDENCE_OUTPUT,
    FIRST_OOD_SCORE_OUTPUT,
    FRAMEWORK_TITLES,
    OOD_SCORE_OUTPUT,
    PROBABILITY_OUTPUT,
    SOURCE_INPUT,
    box_outputs,
    descriptor_outputs,
    evidence_outputs,
    fusion_head,
    probability_outputs,
    scale_head,
)

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["EvidenceArrays", "Network", "NetworkArrays", "OnnxNetwork", "check_evidence"]


@dataclass(frozen=True)
class EvidenceArrays:
    """What the logits of one head are the sum of, for N sources (see `model.evidence`).

    `maps`: of each scale, coarsest first, float32 [N, L, h, w]: the logits' shares from the places
    of its view, rows from the top, columns from the left. `bias`: float32 [N, L]. `closest_boxes`:
    of the closest look (see `model.closest_look`), float32 [N, 4]; None after a first look alone.

    Raises:
        ModelError: arrays of other shapes, or of different N or L.
    """

    maps: tuple[NDArray[np.float32], ...]
    bias: NDArray[np.float32]
    closest_boxes: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        shapes = {label_map.shape[:2] for label_map in self.maps if label_map.ndim == 4}
        if self.bias.ndim != 2 or shapes != {self.bias.shape}:
            found = ", ".join(str(label_map.shape) for label_map in self.maps)
            raise ModelError(
                f"evidence has to be [N, L, h, w] with a bias [N, L], not {found} with "
                f"{self.bias.shape}"
            )
        boxes = self.closest_boxes
        if boxes is not None and boxes.shape != (len(self.bias), 4):
            raise ModelError(f"boxes of the closest look have to be [N, 4], not {boxes.shape}")


@dataclass(frozen=True)
class NetworkArrays:
    """A network's outputs for N sources.

    `probabilities`: {head: float32 [N, L]}. `boxes`: a float32 [N, 4] for each scale, coarsest
    first. `ood_score`: the out-of-distribution score, float32 [N], above 1 for a picture unlike
    leaves; None from a model without a detector. `evidence`: where it was asked for, of the head
    that gives the answer.

    Raises:
        ModelError: arrays of other shapes, or of different N.
    """

    probabilities: dict[str, NDArray[np.float32]]
    boxes: tuple[NDArray[np.float32], ...]
    ood_score: NDArray[np.float32] | None = None
    evidence: EvidenceArrays | None = None

    def __post_init__(self) -> None:
        # Each array by itself.
        for head, probabilities in self.probabilities.items():
            if probabilities.ndim != 2:
                shape = probabilities.shape
                raise ModelError(f"probabilities of {head} have to be [N, L], not {shape}")

        for boxes in self.boxes:
            if boxes.ndim != 2 or boxes.shape[1] != 4:
                raise ModelError(f"boxes have to be [N, 4], not {boxes.shape}")

        score = self.ood_score
        if score is not None and score.ndim != 1:
            raise ModelError(f"out-of-distribution scores have to be [N], not {score.shape}")

        # All of them together: one row for each source.
        lengths = {len(array) for array in (*self.probabilities.values(), *self.boxes)}
        if score is not None:
            lengths.add(len(score))
        if self.evidence is not None:
            lengths.add(len(self.evidence.bias))
            if len(self.evidence.maps) != len(self.boxes):
                raise ModelError(
                    f"evidence has maps of {len(self.evidence.maps)} scales, and there are boxes "
                    f"of {len(self.boxes)}"
                )
        if len(lengths) > 1:
            counts = ", ".join(str(length) for length in sorted(lengths))
            raise ModelError(f"a network's outputs are for different numbers of sources: {counts}")

    @classmethod
    def of_first_look(
        cls,
        probabilities: NDArray[np.float32],
        ood_score: NDArray[np.float32],
        source_size: int,
        evidence: EvidenceArrays | None = None,
    ) -> NetworkArrays:
        """The outputs of scale 1 alone, whose box is the whole source.

        Args:
            probabilities: of scale 1, [N, L].
            ood_score: from scale 1 alone, [N].
            source_size: side of the source in pixels.
            evidence: of scale 1's own head.
        """
        whole_box = np.array([0, 0, source_size, source_size], np.float32)
        boxes = np.tile(whole_box, (len(probabilities), 1))
        return cls({scale_head(1): probabilities}, (boxes,), ood_score, evidence)


class Network(Protocol):
    """What evaluates and predicts: an exported model or a checkpoint."""

    manifest: Manifest
    source_sizes: range
    has_evidence: bool
    device_name: str  # where it computes: a word of `devices.DEVICES`

    def __call__(self, sources: NDArray[np.uint8], *, evidence: bool = False) -> NetworkArrays:
        """Predict all heads for uint8 sources [N, S, S, 3], with S one of `source_sizes`.

        Args:
            sources: the pictures.
            evidence: whether to add what speaks for each label, and where.

        Raises:
            ModelError: evidence of a network that has none.
        """

    def first_look(
        self, sources: NDArray[np.uint8], *, evidence: bool = False
    ) -> NetworkArrays | None:
        """Predict with scale 1 alone; arguments and errors as above.

        Returns:
            Its probabilities, its box (the whole source) and the first look's own
            out-of-distribution score. None from a model whose manifest has no `early_exit`.
        """

    def descriptors(self, sources: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The looks' descriptors side by side, means over mirror images, [N, looks * D].

        Args:
            sources: uint8 [N, S, S, 3].

        Raises:
            ModelError: sources of another shape or type; a model without linear classifiers.
        """


def check_evidence(network: Network) -> None:
    """Refuse evidence of a network that has none.

    Raises:
        ModelError: it has none.
    """
    if not network.has_evidence:
        manifest = network.manifest
        reason = (
            "its file is of an earlier leafzoom (export it again), or its backbone does more than "
            "pooling before the linear layer"
        )
        if manifest.framework != "ra-cnn":
            title = FRAMEWORK_TITLES[manifest.framework]
            reason = f"it is {title}, whose attention is no sum over places"
        raise ModelError(f"the model {manifest.name} has no evidence maps: {reason}")


class OnnxNetwork:
    """A network in an `.onnx` file that leafzoom exported.

    Args:
        path: of the file.
        threads: of ONNX Runtime within one call; by default as many as there are cores.
        device: where it computes, one of `devices.DEVICES`.

    Raises:
        ModelError: no such file, not ONNX, without leafzoom's metadata, of a newer format, or a
            graph that does not fit the metadata.
        DeviceError: the device is missing.
    """

    def __init__(self, path: Path, threads: int | None = None, device: str = AUTO) -> None:
        content, self.manifest = read_onnx(path)
        self.device_name = device
        self._path = path
        self._threads = threads or _core_count()
        try:
            available = output_names(content)
        except ValueError as error:
            raise self._damaged(error) from error

        # All heads and boxes, and the score where the model has one.
        self._check_heads()
        self._heads = self.manifest.network_heads
        self._outputs = probability_outputs(self._heads) + box_outputs(self.manifest.look_heads)
        missing = set(self._outputs) - available
        if missing:
            raise ModelError(f"{path} has no output {sorted(missing)[0]}: export the model again")
        if OOD_SCORE_OUTPUT in available:
            self._outputs.append(OOD_SCORE_OUTPUT)

        # What is computed only when it is asked for is left out of the usual session.
        self._evidence_outputs = evidence_outputs(self.manifest.scales)
        first_evidence = [FIRST_EVIDENCE_OUTPUT, FIRST_EVIDENCE_BIAS_OUTPUT]
        self.has_evidence = available.issuperset([*self._evidence_outputs, *first_evidence])
        usual = self._part(content, self._outputs) if self.has_evidence else content
        self._session = self._open_session(usual)
        self.device_name = session_device(self._session)  # the further sessions' too
        self.source_sizes = self._source_sizes()
        check_shapes(self._session, self.manifest, path)

        # The sessions of the first look and of the evidence are opened when they are first used.
        self._first_outputs = [*probability_outputs([scale_head(1)]), FIRST_OOD_SCORE_OUTPUT]
        has_first_outputs = available.issuperset(self._first_outputs)
        self._first_evidence_outputs = first_evidence if self.has_evidence else []
        self._has_first_look = self.manifest.early_exit is not None and has_first_outputs
        self._file_state = _file_state(path)
        self._parts: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}
        self._parts_lock = threading.Lock()
        self._descriptor_outputs: list[str] = []
        own_outputs = descriptor_outputs(self.manifest.look_heads)
        if available.issuperset(own_outputs):
            self._descriptor_outputs = own_outputs

    def __call__(self, sources: NDArray[np.uint8], *, evidence: bool = False) -> NetworkArrays:
        """Predict all heads for uint8 sources [N, S, S, 3]; see `Network`.

        Raises:
            ModelError: sources of another shape or type; evidence of a model that has none.
        """
        self._check_sources(sources)
        session = self._session
        outputs = self._outputs
        if evidence:
            check_evidence(self)
            outputs = [*outputs, *self._evidence_outputs]
            session = self._part_session(outputs)
        results = self._run(session, outputs, sources)

        # Results have the names asked for: heads, boxes, perhaps the score and the evidence.
        evidence_arrays = None
        if evidence:
            *maps, bias, closest = (results[name] for name in self._evidence_outputs)
            evidence_arrays = EvidenceArrays(tuple(maps), bias, closest)
        return NetworkArrays(
            probabilities={
                head: results[PROBABILITY_OUTPUT.format(head=head)] for head in self._heads
            },
            boxes=tuple(results[name] for name in box_outputs(self.manifest.look_heads)),
            ood_score=results.get(OOD_SCORE_OUTPUT),
            evidence=evidence_arrays,
        )

    def first_look(
        self, sources: NDArray[np.uint8], *, evidence: bool = False
    ) -> NetworkArrays | None:
        """See `Network`. The part of the graph that it needs is opened at the first call.

        Raises:
            ModelError: the file has changed since the network was opened; as `__call__`.
        """
        if not self._has_first_look:
            return None
        self._check_sources(sources)
        outputs = self._first_outputs
        if evidence:
            check_evidence(self)
            outputs = [*outputs, *self._first_evidence_outputs]
        results = self._run(self._part_session(outputs), outputs, sources)

        evidence_arrays = None
        if evidence:
            label_map, bias = (results[name] for name in self._first_evidence_outputs)
            evidence_arrays = EvidenceArrays((label_map,), bias)
        return NetworkArrays.of_first_look(
            results[self._first_outputs[0]],
            results[FIRST_OOD_SCORE_OUTPUT],
            sources.shape[1],
            evidence_arrays,
        )

    def descriptors(self, sources: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Network`. They are outputs of the graph, or values inside it that become outputs.

        Raises:
            ModelError: the file has changed since the network was opened; as `__call__`.
        """
        self._check_sources(sources)
        if not self._descriptor_outputs:
            self._descriptor_outputs = self._find_descriptors()
        outputs = self._descriptor_outputs
        results = self._run(self._part_session(outputs), outputs, sources)

        # Of N sources the graph has the descriptors, then those of their mirror images.
        means = []
        for name in outputs:
            width = results[name].shape[1]
            means.append(results[name].reshape(-1, len(sources), width).mean(axis=0))
        return np.concatenate(means, axis=1)

    def _find_descriptors(self) -> list[str]:
        """The names of what the looks' own classifiers read, coarsest look first."""
        content = self._unchanged_content()
        names = []
        for output in probability_outputs(self.manifest.look_heads):
            name = linear_input(content, output)
            if name is None:
                raise ModelError(
                    f"{self._path} has no linear layer before {output}, so it has no descriptors: "
                    "export the model again"
                )
            names.append(name)
        return names

    def _run(
        self,
        session: onnxruntime.InferenceSession,
        outputs: Sequence[str],
        sources: NDArray[np.uint8],
    ) -> dict[str, NDArray[np.float32]]:
        """Some outputs of a session, by their names."""
        results = session.run(list(outputs), {SOURCE_INPUT: sources})
        return dict(zip(outputs, results, strict=True))

    def _check_sources(self, sources: NDArray[np.uint8]) -> None:
        """Refuse sources of a shape or type that the graph does not take."""
        shape = sources.shape
        is_square = len(shape) == 4 and shape[1] == shape[2] and shape[3] == 3
        if sources.dtype == np.uint8 and is_square and shape[1] in self.source_sizes:
            return

        sizes = self.source_sizes
        sides = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        raise ModelError(
            f"sources have to be uint8 [N, S, S, 3] with S = {sides}, not {sources.dtype} {shape}"
        )

    def _part_session(self, outputs: Sequence[str]) -> onnxruntime.InferenceSession:
        """The session that computes some outputs and nothing else, opened once."""
        key = tuple(outputs)
        with self._parts_lock:
            if key not in self._parts:
                content = self._unchanged_content()
                self._parts[key] = self._open_session(self._part(content, key))
            return self._parts[key]

    def _unchanged_content(self) -> bytes:
        """The file's bytes, unless it has changed since it was opened."""
        content, _ = read_onnx(self._path)
        if _file_state(self._path) != self._file_state:
            raise ModelError(f"{self._path} has changed since it was opened: start again")
        return content

    def _part(self, content: bytes, outputs: Sequence[str]) -> bytes:
        """The part of the model that computes some outputs."""
        try:
            return with_outputs(content, outputs)
        except ValueError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: ValueError) -> ModelError:
        """The error of a file that is not in protobuf's format."""
        return ModelError(f"{self._path} is no ONNX model or is damaged ({error}): copy it again")

    def _open_session(self, content: bytes) -> onnxruntime.InferenceSession:
        """A session for a model's bytes, on this network's device."""
        return open_session(content, self._path, device=self.device_name, threads=self._threads)

    def _check_heads(self) -> None:
        """Check that every look and their fusion have a decision, and that the fusion answers."""
        manifest = self.manifest
        missing = set(manifest.look_heads) - set(manifest.decisions)
        if missing or manifest.head != fusion_head(manifest.scales):
            raise ModelError(
                f"{self._path} has no decision for every scale and their fusion: "
                "export the model again"
            )

    def _source_sizes(self) -> range:
        """The sides of sources that the graph takes."""
        manifest = self.manifest
        (entry, *_) = self._session.get_inputs()
        if has_any_side(entry.shape):
            return possible_source_sizes(manifest.source_size, manifest.input_size)
        return range(manifest.source_size, manifest.source_size + 1)


def _file_state(path: Path) -> tuple[int, int, int]:
    """A file's number, size and time, of which at least one changes when it is rewritten."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _core_count() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
