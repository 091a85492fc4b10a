"""Soft labels: given labels mixed with trained networks' probabilities for the same photographs.

Hinton et al. 2015, "Distilling the knowledge in a neural network". A label that is wrong or
doubtful pulls less.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from lightning.fabric import Fabric
from numpy.typing import NDArray

from leafzoom.dataset.batches import DatasetPart
from leafzoom.storage import sha256_of, write_bytes
from leafzoom.training.teachers import Teacher, teacher_probabilities

__all__ = ["soft_targets", "with_soft_labels"]


def with_soft_labels(
    fabric: Fabric,
    teachers: Sequence[Teacher],
    part: DatasetPart,
    weight: float,
    stored: Path,
    echo: Callable[[str], None] = print,
) -> DatasetPart:
    """The part with soft labels in place of its labels.

    Args:
        fabric: device and precision.
        teachers: one or more; the mean of their probabilities is taken.
        part: with the given labels.
        weight: of the teachers' probabilities, at least 0 and below 1/2.
        stored: a file for each teacher's probabilities, which are computed once: a resumed run
            reads them. The hashes of teacher, photographs and content become part of its name.
        echo: prints a line about a file that is damaged, and about how long a teacher took.
    """
    answers = [_probabilities(fabric, teacher, part, stored, echo) for teacher in teachers]
    probabilities = np.asarray(np.mean(answers, axis=0), np.float32)

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


def _probabilities(
    fabric: Fabric,
    teacher: Teacher,
    part: DatasetPart,
    stored: Path,
    echo: Callable[[str], None],
) -> NDArray[np.float32]:
    """A teacher's probabilities [n, L], stored or computed."""
    # Another teacher and other photographs have another file.
    origin = f"{sha256_of(teacher.checkpoint.path)} {part.rows.tolist()}"
    origin_digest = hashlib.sha256(origin.encode()).hexdigest()[:16]
    path = stored.with_stem(f"{stored.stem}-{origin_digest}")

    probabilities = _read_stored(path, part, echo)
    if probabilities is None:
        started = time.perf_counter()
        probabilities = teacher_probabilities(fabric, teacher, part)
        _store(path, probabilities)
        seconds = time.perf_counter() - started
        echo(f"soft labels of {teacher.name} for {len(part)} photographs: {seconds:.0f} s")
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
