"""Checkpoints: weights as safetensors, with the manifest in the metadata. No pickle.

Tensors are named `scale1.…`, `apn1.…`, `fusion12.…`, `familiarity.…`, and `backbone.…` for the fine-tuned plain
backbone. An exported `.onnx` model serves as a checkpoint too where its batch norms were folded before: its weights
are the network's then.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from leafzoom.checksum import CHECKSUM_KEY
from leafzoom.errors import ModelError
from leafzoom.manifest import METADATA_KEY, Manifest
from leafzoom.model.fusion import FusedRACNN, Fusion, fusion_head
from leafzoom.onnx_file import read_onnx
from leafzoom.storage import write_bytes

TENSORS_KEY = "leafzoom_tensors"
"""In an ONNX model's metadata: {tensor of the checkpoint: its initializer, or the shape of a tensor of zeros}."""

_CHECKSUM = f', "{CHECKSUM_KEY}": "'
_MOST_ZEROS = 10**8  # that were not stored; no network has so many weights

__all__ = [
    "TENSORS_KEY",
    "Checkpoint",
    "load_checkpoint",
    "load_part",
    "network_tensors",
    "save_checkpoint",
    "tensors_digest",
]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's tensors by name, in float32, and its manifest."""

    tensors: dict[str, Tensor]
    manifest: Manifest
    path: Path

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below `prefix.`, without it; empty where there are none."""
        start = prefix + "."
        return {name.removeprefix(start): t for name, t in self.tensors.items() if name.startswith(start)}

    @property
    def parts(self) -> set[str]:
        """What it has: `backbone`, `scale1`, `apn1`, `fusion12`, …"""
        return {name.split(".")[0] for name in self.tensors}

    def in_half_precision(self) -> Checkpoint:
        """The same with every number rounded to what half precision holds, still in float32."""
        rounded = {n: t.half().float() if t.is_floating_point() else t for n, t in self.tensors.items()}
        return replace(self, tensors=rounded)


def network_tensors(network: FusedRACNN) -> dict[str, Tensor]:
    """All tensors of a network under the names of a checkpoint."""
    parts: dict[str, nn.Module] = {}
    for index, backbone in enumerate(network.racnn.backbones, start=1):
        parts[f"scale{index}"] = backbone
    for index, apn in enumerate(network.racnn.apns, start=1):
        parts[f"apn{index}"] = apn
    for fusion in network.fusions:
        assert isinstance(fusion, Fusion)
        parts[fusion_head(fusion.scales)] = fusion
    if network.familiarity is not None:
        parts["familiarity"] = network.familiarity
    if network.first_familiarity is not None:
        parts["familiarity1"] = network.first_familiarity
    return {f"{part}.{name}": t for part, module in parts.items() for name, t in module.state_dict().items()}


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], manifest: Manifest, dtype: torch.dtype | None = None
) -> None:
    """Write a checkpoint whole or not at all; `dtype` converts floating-point tensors (half precision, say).

    Raises:
        LeafzoomError: the file cannot be written.
    """
    stored = {
        name: tensor.detach().to("cpu", dtype if dtype and tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in tensors.items()
    }
    said = manifest.to_json()
    # Within the one entry, for safetensors writes several in an order that is another each time.
    said = f'{said[:-1]}{_CHECKSUM}{tensors_digest(stored, said)}"}}'
    write_bytes(path, save(stored, metadata={METADATA_KEY: said}))


def tensors_digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """SHA-256 of a text and of tensors' names, kinds, shapes and values."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, or the weights of an exported `.onnx` model.

    Raises:
        ModelError: no such file, not a leafzoom checkpoint, damaged, of a newer format, or an exported model that
            does not hold the network's own weights.
    """
    if not path.is_file():
        raise ModelError(f"the checkpoint {path} does not exist: check the path")
    if path.suffix == ".onnx":
        return _load_onnx(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            if metadata is None:
                raise ModelError(f"{path} is no leafzoom checkpoint: it has no leafzoom metadata")
            manifest = Manifest.from_json(metadata, str(path))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no safetensors file or is damaged ({error}): copy it again") from error
    said, checksum, digest = metadata.rpartition(_CHECKSUM)
    if checksum and digest != tensors_digest(tensors, said + "}") + '"}':  # older ones have none
        raise ModelError(f"{path} is damaged (its content has another SHA-256 than it says): copy it again")
    return Checkpoint({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}, manifest, path)


def _load_onnx(path: Path) -> Checkpoint:
    """The weights and the manifest of an exported model."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    content, manifest = read_onnx(path)
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelError(f"{path} is no ONNX model or is damaged ({error}): copy it again") from error
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if TENSORS_KEY not in metadata:
        raise ModelError(
            f"{path} holds weights that the export has changed (batch norms folded), so no training can start from "
            "it: name the run's model.safetensors"
        )
    stored = {initializer.name: initializer for initializer in model.graph.initializer}
    try:
        places = json.loads(metadata[TENSORS_KEY]).items()
        zeros = sum(math.prod(place) for _, place in places if not isinstance(place, str))
        if zeros > _MOST_ZEROS:
            raise ValueError(f"{zeros} zeros")
        tensors = {
            name: torch.from_numpy(onnx.numpy_helper.to_array(stored[place]).copy())
            if isinstance(place, str)
            else torch.zeros(place)
            for name, place in places
        }
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise ModelError(f"{path} does not hold the weights that it names ({error}): copy it again") from error
    return Checkpoint({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}, manifest, path)


def load_part(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put tensors into a module that has exactly these.

    Raises:
        ModelError: a tensor is missing, unknown, or of another shape.
    """
    wanted = module.state_dict()
    for name in sorted(set(wanted) ^ set(tensors)):
        what = "has no tensor" if name in wanted else "has an unknown tensor"
        raise ModelError(f"{where} {what} {name}: it was made for another network")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ModelError(
                f"{where}: {name} has shape {tuple(tensor.shape)}, but the recipe's network wants "
                f"{tuple(wanted[name].shape)}: choose the recipe that it was trained with"
            )
    module.load_state_dict(dict(tensors))
