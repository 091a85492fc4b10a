"""Digests of a model file, by which a published figure is known to be of the file that ships.

`network` is the SHA-256 of what probabilities and labels come from: the weights of the RA-CNN and
the metadata that decides. `answers` is that of the out-of-distribution detectors as well. An export
of the same weights with another graph keeps both. `file` is that of the whole file: times and sizes
are of it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.manifest import Manifest

__all__ = ["ModelDigest", "model_digest"]

_DECIDING = ("labels", "source_size", "input_size", "scales", "decisions", "head", "preprocessing")


_DETECTORS = ("familiarity", "outliers")  # how the names of their tensors start


class ModelDigest(TypedDict):
    """Hexadecimal SHA-256, as results store them."""

    network: str
    answers: str
    file: str


def model_digest(path: Path) -> ModelDigest:
    """The digests of a model file.

    Args:
        path: of a checkpoint, or of an `.onnx` file that leafzoom exported.

    Raises:
        ModelError: the file cannot be read.
    """
    checkpoint = load_checkpoint(path)
    network = hashlib.sha256(_deciding_metadata(checkpoint.manifest))
    detectors = hashlib.sha256()
    for name, tensor in sorted(checkpoint.tensors.items()):
        digest = detectors if name.startswith(_DETECTORS) else network
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.float().contiguous().numpy().tobytes())

    answers = hashlib.sha256(network.digest() + detectors.digest())
    return {
        "network": network.hexdigest(),
        "answers": answers.hexdigest(),
        "file": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _deciding_metadata(manifest: Manifest) -> bytes:
    """What of the metadata changes answers, as bytes."""
    content = asdict(manifest)
    deciding = {key: content[key] for key in _DECIDING}

    # Published digests are older than this entry, which says nothing of a model of several labels.
    if not deciding["labels"]["single_label"]:
        del deciding["labels"]["single_label"]
    return json.dumps(deciding, sort_keys=True, default=str).encode()
