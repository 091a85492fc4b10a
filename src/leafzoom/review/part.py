"""Which labelled photographs are reviewed, and whether the model was trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.evaluated_part import evaluation_image_names, split_of_model
from leafzoom.dataset.split import Split, read_split
from leafzoom.errors import DataError
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.paths import run_folder

__all__ = ["UNSEEN", "ReviewedPart", "reviewed_part"]

UNSEEN = "unseen"
"""The default part: what the model validated on, or everything where that is not known or few."""

_ALL = "all"
_VALIDATION = "inner-validation"
_MIN_PHOTOGRAPHS = 20


@dataclass(frozen=True)
class ReviewedPart:
    """The rows [n] of a cache that are reviewed.

    `name`: of the part. `is_unseen`: whether the model is known to be trained on none of them, and
    has all their labels. `trained_on`: how many it was trained on; None where that is not known.
    """

    name: str
    rows: NDArray[np.int64]
    is_unseen: bool
    trained_on: int | None

    @property
    def description(self) -> str:
        """What was ranked and by what, in sentences."""
        count = len(self.rows)
        if self.is_unseen:
            return (
                f"{count} photographs were ranked ({self.name}); the model was trained on none of "
                "them. Its classifiers were fitted again in five folds, and each photograph is "
                "judged by a fit that has not seen it."
            )

        seen = "It is not known whether the model was trained on them."
        if self.trained_on == 0:
            seen = "The model was trained on none of them, but on other labels."
        elif self.trained_on:
            seen = (
                f"The model was trained on {self.trained_on} of them with the labels that they "
                "have, so its descriptors may hide wrong ones."
            )
        return (
            f"{count} photographs were ranked ({self.name}). {seen} A linear classifier on the "
            "model's descriptors was fitted in five folds, and each photograph is judged by a fit "
            "that has not seen it."
        )


def reviewed_part(model: str, manifest: Manifest, cache: Cache, split_name: str) -> ReviewedPart:
    """The rows of a part.

    The default part has no photographs of the test part, unless it has all: labels that are changed
    where a model contradicts them flatter that model.

    Args:
        model: as named on the command line.
        manifest: of the model.
        cache: of the data set.
        split_name: `unseen`, or a part or file as of `evaluate`.

    Raises:
        UsageError, DataError: as `evaluation_image_names`; or too few photographs.
    """
    run = run_folder(model)
    stored = read_split(run / "split.json") if run else None
    digest = manifest.data.get("split_digest")
    split = split_of_model(cache, stored, digest)

    name = split_name
    if split_name == UNSEEN:
        is_enough = split is not None and len(split.validation) >= _MIN_PHOTOGRAPHS
        name = _VALIDATION if is_enough else _ALL
    image_names = evaluation_image_names(cache, name, stored, digest)
    if len(image_names) < _MIN_PHOTOGRAPHS:
        is_enough = len(cache.table.image_names) >= _MIN_PHOTOGRAPHS
        advice = "choose another part with --split" if is_enough else "label more photographs first"
        raise DataError(
            f"{cache.table.csv} has {len(image_names)} photographs in {name}, and a ranking needs "
            f"{_MIN_PHOTOGRAPHS}: {advice}"
        )

    row_of = {image_name: row for row, image_name in enumerate(cache.table.image_names)}
    rows = np.array([row_of[image_name] for image_name in image_names], np.int64)
    trained_on = None if split is None else _trained_on(manifest, split, image_names)
    has_labels = cache.table.label_set().names == manifest.labels.names
    return ReviewedPart(name, rows, trained_on == 0 and has_labels, trained_on)


def _trained_on(manifest: Manifest, split: Split, image_names: Sequence[str]) -> int:
    """How many photographs a model was trained on, however their accents are written."""
    # Few photographs are all learned from, those of the validation part too.
    learned = split.train
    if manifest.data.get("cross_validated"):
        learned += split.validation
    names = {normalize("NFC", image_name) for image_name in learned}
    return sum(normalize("NFC", image_name) in names for image_name in image_names)
