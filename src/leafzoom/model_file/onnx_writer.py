"""What an exported graph becomes a model file by: metadata, half precision, checksum.

Weights that half precision holds exactly are stored in it. The metadata says which initializer is
which tensor of the checkpoint, so that a training can start from the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from leafzoom.model_file.checkpoint import TENSORS_KEY, Checkpoint
from leafzoom.model_file.checksum import CHECKSUM_KEY, seal
from leafzoom.model_file.manifest import METADATA_KEY, Manifest
from leafzoom.model_file.outputs import BACKBONE_HEAD
from leafzoom.storage import replacing

__all__ = ["finish_model", "finish_variant", "in_single_precision", "save_model", "write_manifest"]

_MIN_HALF_SIZE = 256  # numbers in a weight; a smaller one is not worth the Cast node

TensorSource: TypeAlias = str | list[int]
"""Where a tensor's values are: in the initializer of this name, or nowhere: zeros of this shape."""


def finish_model(model: onnx.ModelProto, checkpoint: Checkpoint) -> None:
    """Make an exported graph a model of leafzoom: metadata, and weights in half precision.

    Args:
        model: as the exporter returns it; changed in place.
        checkpoint: of the network that was exported.
    """
    _add_metadata(model, METADATA_KEY, checkpoint.manifest.to_json())

    # Training can start from an export that holds every weight unchanged.
    sources = _tensor_sources(model, checkpoint)
    half_names = _store_half_precision(model)
    if sources is not None:
        renamed = {
            name: half_names.get(source, source) if isinstance(source, str) else source
            for name, source in sources.items()
        }
        _add_metadata(model, TENSORS_KEY, json.dumps(renamed))

    onnx.checker.check_model(model)


def finish_variant(model: onnx.ModelProto) -> None:
    """Make a changed copy of a model's graph a model of leafzoom; in place.

    The manifest stays. No training can start from the file, since its weights are others now.
    """
    _drop_metadata(model, TENSORS_KEY, CHECKSUM_KEY)
    _store_half_precision(model)
    onnx.checker.check_model(model)


def in_single_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself, with its half-precision weights widened and no checksum."""
    initializers = {initializer.name: initializer for initializer in model.graph.initializer}

    nodes = []
    for node in model.graph.node:
        weight = initializers.get(node.input[0]) if node.op_type == "Cast" else None
        if weight is None or weight.data_type != onnx.TensorProto.FLOAT16:
            nodes.append(node)
            continue

        # The weight takes the name of the cast's output.
        array = onnx.numpy_helper.to_array(weight).astype(np.float32)
        weight.CopyFrom(onnx.numpy_helper.from_array(array, node.output[0]))

    # Protobuf's lists are replaced in place.
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    _drop_metadata(model, CHECKSUM_KEY)
    return model


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model that has no checksum yet, and add one."""
    content = model.SerializeToString()
    path.write_bytes(content + seal(content))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest of an exported model; its weights keep every bit."""
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = manifest.to_json()

    # The old checksum goes: `save_model` adds a new one.
    _drop_metadata(model, CHECKSUM_KEY)
    with replacing(path) as temporary:
        save_model(model, temporary)


def _drop_metadata(model: onnx.ModelProto, *keys: str) -> None:
    entries = [entry for entry in model.metadata_props if entry.key not in keys]
    model.ClearField("metadata_props")
    model.metadata_props.extend(entries)


def _add_metadata(model: onnx.ModelProto, key: str, value: str) -> None:
    model.metadata_props.add(key=key, value=value)


def _tensor_sources(
    model: onnx.ModelProto, checkpoint: Checkpoint
) -> dict[str, TensorSource] | None:
    """Which initializer holds which of the checkpoint's tensors.

    Returns:
        By the tensors' names, without the plain backbone's; zeros, which the exporter leaves out,
        by their shape. None if the exporter has changed some weights.
    """
    # The exporter renames tensors, so they are found by their content.
    names_by_content = {}
    for initializer in model.graph.initializer:
        array = onnx.numpy_helper.to_array(initializer)
        names_by_content[_array_key(array)] = initializer.name

    sources: dict[str, TensorSource] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith(f"{BACKBONE_HEAD}."):
            continue

        array = tensor.contiguous().numpy()
        initializer_name = names_by_content.get(_array_key(array))
        if initializer_name is not None:
            sources[name] = initializer_name
        elif array.any():
            return None
        else:
            sources[name] = list(array.shape)
    return sources


def _array_key(array: NDArray[np.generic]) -> tuple[tuple[int, ...], str, bytes]:
    """Shape, type and values of an array, as a key."""
    return array.shape, array.dtype.str, array.tobytes()


def _store_half_precision(model: onnx.ModelProto) -> Mapping[str, str]:
    """Store weights that half precision holds exactly in it, cast when the model is loaded.

    Returns:
        {initializer: the name of the one in half precision that replaces it}.
    """
    half_names = {}
    casts = []
    for initializer in model.graph.initializer:
        half = _exact_half(initializer)
        if half is None:
            continue

        # The cast's output has the old name, so the other nodes stay as they are.
        name = initializer.name
        half_names[name] = f"{name}.half"
        initializer.CopyFrom(onnx.numpy_helper.from_array(half, half_names[name]))
        cast = onnx.helper.make_node("Cast", [half_names[name]], [name], to=onnx.TensorProto.FLOAT)
        casts.append(cast)

    # The exporter notes at each node where in the source it came from; the file is without.
    nodes = [*casts, *model.graph.node]
    for node in nodes:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")

    # The casts come first: ONNX wants nodes in the order of computation.
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    return half_names


def _exact_half(initializer: onnx.TensorProto) -> NDArray[np.float16] | None:
    """A large float32 weight in half precision; None if it is another kind or would change."""
    if initializer.data_type != onnx.TensorProto.FLOAT:
        return None

    array = onnx.numpy_helper.to_array(initializer)
    if array.size < _MIN_HALF_SIZE:
        return None

    # A value beyond half precision's range becomes infinite, and so counts as changed.
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), array) else None
