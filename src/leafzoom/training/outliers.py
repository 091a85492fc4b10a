"""The outlier detector of a training: fitted on the user's other pictures, or kept from the start.

With `--negatives` it is fitted on them. Without, the detector of the checkpoint that the training
started from is kept where it still fits: where the first scale is as it was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafzoom.dataset.augmentation import Augmentation
from leafzoom.dataset.batches import DatasetPart, epoch_batches, plain_batches
from leafzoom.dataset.sources import sources_to_images
from leafzoom.errors import PhotoError, TrainingError
from leafzoom.fitting.outlier_detector import (
    MIN_LEAVES,
    MIN_OTHERS,
    LeafOutliers,
    detector_accepting,
    fit_outlier_detector,
)
from leafzoom.model.backbone import Backbone
from leafzoom.model.build import load_outlier_detector
from leafzoom.model.mirrors import tta_images, tta_mean
from leafzoom.model.ood_detector import OutlierDetector, outlier_features
from leafzoom.model.pretrained import has_features_of
from leafzoom.photo import read_source
from leafzoom.photo_archive import ArchivedPhoto, is_archive
from leafzoom.photo_files import PhotoSearch, is_folder, kind_by_folder
from leafzoom.photo_url import RemotePhoto
from leafzoom.training.stages import TrainingContext

__all__ = ["Negative", "find_negatives", "leaf_outliers"]

_BATCH_SIZE = 32
_CHANGED_BATCHES = 16

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Negative:
    """A picture that shows none of the leaves, and its kind: its folder's name."""

    photo: Path | ArchivedPhoto | RemotePhoto
    kind: str


def find_negatives(folder: Path, echo: Callable[[str], None]) -> list[Negative]:
    """The pictures below a folder or in a ZIP archive; each folder directly in it is a kind.

    Args:
        folder: is searched as `predict` searches: links are followed, each folder once.
        echo: prints what the search passes over.

    Raises:
        TrainingError: it is neither, a folder below it cannot be read, or it has fewer than 20
            pictures.
        DataError: it has no picture at all, or the archive cannot be read.
    """
    if not is_folder(folder) and not is_archive(folder):
        raise TrainingError(f"--negatives {folder} is no folder: name one with other pictures")

    found = []
    search = PhotoSearch([folder])
    for photo in search:
        # The search gives a folder in place of photos that it cannot list.
        if isinstance(photo, str) or (isinstance(photo, Path) and is_folder(photo)):
            raise TrainingError(
                f"{photo} in --negatives cannot be read: give yourself permission to read it"
            )
        found.append(Negative(photo, kind_by_folder(photo, folder)))

    if search.passed_over:
        echo(f"--negatives {folder}: {search.passed_over}")
    if len(found) < MIN_OTHERS:
        raise TrainingError(
            f"--negatives {folder} has {len(found)} pictures and {MIN_OTHERS} are needed: add "
            "pictures of what people could photograph by mistake"
        )
    return found


def leaf_outliers(
    context: TrainingContext, leaves: DatasetPart, negatives: Sequence[Negative]
) -> LeafOutliers | None:
    """The outlier detector for the trained scales; None where there is nothing to fit it on.

    Args:
        context: of the training, whose stages are done.
        leaves: photographs that the scales were not trained on.
        negatives: other pictures; empty: the detector of the checkpoint that the training started
            from is kept where its first scale is, with a limit that accepts these leaves.

    Raises:
        TrainingError: fewer than 20 negatives can be read.
    """
    context.network.eval()
    if negatives:
        return _fit(context, leaves, negatives)

    kept = _detector_at_start(context)
    if kept is None:
        return None
    features = _leaf_features(context, leaves)
    detector = detector_accepting(kept, features)
    if detector is None:
        context.echo(
            "the outlier detector of --init refuses most of these photographs, so it is left out: "
            "--negatives DIR fits one for them"
        )
        return None
    return LeafOutliers.of(detector, features)


def _fit(
    context: TrainingContext, leaves: DatasetPart, negatives: Sequence[Negative]
) -> LeafOutliers | None:
    """Fit the detector on leaves, changed leaves and negatives, and print how well it does."""
    features, kinds = _negative_features(context, negatives)
    if len(features) < MIN_OTHERS:
        raise TrainingError(
            f"only {len(features)} pictures of --negatives can be read and {MIN_OTHERS} are needed"
        )

    # Changed copies of the leaves themselves would spoil the limit, which is of leaves out of fold.
    own = _leaf_features(context, leaves)
    changed = own[:0] if context.frozen else _changed_features(context)

    fit = fit_outlier_detector(own, changed, features, kinds, context.recipe.seed)
    if fit is None:
        context.echo(f"no outlier detector: it takes {MIN_LEAVES} photographs to validate")
        return None
    for kind, figures in fit.kinds.items():
        context.echo(
            f"negatives, {kind}: {figures.accepted:.1%} of {figures.pictures} pass a detector "
            "that was fitted without this kind"
        )
    return LeafOutliers.of(fit.detector, own)


def _detector_at_start(context: TrainingContext) -> OutlierDetector | None:
    """The detector of `--init`, where the first scale still has its weights."""
    if context.init is None:
        return None
    detector = load_outlier_detector(context.init)
    first_scale = context.network.backbones[0]
    assert isinstance(first_scale, Backbone)
    if detector is None or not has_features_of(first_scale, context.init, "scale1"):
        return None
    return detector


@torch.no_grad()
def _features(context: TrainingContext, images: Tensor) -> Features:
    """What the detector reads of images [B, 3, S, S] in 0..1, [B, W]."""
    network = context.network
    tta = context.recipe.prediction.tta
    state = network.start(tta_images(network.normalise(images), tta))
    features: Features = tta_mean(outlier_features(network, state).float(), tta).cpu().numpy()
    return features


def _leaf_features(context: TrainingContext, part: DatasetPart) -> Features:
    """The features of photographs as they are."""
    device = context.fabric.device
    batches = plain_batches(part, batch_size=_BATCH_SIZE, device=device)
    return np.concatenate([_features(context, batch.images) for batch in batches])


def _changed_features(context: TrainingContext) -> Features:
    """The features of some photographs of the training part, augmented."""
    recipe = context.recipe
    augmentation = Augmentation(
        source_size=recipe.data.source_size, **recipe.augmentation.photograph_changes()
    )
    batches = epoch_batches(
        context.train_part,
        augmentation,
        batch_size=_BATCH_SIZE,
        seed=recipe.seed,
        device=context.fabric.device,
    )
    features = []
    for batch in batches:
        features.append(_features(context, batch.images))
        if len(features) == _CHANGED_BATCHES:
            break
    return np.concatenate(features)


def _negative_features(
    context: TrainingContext, negatives: Sequence[Negative]
) -> tuple[Features, list[str]]:
    """The features and kinds of the negatives that can be read."""
    size = context.recipe.data.source_size
    device = context.fabric.device
    features = []
    kinds: list[str] = []
    for start in range(0, len(negatives), _BATCH_SIZE):
        read = list(_read(negatives[start : start + _BATCH_SIZE], size, context.echo))
        if not read:
            continue
        sources = torch.from_numpy(np.stack([pixels for pixels, _ in read])).to(device)
        features.append(_features(context, sources_to_images(sources)))
        kinds += [kind for _, kind in read]

    if not features:
        return np.zeros((0, 0), np.float32), kinds
    return np.concatenate(features), kinds


def _read(
    negatives: Sequence[Negative], size: int, echo: Callable[[str], None]
) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """The sources and kinds of pictures; one that cannot be read is reported and left out."""
    for negative in negatives:
        try:
            yield read_source(negative.photo, size).pixels, negative.kind
        except PhotoError as error:
            echo(f"left out: {error}")
