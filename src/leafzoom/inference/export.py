"""The deployable model: one `.onnx` file that has normalisation, all scales, crops and fusion inside.

Input `source` uint8 [N, S, S, 3]; outputs `probabilities_HEAD` [N, L], `box_scaleK` [N, 4], x0, y0, x1, y1
in source pixels, and `strangeness` [N] and `strangeness_scale1` [N] where the network tells them; the manifest as
JSON in the metadata. Weights that half precision holds exactly are stored so, and the metadata says which initializer
is which tensor of the checkpoint, so that a training can start from the file.

The exporter compares the file with the checkpoint and refuses one that differs. Rounding alone makes two float32
programs differ, and a zoom enlarges it: a network that is steep in the box's place (a barely trained one) turns a
box's error of 1e-4 px into a probability's of 1e-4. So where the two differ by more than 1e-4, the checkpoint is
computed in float64 as well on the photographs that differ most, and ten times its own float32 rounding error there
is allowed.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from leafzoom.checksum import CHECKSUM_KEY, seal
from leafzoom.errors import ModelError
from leafzoom.inference.network import (
    BOX_OUTPUT,
    FIRST_STRANGENESS_OUTPUT,
    PROBABILITY_OUTPUT,
    STRANGENESS_OUTPUT,
    Network,
    OnnxNetwork,
)
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.manifest import METADATA_KEY, Manifest
from leafzoom.model.checkpoint import TENSORS_KEY, Checkpoint
from leafzoom.storage import replacing

__all__ = ["Parity", "export_onnx", "parity", "write_manifest"]

_OPSET = 18
_BATCH = 16
_PROBABILITY_TOLERANCE = 1e-4
_BOX_TOLERANCE = 1.0
_STRANGENESS_TOLERANCE = 0.02
_ROUNDING_FACTOR = 10.0
_HALF_FROM = 256  # numbers in a weight; smaller ones are not worth a node


@dataclass(frozen=True)
class Parity:
    """The greatest difference between two networks: in probability, of a box's edge in source pixels, in strangeness.

    `worst`: the photographs (indices) whose probabilities differ most, 16 at the most.
    """

    probability: float
    box: float
    strangeness: float
    photographs: int
    worst: tuple[int, ...]


def export_onnx(checkpoint: Checkpoint, path: Path, sources: NDArray[np.uint8]) -> Parity:
    """Write a checkpoint's network as ONNX, after comparing both on some sources.

    Args:
        checkpoint: of a finished training.
        path: of the `.onnx` file.
        sources: uint8 [N, S, S, 3], what the comparison is made on.

    Raises:
        ModelError: probabilities differ by more than rounding explains (see above) or boxes by more than a pixel;
            nothing is written.
    """
    network = TorchNetwork(checkpoint)
    manifest = checkpoint.manifest
    heads = [head for head in manifest.decisions if head != "backbone"]
    names = [PROBABILITY_OUTPUT.format(head=head) for head in heads]
    names += [BOX_OUTPUT.format(scale=scale) for scale in range(1, manifest.scales + 1)]
    names += [STRANGENESS_OUTPUT] if network.network.familiarity is not None else []
    names += [FIRST_STRANGENESS_OUTPUT] if network.network.first_familiarity is not None else []
    example = torch.from_numpy(np.resize(sources, (2, *sources.shape[1:])))
    with _quiet():
        program = torch.onnx.export(
            network.deployed.to(memory_format=torch.contiguous_format),
            (example,),
            input_names=["source"],
            output_names=names,
            dynamic_shapes={"source": {0: torch.export.Dim("photographs", min=1, max=4096)}},
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            optimize=True,
        )
    assert program is not None
    model = program.model_proto
    _add_metadata(model, METADATA_KEY, manifest.to_json())
    tensors = _initializers_of(model, checkpoint)
    halved = _store_half(model)
    if tensors is not None:
        places = {n: halved.get(place, place) if isinstance(place, str) else place for n, place in tensors.items()}
        _add_metadata(model, TENSORS_KEY, json.dumps(places))
    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        _save(model, temporary)
        found = parity(network, OnnxNetwork(temporary), sources)
        allowed = _PROBABILITY_TOLERANCE
        if found.probability > allowed:
            reference = TorchNetwork(checkpoint, dtype=torch.float64)
            rounding = parity(reference, network, sources[list(found.worst)])
            allowed = max(allowed, _ROUNDING_FACTOR * rounding.probability)
        if found.probability > allowed or found.box > _BOX_TOLERANCE or found.strangeness > _STRANGENESS_TOLERANCE:
            raise ModelError(
                f"the exported model differs from the checkpoint by {found.probability:.1e} in probability, "
                f"{found.box:.2f} px in boxes and {found.strangeness:.1e} in strangeness (allowed: {allowed:.1e}, "
                f"{_BOX_TOLERANCE:.0f} and {_STRANGENESS_TOLERANCE}): "
                f"{path} was not written; report this"
            )
    return found


def _add_metadata(model: onnx.ModelProto, key: str, value: str) -> None:
    entry = model.metadata_props.add()
    entry.key, entry.value = key, value


def _initializers_of(model: onnx.ModelProto, checkpoint: Checkpoint) -> dict[str, str | list[int]] | None:
    """What `TENSORS_KEY` holds, or None if the exporter has changed some weights (it leaves out zeros)."""
    by_content = {}
    for initializer in model.graph.initializer:
        array = onnx.numpy_helper.to_array(initializer)
        by_content[(array.shape, array.dtype.str, array.tobytes())] = initializer.name
    found: dict[str, str | list[int]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith("backbone."):
            continue
        array = tensor.contiguous().numpy()
        initializer = by_content.get((array.shape, array.dtype.str, array.tobytes()))
        if initializer is None and array.any():
            return None
        found[name] = list(array.shape) if initializer is None else initializer
    return found


def _store_half(model: onnx.ModelProto) -> dict[str, str]:
    """Store weights that half precision holds exactly in half precision, cast when the model is loaded.

    Returns:
        {initializer: the name of the one that took its place}.
    """
    graph = model.graph
    renamed = {}
    casts = []
    for initializer in graph.initializer:
        if initializer.data_type != onnx.TensorProto.FLOAT:
            continue
        array = onnx.numpy_helper.to_array(initializer)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if array.size < _HALF_FROM or not np.array_equal(half.astype(np.float32), array):
            continue
        name = initializer.name
        renamed[name] = f"{name}.half"
        initializer.CopyFrom(onnx.numpy_helper.from_array(half, renamed[name]))
        casts.append(onnx.helper.make_node("Cast", [renamed[name]], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    for node in nodes:  # the exporter's notes on where in the source each node came from
        del node.metadata_props[:]
        node.ClearField("doc_string")
    del graph.node[:]
    graph.node.extend(nodes)
    return renamed


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest of an exported model; its weights stay to the bit."""
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = manifest.to_json()
    kept = [entry for entry in model.metadata_props if entry.key != CHECKSUM_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    with replacing(path) as temporary:
        _save(model, temporary)


def _save(model: onnx.ModelProto, path: Path) -> None:
    """Write a model that has no checksum yet, with one."""
    content = model.SerializeToString()
    path.write_bytes(content + seal(content))


def parity(first: Network, second: Network, sources: NDArray[np.uint8]) -> Parity:
    """The greatest differences between two networks over sources uint8 [N, S, S, 3]."""
    probability, box, strangeness = (np.zeros(len(sources)) for _ in range(3))
    early = first.manifest.early_exit is not None
    for start in range(0, len(sources), _BATCH):
        rows = slice(start, start + _BATCH)
        a, b = first(np.ascontiguousarray(sources[rows])), second(np.ascontiguousarray(sources[rows]))
        for head in a.probabilities.keys() & b.probabilities.keys():
            difference = np.abs(a.probabilities[head] - b.probabilities[head]).max(axis=1)
            probability[rows] = np.maximum(probability[rows], difference)
        for x, y in zip(a.boxes, b.boxes, strict=True):
            box[rows] = np.maximum(box[rows], np.abs(x - y).max(axis=1))
        if a.strangeness is not None and b.strangeness is not None:
            strangeness[rows] = np.abs(a.strangeness - b.strangeness)
        if early:
            one, other = (network.first_look(np.ascontiguousarray(sources[rows])) for network in (first, second))
            assert one is not None
            assert other is not None
            assert one.strangeness is not None
            assert other.strangeness is not None
            difference = np.abs(one.probabilities["scale1"] - other.probabilities["scale1"]).max(axis=1)
            probability[rows] = np.maximum(probability[rows], difference)
            strangeness[rows] = np.maximum(strangeness[rows], np.abs(one.strangeness - other.strangeness))
    worst = np.argsort(-probability)[:_BATCH]
    most = [float(values.max()) for values in (probability, box, strangeness)]
    return Parity(most[0], most[1], most[2], len(sources), tuple(int(row) for row in worst))


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
