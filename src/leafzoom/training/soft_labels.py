"""Soft labels: given labels mixed with a trained network's probabilities for the same photographs.

Hinton et al. 2015, "Distilling the knowledge in a neural network". A label that is wrong or
doubtful pulls less.
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

from leafzoom.dataset.batches import DatasetPart
from leafzoom.errors import ModelError
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.fusion import fusion_head
from leafzoom.model_file.checkpoint import Checkpoint
from leafzoom.storage import sha256_of, write_bytes

__all__ = ["check_teacher", "soft_targets", "with_soft_labels"]

_TEACHER_BATCH_SIZE = 32


def check_teacher(checkpoint: Checkpoint | None, labels: tuple[str, ...], source_size: int) -> None:
    """Refuse a network that cannot teach a training of these labels and sources.

    Args:
        checkpoint: of `--init`.
        labels: that are learned.
        source_size: side of the training's sources in pixels.

    Raises:
        ModelError: there is none, it is a backbone alone, or it has other labels or another source
            size.
    """
    if checkpoint is None:
        raise ModelError(
            "alternation.soft_labels needs a trained network to learn from: name it with --init"
        )

    manifest = checkpoint.manifest
    if (manifest.labels.names, manifest.source_size) != (labels, source_size):
        raise ModelError(
            f"{checkpoint.path} cannot teach (alternation.soft_labels): it knows "
            f"{', '.join(manifest.labels.names)} from {manifest.source_size} px sources, and this "
            f"training is of {', '.join(labels)} at {source_size} px"
        )

    # A backbone alone raises here.
    network_from_checkpoint(checkpoint)


def with_soft_labels(
    fabric: Fabric,
    teacher: Checkpoint,
    part: DatasetPart,
    weight: float,
    stored: Path,
    echo: Callable[[str], None] = print,
) -> DatasetPart:
    """The part with soft labels in place of its labels.

    Args:
        fabric: device and precision.
        teacher: see `check_teacher`.
        part: with the given labels.
        weight: of the teacher's probabilities, at least 0 and below 1/2.
        stored: a file for these probabilities, which are computed once: a resumed run reads them.
            The hashes of teacher, photographs and content become part of its name.
        echo: prints a line about a file that is damaged.
    """
    # Another teacher and other photographs have another file.
    origin = f"{sha256_of(teacher.path)} {part.rows.tolist()}"
    origin_digest = hashlib.sha256(origin.encode()).hexdigest()[:16]
    stored = stored.with_stem(f"{stored.stem}-{origin_digest}")

    probabilities = _read_stored(stored, part, echo)
    if probabilities is None:
        probabilities = _teacher_probabilities(fabric, teacher, part)
        _store(stored, probabilities)

    labels = np.asarray(part.targets, np.uint8)
    return replace(part, targets=soft_targets(labels, part.rows, probabilities, weight))


def soft_targets(
    targets: NDArray[np.uint8],
    rows: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    weight: float,
) -> NDArray[np.float32]:
    """Targets [N, L] with (1 - weight) label + weight probability in some rows.

    With a weight below one half, a label that is given stays above 0.5 and one that is not below.

    Args:
        targets: [N, L], 0 or 1.
        rows: [n], which targets become soft.
        probabilities: [n, L].
        weight: of the probabilities.
    """
    soft = targets.astype(np.float32)
    soft[rows] = (1 - weight) * soft[rows] + weight * probabilities
    return soft


@torch.no_grad()
def _teacher_probabilities(
    fabric: Fabric, teacher: Checkpoint, part: DatasetPart
) -> NDArray[np.float32]:
    """The last fusion head's probabilities [n, L] for photographs that are not augmented."""
    network = network_from_checkpoint(teacher).to(fabric.device)
    head = fusion_head(network.racnn.scales)

    batches = []
    for start in range(0, len(part), _TEACHER_BATCH_SIZE):
        rows = part.rows[start : start + _TEACHER_BATCH_SIZE]
        sources = torch.from_numpy(part.read(rows)).to(fabric.device)
        with fabric.autocast():
            logits = network(sources).logits[head]
        batches.append(torch.sigmoid(logits.float()).cpu())

    probabilities: NDArray[np.float32] = torch.cat(batches).numpy()
    return probabilities


def _store(path: Path, probabilities: NDArray[np.float32]) -> None:
    """Write probabilities into a file that has the hash of its content in its name."""
    content = io.BytesIO()
    np.save(content, probabilities, allow_pickle=False)
    digest = _digest(content.getvalue())
    write_bytes(path.with_stem(f"{path.stem}-{digest}"), content.getvalue())


def _read_stored(
    path: Path, part: DatasetPart, echo: Callable[[str], None]
) -> NDArray[np.float32] | None:
    """Stored probabilities of a part, or None where there is no whole file of them."""
    shape = (len(part), part.targets.shape[1])
    for candidate in path.parent.glob(f"{path.stem}-*.npy"):
        probabilities = _read_whole(candidate)
        if probabilities is not None and probabilities.shape == shape:
            return probabilities
        echo(f"{candidate} is damaged: its soft labels are computed again")
    return None


def _read_whole(path: Path) -> NDArray[np.float32] | None:
    """Probabilities in a file, or None where its content does not have the hash in its name."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not path.stem.endswith(_digest(content)):
        return None
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False), np.float32)


def _digest(content: bytes) -> str:
    """The first 16 digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]
