"""The deployable model: one `.onnx` file that does normalisation, all scales, crops and fusion.

Input `source` uint8 [N, S, S, 3], any S of `possible_source_sizes`. Outputs:

- `probabilities_HEAD` [N, L]
- `box_scaleK` [N, 4]: x0, y0, x1, y1 in source pixels
- `strangeness` and `strangeness_scale1` [N]: out-of-distribution scores, where there are detectors
- `evidence_scaleK` [N, L, h, w] and `evidence_bias` [N, L]: they sum to the last fusion's logits
- `evidence_first_look` [N, L, h, w] and `evidence_first_look_bias` [N, L]: they sum to scale 1's

Evidence is there where the heads are linear in the mean of the last map. See
`model_file.onnx_writer` for the rest of the file.

The exporter compares the file with the checkpoint and refuses one that differs. Two float32
programs differ by rounding, and a zoom enlarges that: in a network whose probabilities change
steeply with the box's position (a barely trained one), a box's error of 1e-4 px becomes a
probability's of 1e-4. Where the two differ by more than 1e-4, the checkpoint is therefore computed
in float64 as well, on the photographs that differ most, and ten times its own float32 rounding
error there is allowed.

A part's box of an MA-CNN jumps where its attention has two cells of the same height: rounding then
chooses. On one photograph in a hundred, or one of fewer, this is no difference of the model.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from leafzoom.errors import ModelError
from leafzoom.inference.network import Network, NetworkArrays, OnnxNetwork
from leafzoom.inference.torch_network import DeployedNetwork, TorchNetwork
from leafzoom.model_file.checkpoint import Checkpoint
from leafzoom.model_file.manifest import possible_source_sizes
from leafzoom.model_file.onnx_writer import finish_model, save_model
from leafzoom.model_file.outputs import SOURCE_INPUT
from leafzoom.storage import replacing

__all__ = ["Parity", "export_onnx", "parity"]

_OPSET = 18
_EXAMPLE_BATCH_SIZE = 2
_MAX_BATCH_SIZE = 4096

_PARITY_BATCH_SIZE = 16
_PROBABILITY_TOLERANCE = 1e-4
_BOX_TOLERANCE_PX = 1.0
_OOD_SCORE_TOLERANCE = 0.02
_ROUNDING_FACTOR = 10.0
_PHOTOGRAPHS_PER_JUMP = 100


@dataclass(frozen=True)
class Parity:
    """The greatest differences between two networks over some photographs.

    `probability`: of any head and label. `box_px`: of a box's edge, in source pixels. `ood_score`:
    of the out-of-distribution scores. `photographs`: how many were compared. `worst`: the indices
    of the photographs whose probabilities differ most, at most 16, the worst first. `jumps`: on
    how many photographs a box differs by more than a pixel.

    Raises:
        ModelError: a difference that is not a number.
    """

    probability: float
    box_px: float
    ood_score: float
    photographs: int
    worst: tuple[int, ...]
    jumps: int = 0

    def __post_init__(self) -> None:
        differences = (self.probability, self.box_px, self.ood_score)
        if not all(math.isfinite(difference) for difference in differences):
            raise ModelError(
                "the networks cannot be compared: an output is not a finite number on one of "
                f"{self.photographs} photographs; check the weights"
            )


def export_onnx(checkpoint: Checkpoint, path: Path, sources: NDArray[np.uint8]) -> Parity:
    """Write a checkpoint's network as ONNX, after comparing both on some sources.

    Args:
        checkpoint: of a finished training.
        path: of the `.onnx` file.
        sources: uint8 [N, S, S, 3], on which the two are compared.

    Raises:
        ModelError: probabilities differ by more than rounding explains (see above), boxes by more
            than a pixel, or out-of-distribution scores by more than 0.02; nothing is written.
    """
    network = TorchNetwork(checkpoint)
    model = _exported_graph(network, sources)
    finish_model(model, checkpoint)

    # The file gets its name only once the comparison has passed.
    with replacing(path) as temporary:
        save_model(model, temporary)
        result = parity(network, OnnxNetwork(temporary), sources)

        # Some networks amplify float32's rounding, on the worst photographs above the tolerance.
        allowed = _PROBABILITY_TOLERANCE
        if result.probability > allowed:
            rounding = _float32_rounding(checkpoint, network, sources[list(result.worst)])
            allowed = max(allowed, _ROUNDING_FACTOR * rounding)
        allowed_jumps = 0
        if checkpoint.manifest.framework == "ma-cnn":
            allowed_jumps = max(1, len(sources) // _PHOTOGRAPHS_PER_JUMP)
        _check_parity(result, allowed, allowed_jumps, path)

    return result


def parity(first: Network, second: Network, sources: NDArray[np.uint8]) -> Parity:
    """The greatest differences between two networks over sources uint8 [N, S, S, 3].

    Where the first network can stop after its first look, the first looks are compared too.

    Raises:
        ModelError: the second network has no first look, or an output is not a number.
    """
    parts = []
    for start in range(0, len(sources), _PARITY_BATCH_SIZE):
        batch = np.ascontiguousarray(sources[start : start + _PARITY_BATCH_SIZE])
        differences = _differences(first(batch), second(batch))
        if first.manifest.early_exit is not None:
            differences = differences.maximum(_first_look_differences(first, second, batch))
        parts.append(differences)

    # The worst photographs are named, so that rounding can be measured on them.
    probability = np.concatenate([part.probability for part in parts])
    box_px = np.concatenate([part.box_px for part in parts])
    ood_score = np.concatenate([part.ood_score for part in parts])
    worst = np.argsort(-probability)[:_PARITY_BATCH_SIZE]
    return Parity(
        probability=float(probability.max()),
        box_px=float(box_px.max()),
        ood_score=float(ood_score.max()),
        photographs=len(sources),
        worst=tuple(int(index) for index in worst),
        jumps=int((box_px > _BOX_TOLERANCE_PX).sum()),
    )


# The export.


def _exported_graph(network: TorchNetwork, sources: NDArray[np.uint8]) -> onnx.ModelProto:
    """A network's graph as PyTorch exports it, for any number and side of sources [N, S, S, 3]."""
    # One graph for any number of sources of any side that the network takes.
    manifest = network.manifest
    deployed = DeployedNetwork(network.network).to(memory_format=torch.contiguous_format)
    example = np.resize(sources, (_EXAMPLE_BATCH_SIZE, *sources.shape[1:]))
    sides = possible_source_sizes(manifest.source_size, manifest.input_size)
    batch_size = torch.export.Dim("photographs", min=1, max=_MAX_BATCH_SIZE)
    dynamic_axes = {0: batch_size}
    if len(sides) > 1:
        side = torch.export.Dim("side", min=sides[0], max=sides[-1])
        dynamic_axes |= {1: side, 2: side}
    with _quiet():
        program = torch.onnx.export(
            deployed,
            (torch.from_numpy(example),),
            input_names=[SOURCE_INPUT],
            output_names=deployed.output_names(),
            dynamic_shapes={"source": dynamic_axes},
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            optimize=True,
        )

    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, which is for its developers, off the user's terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


# The comparison.


@dataclass(frozen=True)
class _Differences:
    """The greatest differences of each of N photographs, float64 [N]; see `Parity`."""

    probability: NDArray[np.float64]
    box_px: NDArray[np.float64]
    ood_score: NDArray[np.float64]

    def maximum(self, other: _Differences) -> _Differences:
        """The greater of two differences, photograph by photograph."""
        return _Differences(
            np.maximum(self.probability, other.probability),
            np.maximum(self.box_px, other.box_px),
            np.maximum(self.ood_score, other.ood_score),
        )


def _differences(first: NetworkArrays, second: NetworkArrays) -> _Differences:
    """The differences between two networks' outputs; heads that only one has are left out."""
    count = len(first.boxes[0])

    # Each photograph's worst label, over all heads.
    probability = np.zeros(count)
    for head in first.probabilities.keys() & second.probabilities.keys():
        difference = np.abs(first.probabilities[head] - second.probabilities[head])
        probability = np.maximum(probability, difference.max(axis=1))

    # Its worst edge of any box, in pixels of the source.
    box_px = np.zeros(count)
    for first_boxes, second_boxes in zip(first.boxes, second.boxes, strict=True):
        box_px = np.maximum(box_px, np.abs(first_boxes - second_boxes).max(axis=1))

    ood_score = np.zeros(count)
    if first.ood_score is not None and second.ood_score is not None:
        ood_score = np.maximum(ood_score, np.abs(first.ood_score - second.ood_score))

    return _Differences(probability, box_px, ood_score)


def _first_look_differences(
    first: Network, second: Network, batch: NDArray[np.uint8]
) -> _Differences:
    """The differences between two networks' first looks at a batch."""
    first_arrays = first.first_look(batch)
    second_arrays = second.first_look(batch)
    if first_arrays is None or second_arrays is None:
        raise ModelError(
            f"{first.manifest.name} and {second.manifest.name} cannot be compared: its manifest "
            "has an early exit, but not both networks have a first look of their own; export the "
            "model again"
        )
    return _differences(first_arrays, second_arrays)


def _float32_rounding(
    checkpoint: Checkpoint, network: TorchNetwork, sources: NDArray[np.uint8]
) -> float:
    """How much a checkpoint's probabilities differ from those computed in float64."""
    reference = TorchNetwork(checkpoint, dtype=torch.float64)
    return parity(reference, network, sources).probability


def _check_parity(
    result: Parity, allowed_probability: float, allowed_jumps: int, path: Path
) -> None:
    """Refuse a model that differs from its checkpoint."""
    if (
        result.probability <= allowed_probability
        and result.jumps <= allowed_jumps
        and result.ood_score <= _OOD_SCORE_TOLERANCE
    ):
        return

    raise ModelError(
        f"the exported model differs from the checkpoint by {result.probability:.1e} in "
        f"probability, {result.box_px:.2f} px in boxes and {result.ood_score:.1e} in "
        f"out-of-distribution scores (allowed: {allowed_probability:.1e}, "
        f"{_BOX_TOLERANCE_PX:.0f} and {_OOD_SCORE_TOLERANCE}): {path} was not written; report this"
    )
