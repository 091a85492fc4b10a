"""Every head's logits on `inner-validation`, with mirror images and without, from one pass.

Each mirror image is looked at by itself, so the outputs of the pictures as they are come first and
are what a network without mirrors computes. Fusions are cross-validated as in a training, on the
outputs of the scales themselves. What is computed is kept in a folder, because several programs
ask for the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.sources import sources_to_images
from leafzoom.fitting.fusion import fit_lbfgs
from leafzoom.fitting.scale_classifiers import mean_classifier
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import build_backbone, build_fusions, build_racnn, network_from_checkpoint
from leafzoom.model.mirrors import tta_mean
from leafzoom.model.racnn import RACNN
from leafzoom.model_file.checkpoint import Checkpoint, load_checkpoint, load_part
from leafzoom.model_file.outputs import BACKBONE_HEAD, fusion_head, scale_head
from leafzoom.recipe import recipe_from_dict
from leafzoom.storage import make_folder
from leafzoom.training.memory import keep_freed_memory
from tools.evaluation_data import open_data, rows_of_part
from tools.model_digest import model_digest

__all__ = ["MIRRORS", "HeadLogits", "logits_of_model", "plain_backbone"]

MIRRORS = 2
"""Each photograph as it is, and mirrored left-right."""

_PART = "inner-validation"
_BATCH_SIZE = 16

Logits = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class HeadLogits:
    """Logits of n photographs; none was fitted on the photograph.

    `targets`: [n, L]. `plain`, `mirrored`: {head: [n, L]}, of the photographs as they are, and
    means over their mirror images too. `tta`: how many images of a photograph the model itself
    looks at.
    """

    targets: NDArray[np.uint8]
    plain: Logits
    mirrored: Logits
    tta: int

    @property
    def as_predicted(self) -> Logits:
        """Those that the model's own answers come from."""
        return self.plain if self.tta == 1 else self.mirrored


def logits_of_model(model: Path, data: Path, keep: Path | None) -> HeadLogits:
    """The logits of a model file: of all heads, or of the plain backbone where it has no more.

    Args:
        model: a checkpoint, or an `.onnx` file that can be read as one.
        data: of the competition.
        keep: folder for the logits; None: they are not kept.
    """
    file = None if keep is None else keep / f"logits-{model_digest(model)['network'][:12]}.npz"
    if file is not None and file.is_file():
        return _read(file)

    keep_freed_memory()
    checkpoint = load_checkpoint(model)
    cache = open_data(data, checkpoint.manifest.source_size)
    rows = rows_of_part(cache, _PART, checkpoint.manifest)
    targets = cache.table.targets(checkpoint.manifest.labels)[rows]
    compute = _plain_logits if checkpoint.parts == {BACKBONE_HEAD} else _racnn_logits
    plain, mirrored = compute(checkpoint, cache, rows, targets)

    recipe = recipe_from_dict(checkpoint.manifest.recipe, str(checkpoint.path))
    logits = HeadLogits(targets, plain, mirrored, recipe.prediction.tta)
    if file is not None:
        make_folder(file.parent)
        _write(file, logits)
    return logits


def plain_backbone(checkpoint: Checkpoint) -> tuple[RACNN, Backbone]:
    """The plain backbone of a checkpoint in eval(), and an RA-CNN that makes its views."""
    recipe = recipe_from_dict(checkpoint.manifest.recipe, str(checkpoint.path))
    label_count = len(checkpoint.manifest.labels.names)
    tensors = checkpoint.part(BACKBONE_HEAD)

    backbone = build_backbone(recipe.model, label_count)
    backbone.match_batch_norm(tensors)
    load_part(backbone, tensors, f"{checkpoint.path}: {BACKBONE_HEAD}")
    return build_racnn(recipe, label_count).eval(), backbone.eval()


def _racnn_logits(
    checkpoint: Checkpoint, cache: Cache, rows: NDArray[np.int64], targets: NDArray[np.uint8]
) -> tuple[Logits, Logits]:
    """Of all scales, and of fusions that are fitted out of fold."""
    recipe = recipe_from_dict(checkpoint.manifest.recipe, str(checkpoint.path))
    racnn = network_from_checkpoint(checkpoint).racnn
    racnn.backbones.to(memory_format=torch.channels_last)
    fusions = build_fusions(recipe.fusion, racnn)

    def outputs(images: Tensor) -> dict[str, Tensor]:
        states = racnn(racnn.normalise(images), MIRRORS)
        tensors = {scale_head(state.scale + 1): state.logits for state in states}
        return tensors | {
            fusion_head(fusion.scales): fusion.concatenate(states) for fusion in fusions
        }

    both = _over_photographs(outputs, cache, rows)
    for arrays in both:
        for fusion in build_fusions(recipe.fusion, racnn):
            head = fusion_head(fusion.scales)
            inputs = arrays[head].astype(np.float32)
            prior = mean_classifier(racnn, fusion)
            arrays[head] = fit_lbfgs(fusion, inputs, targets, prior, recipe.seed).out_of_fold
    return both


def _plain_logits(
    checkpoint: Checkpoint, cache: Cache, rows: NDArray[np.int64], targets: NDArray[np.uint8]
) -> tuple[Logits, Logits]:
    """Of the plain backbone, which was trained on other photographs."""
    assert len(rows) == len(targets)
    racnn, backbone = plain_backbone(checkpoint)
    backbone.to(memory_format=torch.channels_last)

    def outputs(images: Tensor) -> dict[str, Tensor]:
        view = racnn.whole_view(racnn.normalise(images), MIRRORS)
        return {BACKBONE_HEAD: backbone(view.image).logits}

    return _over_photographs(outputs, cache, rows)


@torch.inference_mode()
def _over_photographs(
    outputs: Callable[[Tensor], dict[str, Tensor]], cache: Cache, rows: NDArray[np.int64]
) -> tuple[Logits, Logits]:
    """What a network computes for all photographs: as they are, and means over mirror images."""
    plain: dict[str, list[NDArray[np.float32]]] = {}
    mirrored: dict[str, list[NDArray[np.float32]]] = {}
    for start in range(0, len(rows), _BATCH_SIZE):
        batch = np.asarray(cache.sources[rows[start : start + _BATCH_SIZE]])
        tensors = outputs(sources_to_images(torch.from_numpy(batch)))

        for head, values in tensors.items():
            plain.setdefault(head, []).append(values[: len(batch)].numpy())
            mirrored.setdefault(head, []).append(tta_mean(values, MIRRORS).numpy())
    return _joined(plain), _joined(mirrored)


def _joined(batches: dict[str, list[NDArray[np.float32]]]) -> Logits:
    return {head: np.concatenate(arrays).astype(np.float64) for head, arrays in batches.items()}


def _write(file: Path, logits: HeadLogits) -> None:
    content = {f"plain {head}": values for head, values in logits.plain.items()}
    content |= {f"mirrored {head}": values for head, values in logits.mirrored.items()}
    np.savez(file, allow_pickle=False, targets=logits.targets, tta=logits.tta, **content)


def _read(file: Path) -> HeadLogits:
    with np.load(file) as content:
        by_kind: dict[str, Logits] = {"plain": {}, "mirrored": {}}
        for name in content.files:
            kind, _, head = name.partition(" ")
            if kind in by_kind:
                by_kind[kind][head] = content[name]
        tta = int(content["tta"])
        return HeadLogits(content["targets"], by_kind["plain"], by_kind["mirrored"], tta)
