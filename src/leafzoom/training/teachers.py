"""The trained networks whose probabilities soft labels take (`train --teacher`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from tqdm import tqdm

from leafzoom.dataset.batches import DatasetPart
from leafzoom.dataset.cache import Cache
from leafzoom.errors import DataError, ModelError, RecipeError
from leafzoom.labels import LabelSet
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.fusion import fusion_head
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint
from leafzoom.model_file.paths import model_path
from leafzoom.recipe import Recipe

__all__ = [
    "SourceCaches",
    "Teacher",
    "find_teachers",
    "load_teachers",
    "teacher_probabilities",
    "with_sources",
]

_BATCH_SIZE = 32

SourceCaches = Callable[[int], Cache]
"""The cache of the training's photographs for a side of the sources in pixels."""


@dataclass(frozen=True)
class Teacher:
    """A whole trained network, and the training's photographs at its own source size."""

    checkpoint: Checkpoint
    cache: Cache

    @property
    def name(self) -> str:
        """Of its run."""
        return self.checkpoint.manifest.name or str(self.checkpoint.path)


def load_teachers(models: Sequence[str]) -> tuple[Checkpoint, ...]:
    """The checkpoints of teachers: a run, a file, or `bundled`.

    Raises:
        ModelError: there is no such model, it is damaged, or an exported model does not hold the
            network's own weights.
    """
    return tuple(load_checkpoint(model_path(model, prefer="torch")) for model in models)


def find_teachers(
    recipe: Recipe,
    teachers: tuple[Checkpoint, ...],
    init: Checkpoint | None,
    labels: LabelSet,
    source_sizes: SourceCaches | None,
) -> tuple[Checkpoint, ...]:
    """The networks that teach a training; none without `alternation.soft_labels`.

    Args:
        recipe: of the training.
        teachers: of `--teacher`.
        init: of `--init`, which teaches where there are no others.
        labels: that are learned.
        source_sizes: see `SourceCaches`; None: all teachers need the training's source size.

    Raises:
        RecipeError: there are teachers, and the recipe has no soft labels.
        ModelError: there are none, one is a backbone alone, or has other labels, another loss or,
            without `source_sizes`, another source size.
    """
    if not recipe.alternation.soft_labels:
        if teachers:
            raise RecipeError(
                "--teacher gives soft labels, and alternation.soft_labels is 0: set their weight, "
                "as in --set alternation.soft_labels=0.4"
            )
        return ()

    chosen = teachers or ((init,) if init else ())
    if not chosen:
        raise ModelError(
            "alternation.soft_labels needs a trained network to learn from: name it with --init "
            "or --teacher"
        )
    for checkpoint in chosen:
        _check_teacher(checkpoint, labels, None if source_sizes else recipe.data.source_size)
    return chosen


def with_sources(
    checkpoint: Checkpoint, cache: Cache, source_sizes: SourceCaches | None
) -> Teacher:
    """A teacher with the training's photographs at its source size.

    Args:
        checkpoint: of the teacher.
        cache: of the training.
        source_sizes: see `SourceCaches`.

    Raises:
        DataError: at this size other photographs can be read.
        LeafzoomError: the cache of another size cannot be built.
    """
    source_size = checkpoint.manifest.source_size
    if source_size == cache.sources.shape[1] or source_sizes is None:
        return Teacher(checkpoint, cache)

    other = source_sizes(source_size)
    if other.table.image_names != cache.table.image_names:
        raise DataError(
            f"{other.folder} has {len(other.table.image_names)} photographs and {cache.folder} "
            f"{len(cache.table.image_names)}: photographs have changed since; delete both caches"
        )
    return Teacher(checkpoint, other)


@torch.no_grad()
def teacher_probabilities(
    fabric: Fabric, teacher: Teacher, part: DatasetPart
) -> NDArray[np.float32]:
    """The last fusion head's probabilities [n, L] for photographs that are not augmented.

    Means over the mirror images that the teacher's own recipe looks at (`prediction.tta`).

    Args:
        fabric: device and precision.
        teacher: see `Teacher`.
        part: n photographs of the training.
    """
    network = network_from_checkpoint(teacher.checkpoint).to(fabric.device)
    head = fusion_head(network.attention_network.scales)

    # The same photographs at the teacher's source size.
    cache = teacher.cache
    photographs = replace(part, sources=cache.sources, checksums=cache.checksums)

    batches = []
    with tqdm(total=len(part), desc=teacher.name, unit="photo", disable=None, leave=False) as bar:
        for start in range(0, len(part), _BATCH_SIZE):
            rows = part.rows[start : start + _BATCH_SIZE]
            sources = torch.from_numpy(photographs.read(rows)).to(fabric.device)
            with fabric.autocast():
                logits = network(sources).logits[head]
            batches.append(network.probabilities(logits.float()).cpu())
            bar.update(len(rows))

    probabilities: NDArray[np.float32] = torch.cat(batches).numpy()
    return probabilities


def _check_teacher(checkpoint: Checkpoint, labels: LabelSet, source_size: int | None) -> None:
    """Refuse a network that cannot teach; `source_size`: the only one that there is, if any."""
    manifest = checkpoint.manifest
    if manifest.labels.names != labels.names:
        raise ModelError(
            f"{checkpoint.path} cannot teach (alternation.soft_labels): it knows "
            f"{', '.join(manifest.labels.names)}, and this training is of "
            f"{', '.join(labels.names)}: name a teacher of the same labels in the same order"
        )
    if manifest.labels.single_label != labels.single_label:
        own = "softmax" if labels.single_label else "sigmoid"
        raise ModelError(
            f"{checkpoint.path} cannot teach (alternation.soft_labels): this training has "
            f"model.loss {own}, and its probabilities are of the other loss: name a teacher that "
            f"was trained with {own}"
        )
    if source_size not in (None, manifest.source_size):
        raise ModelError(
            f"{checkpoint.path} cannot teach (alternation.soft_labels): it reads sources of "
            f"{manifest.source_size} px, and this training has {source_size} px"
        )

    # A backbone alone raises here.
    network_from_checkpoint(checkpoint)
