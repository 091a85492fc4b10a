"""Checkpoints: weights as safetensors, with the manifest in the metadata. No pickle.

Tensors are named `scale1.…`, `apn1.…`, `fusion12.…`, `familiarity.…` (the out-of-distribution
detector), and `backbone.…` for the fine-tuned plain backbone. An exported `.onnx` model serves as a
checkpoint too if its batch norms were folded before the export: then its weights are the network's.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from leafzoom.errors import ModelError
from leafzoom.model_file.checksum import CHECKSUM_KEY
from leafzoom.model_file.manifest import METADATA_KEY, Manifest
from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.storage import write_bytes

if TYPE_CHECKING:
    import onnx

__all__ = [
    "TENSORS_KEY",
    "Checkpoint",
    "load_checkpoint",
    "load_part",
    "save_checkpoint",
    "tensors_digest",
]

TENSORS_KEY = "leafzoom_tensors"
"""In an ONNX model's metadata: {the checkpoint's tensor: its initializer, or a shape of zeros}."""

_CHECKSUM_ENTRY = f', "{CHECKSUM_KEY}": "'
_MAX_IMPLICIT_ZEROS = 10**8  # no network has so many weights


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's tensors by name, in float32, and its manifest."""

    tensors: dict[str, Tensor]
    manifest: Manifest
    path: Path

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix.`, named without it; empty if there are none."""
        start = prefix + "."
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }

    @property
    def parts(self) -> set[str]:
        """The parts that it has: `backbone`, `scale1`, `apn1`, `fusion12`, …"""
        return {name.split(".")[0] for name in self.tensors}

    def in_half_precision(self) -> Checkpoint:
        """The same with every number rounded to half precision, still stored in float32."""
        rounded = {
            name: tensor.half().float() if tensor.is_floating_point() else tensor
            for name, tensor in self.tensors.items()
        }
        return replace(self, tensors=rounded)


def save_checkpoint(
    path: Path,
    tensors: Mapping[str, Tensor],
    manifest: Manifest,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        path: of the file.
        tensors: by name.
        manifest: its metadata.
        dtype: what floating-point tensors are converted to, half precision for example.

    Raises:
        LeafzoomError: the file cannot be written.
    """
    stored = {}
    for name, tensor in tensors.items():
        kind = dtype if dtype and tensor.is_floating_point() else tensor.dtype
        stored[name] = tensor.detach().to("cpu", kind).contiguous()

    # The checksum goes inside the manifest's JSON. As an entry of its own it would make the bytes
    # differ from one write to the next: safetensors has no fixed order of several entries.
    text = manifest.to_json()
    digest = tensors_digest(stored, text)
    text = f'{text[:-1]}{_CHECKSUM_ENTRY}{digest}"}}'
    write_bytes(path, save(stored, metadata={METADATA_KEY: text}))


def tensors_digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """SHA-256 of a text and of tensors' names, types, shapes and values."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the weights of an exported `.onnx` model.

    Raises:
        ModelError: no such file, not a leafzoom checkpoint, damaged, of a newer format, or an
            exported model that does not hold the network's own weights.
    """
    if not path.is_file():
        raise ModelError(f"the checkpoint {path} does not exist: check the path")

    stored = _load_onnx(path) if path.suffix == ".onnx" else _load_safetensors(path)

    # Files may hold half precision; networks are built in float32.
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in stored.tensors.items()
    }
    return replace(stored, tensors=tensors)


def load_part(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load tensors into a module that has exactly these.

    Args:
        module: a part of the network.
        tensors: by their names in the module.
        where: the file and its part, for errors.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape.
    """
    # The names have to agree.
    expected = module.state_dict()
    for name in sorted(set(expected) ^ set(tensors)):
        problem = "has no tensor" if name in expected else "has an unknown tensor"
        raise ModelError(f"{where} {problem} {name}: it was made for another network")

    # PyTorch compares shapes too, but cannot say which recipe to choose.
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{where}: {name} has shape {tuple(tensor.shape)}, but the recipe's network has "
                f"{tuple(expected[name].shape)}: choose the recipe that it was trained with"
            )
    module.load_state_dict(dict(tensors))


# Safetensors.


def _load_safetensors(path: Path) -> Checkpoint:
    """The tensors of a checkpoint as they are stored."""
    try:
        with _utf8_path(path) as name, safe_open(name, framework="pt") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            if metadata is None:
                raise ModelError(f"{path} is no leafzoom checkpoint: it has no leafzoom metadata")
            manifest = Manifest.from_json(metadata, str(path))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is no safetensors file or is damaged ({error}): copy it again"
        ) from error

    _check_digest(path, metadata, tensors)
    return Checkpoint(tensors, manifest, path)


@contextmanager
def _utf8_path(path: Path) -> Iterator[str]:
    """A name of a file that safetensors opens: one in UTF-8, which not every folder's is."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with path.open("rb") as file:
            yield f"/dev/fd/{file.fileno()}"
    else:
        yield str(path)


def _check_digest(path: Path, metadata: str, tensors: Mapping[str, Tensor]) -> None:
    """Compare tensors and manifest with the checksum in the metadata, if there is one."""
    text, checksum, stored = metadata.rpartition(_CHECKSUM_ENTRY)
    if not checksum:  # older checkpoints have none
        return

    # The checksum is of the manifest's text as it was before the checksum went in.
    digest = tensors_digest(tensors, text + "}")
    if stored != digest + '"}':
        raise ModelError(
            f"{path} is damaged (its content does not have the SHA-256 that is stored in it): "
            "copy it again"
        )


# Exported models.


def _load_onnx(path: Path) -> Checkpoint:
    """The weights of an exported model as they are stored."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    content, manifest = read_onnx(path)
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelError(
            f"{path} is no ONNX model or is damaged ({error}): copy it again"
        ) from error

    # An export notes where each tensor is only if it left the weights as they were.
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if TENSORS_KEY not in metadata:
        raise ModelError(
            f"{path} holds weights that the export has changed (batch norms folded), so no "
            "training can start from it: name the run's model.safetensors"
        )

    # The mapping comes from the file and may hold anything.
    initializers = {initializer.name: initializer for initializer in model.graph.initializer}
    try:
        tensors = _tensors_from_initializers(metadata[TENSORS_KEY], initializers)
    except (
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        MemoryError,
    ) as error:
        raise ModelError(
            f"{path} does not hold the weights that it names ({error}): copy it again"
        ) from error
    return Checkpoint(tensors, manifest, path)


def _tensors_from_initializers(
    mapping: str, initializers: Mapping[str, onnx.TensorProto]
) -> dict[str, Tensor]:
    """The checkpoint's tensors by name.

    Args:
        mapping: the JSON of `TENSORS_KEY`.
        initializers: of the model, by name.

    Raises:
        ValueError: the zeros that are not stored are more than any network has; or, like KeyError,
            TypeError, AttributeError, RuntimeError and MemoryError, the mapping does not hold.
    """
    from onnx import numpy_helper

    # Zeros are stored by their shape alone, and a damaged one could fill the memory.
    sources = json.loads(mapping)
    shapes = [source for source in sources.values() if not isinstance(source, str)]
    zeros = sum(math.prod(shape) for shape in shapes)
    if zeros > _MAX_IMPLICIT_ZEROS:
        raise ValueError(f"{zeros} zeros")

    tensors = {}
    for name, source in sources.items():
        if isinstance(source, str):
            array = numpy_helper.to_array(initializers[source])
            tensors[name] = torch.from_numpy(array.copy())
        else:
            tensors[name] = torch.zeros(source)
    return tensors
