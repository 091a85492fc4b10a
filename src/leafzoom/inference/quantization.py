"""An exported model with its backbones in eight-bit integers: smaller and faster.

Static quantization by ONNX Runtime: weights in int8 with a scale a channel, activations in uint8
with the range that they have on some photographs. Two choices keep the accuracy:

- The clipping (ReLU6) after a convolution is folded into it. Its 256 levels then divide 0 to 6. A
  convolution's own range is ten times as wide, and hardly any level would be left for 0 to 6.
- A backbone's first convolution and the depthwise one behind it stay in float32. Their few channels
  carry the whole picture, and in float32 they are faster too.

Everything but the backbones (crops, boxes, heads, detectors) stays in float32.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from numpy.typing import NDArray

from leafzoom.inference.network import Network
from leafzoom.labels import decide
from leafzoom.model_file.onnx_writer import finish_variant, in_single_precision, save_model
from leafzoom.model_file.outputs import SOURCE_INPUT
from leafzoom.storage import replacing

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "CALIBRATION_PHOTOGRAPHS",
    "Layer",
    "Ranges",
    "activation_ranges",
    "backbone_layers",
    "first_layers",
    "in_int8",
    "same_answers",
    "write_int8",
]

CALIBRATION_PHOTOGRAPHS = 128
"""How many photographs tell the activations' ranges, unless a caller has fewer."""

_CALIBRATION_BATCH_SIZE = 2
_MAX_SAMPLE = 200_000  # values of a tensor that a quantile is taken of
_SCORING_BATCH_SIZE = 16
_QUANTIZED_OPS = ("Conv", "Clip", "Add")
_PICTURE_CHANNELS = 3

Ranges = dict[str, tuple[float, float]]
"""The lowest and the highest value of activations, by tensor."""


@dataclass(frozen=True)
class Layer:
    """A convolution of a backbone, with the clipping behind it.

    `name`: of the node. `weight`, `input`, `raw`, `output`: of tensors; `raw` is before the
    clipping, `output` after it. `clip`: the clipping's node, or None. `channels`: of input, within
    a group. `groups`: 1 unless the convolution is depthwise.
    """

    name: str
    weight: str
    input: str
    raw: str
    output: str
    clip: str | None
    channels: int
    groups: int

    @property
    def nodes(self) -> frozenset[str]:
        """The names of its nodes."""
        return frozenset((self.name,) if self.clip is None else (self.name, self.clip))


def write_int8(model: Path, out: Path, sources: NDArray[np.uint8]) -> None:
    """Write an exported model with its backbones in eight-bit integers.

    Args:
        model: an `.onnx` file that leafzoom exported.
        out: the file to write.
        sources: uint8 [N, S, S, 3], photographs like those of later use; some 100 are enough.
    """
    single = in_single_precision(onnx.load(model))
    ranges = activation_ranges(single, sources)
    quantized = in_int8(single, ranges, in_float=first_layers(single))

    finish_variant(quantized)
    with replacing(out) as temporary:
        save_model(quantized, temporary)


def activation_ranges(
    model: onnx.ModelProto,
    sources: NDArray[np.uint8],
    *,
    beyond: float = 0.0,
    threads: int = 0,
) -> Ranges:
    """The range of every activation of the backbones on some photographs.

    Args:
        model: in single precision.
        sources: uint8 [N, S, S, 3].
        beyond: the share of a tensor's values that may lie below its range, and as many above.
            With 0 the range is that of all values; otherwise the mean of the batches' ranges.
        threads: of ONNX Runtime; 0: its default.

    Returns:
        {tensor: (lowest, highest)}.
    """
    tensors = _activations(model)
    session = _session_of(model, tensors, threads)

    lowest: list[list[float]] = []
    highest: list[list[float]] = []
    for start in range(0, len(sources), _CALIBRATION_BATCH_SIZE):
        batch = np.ascontiguousarray(sources[start : start + _CALIBRATION_BATCH_SIZE])
        ends = [_ends(values, beyond) for values in session.run(tensors, {SOURCE_INPUT: batch})]
        lowest.append([low for low, _ in ends])
        highest.append([high for _, high in ends])

    # All of all batches, or what is usual for a batch.
    if beyond:
        lows = np.mean(lowest, axis=0)
        highs = np.mean(highest, axis=0)
    else:
        lows = np.min(lowest, axis=0)
        highs = np.max(highest, axis=0)
    return {
        tensor: (float(low), float(high))
        for tensor, low, high in zip(tensors, lows, highs, strict=True)
    }


def in_int8(
    model: onnx.ModelProto,
    ranges: Ranges,
    *,
    in_float: Collection[str] = (),
    fold_clips: bool = True,
) -> onnx.ModelProto:
    """A model with its backbones' convolutions and sums in eight-bit integers.

    Args:
        model: in single precision.
        ranges: of its activations.
        in_float: names of nodes that stay in float32.
        fold_clips: whether clipping is folded into the convolution before it.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import save_and_reload_model_with_shape_infer

    named = _with_named_nodes(model)
    layers = backbone_layers(named)
    names = {layer.name for layer in layers} | _residual_sums(named, layers)
    if fold_clips:
        names |= {layer.clip for layer in layers if layer.clip is not None}

    intervals = {
        tensor: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for tensor, (low, high) in ranges.items()
    }
    with _quiet():
        quantizer = QDQQuantizer(
            save_and_reload_model_with_shape_infer(named),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, intervals),
            nodes_to_quantize=sorted(names - set(in_float)),
            nodes_to_exclude=[],
            op_types_to_quantize=list(_QUANTIZED_OPS),
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


def backbone_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """The convolutions of all backbones, in the order of computation."""
    graph = _with_named_nodes(model).graph
    shapes = {initializer.name: tuple(initializer.dims) for initializer in graph.initializer}
    clip_of = {node.input[0]: node for node in graph.node if node.op_type == "Clip"}

    layers = []
    for node in graph.node:
        if node.op_type != "Conv" or node.input[1] not in shapes:
            continue

        clip = clip_of.get(node.output[0])
        groups = [attribute.i for attribute in node.attribute if attribute.name == "group"]
        layer = Layer(
            name=node.name,
            weight=node.input[1],
            input=node.input[0],
            raw=node.output[0],
            output=node.output[0] if clip is None else clip.output[0],
            clip=None if clip is None else clip.name,
            channels=shapes[node.input[1]][1],
            groups=groups[0] if groups else 1,
        )
        layers.append(layer)
    return tuple(layers)


def first_layers(model: onnx.ModelProto) -> frozenset[str]:
    """The nodes of each backbone's first convolution, and of a depthwise one right behind it."""
    layers = backbone_layers(model)
    stems = [layer for layer in layers if layer.groups == 1 and layer.channels == _PICTURE_CHANNELS]
    stem_outputs = {layer.output for layer in stems}
    behind = [layer for layer in layers if layer.groups > 1 and layer.input in stem_outputs]
    return frozenset(name for layer in (*stems, *behind) for name in layer.nodes)


def same_answers(first: Network, second: Network, sources: NDArray[np.uint8]) -> float:
    """The share of sources uint8 [N, S, S, 3] to which two networks give the same labels."""
    manifest = first.manifest
    decision = manifest.decisions[manifest.head]

    same: list[bool] = []
    for start in range(0, len(sources), _SCORING_BATCH_SIZE):
        batch = np.ascontiguousarray(sources[start : start + _SCORING_BATCH_SIZE])
        first_answers, second_answers = (
            decide(network(batch).probabilities[manifest.head], decision, manifest.labels)
            for network in (first, second)
        )
        same.extend((first_answers == second_answers).all(axis=1))
    return float(np.mean(same))


def _activations(model: onnx.ModelProto) -> list[str]:
    """The names of all tensors that a quantized backbone has, each once."""
    layers = backbone_layers(model)
    tensors = [tensor for layer in layers for tensor in (layer.input, layer.raw, layer.output)]
    sums = _residual_sums(model, layers)
    tensors += [node.output[0] for node in model.graph.node if node.name in sums]
    return list(dict.fromkeys(tensors))


def _session_of(
    model: onnx.ModelProto, tensors: Collection[str], threads: int
) -> onnxruntime.InferenceSession:
    """A session whose outputs are some tensors of a model's graph."""
    import onnxruntime

    inside = onnx.ModelProto()
    inside.CopyFrom(model)
    inside.graph.ClearField("output")
    for tensor in tensors:
        inside.graph.output.append(onnx.ValueInfoProto(name=tensor))

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        inside.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _ends(values: NDArray[np.float32], beyond: float) -> tuple[float, float]:
    """Between which numbers a tensor's values lie, but for a share at each end."""
    if not beyond:
        return float(values.min()), float(values.max())

    sample = values.ravel()[:: max(1, values.size // _MAX_SAMPLE)]
    low, high = np.quantile(sample, (beyond, 1 - beyond))
    return float(low), float(high)


def _residual_sums(model: onnx.ModelProto, layers: Collection[Layer]) -> set[str]:
    """The names of the sums of a convolution's output and of what its block began with."""
    tensors = {layer.output for layer in layers}
    names = set()
    for node in model.graph.node:
        if node.op_type == "Add" and tensors.issuperset(node.input):
            names.add(node.name)
            tensors.add(node.output[0])
    return names


def _with_named_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, every node of which has a name now."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{index}"
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's advice on how to quantize, which is followed here, off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
