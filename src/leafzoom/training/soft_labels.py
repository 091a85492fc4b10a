"""Soft labels (Hinton et al. 2015, "Distilling the knowledge in a neural network"): given labels mixed with what a
trained network says of the same photographs, so that a label which is wrong or doubtful pulls less.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray

from leafzoom.errors import ModelError
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.checkpoint import Checkpoint
from leafzoom.storage import sha256_of, write_bytes
from leafzoom.training.batches import Photographs, plain_batches

__all__ = ["check_teacher", "soft_targets", "softened"]

_BATCH = 32


def check_teacher(checkpoint: Checkpoint | None, labels: tuple[str, ...], source_size: int) -> None:
    """Refuse a network that `--init` names and that cannot teach a training of these labels and sources.

    Raises:
        ModelError: there is none, it is a backbone alone, or it is of other labels or another source size.
    """
    if checkpoint is None:
        raise ModelError("alternation.soft_labels needs a trained network to learn from: name it with --init")
    manifest = checkpoint.manifest
    if (manifest.labels.names, manifest.source_size) != (labels, source_size):
        raise ModelError(
            f"{checkpoint.path} cannot teach (alternation.soft_labels): it knows {', '.join(manifest.labels.names)} "
            f"from {manifest.source_size} px sources, and this training is of {', '.join(labels)} at {source_size} px"
        )
    network_from_checkpoint(checkpoint)


def softened(
    fabric: Fabric,
    teacher: Checkpoint,
    photographs: Photographs,
    weight: float,
    stored: Path,
    say: Callable[[str], None] = print,
) -> Photographs:
    """Photographs with soft labels.

    Args:
        fabric: device and precision.
        teacher: see `check_teacher`.
        photographs: with the labels that are given.
        weight: of the teacher's probabilities, at least 0 and below 1/2.
        stored: a file for these probabilities: they are computed once, and a run that goes on reads them. The hash of
            teacher and photographs becomes part of its name, and so does that of the content.
        say: told of a file that is damaged.
    """
    made_of = hashlib.sha256(f"{sha256_of(teacher.path)} {photographs.rows.tolist()}".encode()).hexdigest()[:16]
    probabilities = _probabilities(fabric, teacher, photographs, stored.with_stem(f"{stored.stem}-{made_of}"), say)
    targets = soft_targets(np.asarray(photographs.targets, np.uint8), photographs.rows, probabilities, weight)
    return replace(photographs, targets=targets)


@torch.no_grad()
def _probabilities(
    fabric: Fabric, checkpoint: Checkpoint, photographs: Photographs, stored: Path, say: Callable[[str], None]
) -> NDArray[np.float32]:
    """The last fusion head's probabilities, [n, L], of photographs that are not augmented."""
    shape = (len(photographs), photographs.targets.shape[1])
    for path in stored.parent.glob(f"{stored.stem}-*.npy"):
        known = _read(path)
        if known is not None and known.shape == shape:
            return known
        say(f"{path} is damaged: its soft labels are computed again")
    network = network_from_checkpoint(checkpoint).to(fabric.device)
    parts = []
    for batch in plain_batches(photographs, batch_size=_BATCH, device=fabric.device):
        sources = (batch.pictures * 255).round().byte().permute(0, 2, 3, 1)
        with fabric.autocast():
            logits = list(network(sources).logits.values())[-1]
        parts.append(torch.sigmoid(logits.float()).cpu())
    probabilities: NDArray[np.float32] = torch.cat(parts).numpy()
    content = io.BytesIO()
    np.save(content, probabilities, allow_pickle=False)
    write_bytes(stored.with_stem(f"{stored.stem}-{_digest(content.getvalue())}"), content.getvalue())
    return probabilities


def soft_targets(
    targets: NDArray[np.uint8], rows: NDArray[np.int64], probabilities: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    """Targets [N, L] of which those of `rows` are (1 - weight) label + weight probability.

    With a weight below one half, a label that is given stays above 0.5 and one that is not below.
    """
    soft = targets.astype(np.float32)
    soft[rows] = (1 - weight) * soft[rows] + weight * probabilities
    return soft


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _read(path: Path) -> NDArray[np.float32] | None:
    """Stored probabilities, or None where the content is not what the file's name tells."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not path.stem.endswith(_digest(content)):
        return None
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), np.float32)
