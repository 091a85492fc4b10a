"""What models answer to photographs that they were not trained on, each by its own decision.

A checkpoint of a plain backbone is one look at the whole photograph. Of a whole RA-CNN the last
fusion counts. It was fitted on `inner-validation`, so it is fitted again out of fold there. The
decisions are out of fold too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache
from leafzoom.errors import ModelError
from leafzoom.fitting.out_of_fold import out_of_fold_answers
from leafzoom.labels import LabelSet
from leafzoom.model.build import build_racnn
from leafzoom.model.mirrors import tta_mean
from leafzoom.model.pretrained import initial_checkpoint, pretrained_backbone
from leafzoom.model_file.checkpoint import Checkpoint
from leafzoom.recipe import recipe_from_dict
from leafzoom.storage import make_folder, sha256_of
from tools.out_of_fold import fused_logits_out_of_fold

__all__ = [
    "LabelledAnswers",
    "UnseenAnswers",
    "answers_of_logits",
    "combination_indices",
    "unseen_logits",
]

_BATCH_SIZE = 32
_PLAIN_PART = "backbone"


@dataclass(frozen=True)
class UnseenAnswers:
    """A model's answers to n photographs that nothing of it was fitted on.

    `posterior`: the probabilities of the C combinations, [n, C]. `marginals`: those of the L
    labels, [n, L]. `answers`: the index of the most probable combination, [n].
    """

    posterior: NDArray[np.float64]
    marginals: NDArray[np.float64]
    answers: NDArray[np.intp]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probabilities [n] of the answers."""
        return np.asarray(self.posterior.max(axis=1))


@dataclass(frozen=True)
class LabelledAnswers:
    """Given labels of n photographs, and what models answer that have not seen them.

    `targets`: [n, L]. `labels`: with C combinations. `answers`: {model: its answers}.
    """

    targets: NDArray[np.uint8]
    labels: LabelSet
    answers: dict[str, UnseenAnswers]

    @property
    def given(self) -> NDArray[np.intp]:
        """The given combinations [n], as indices."""
        return combination_indices(self.targets, self.labels)

    @property
    def posteriors(self) -> NDArray[np.float64]:
        """The models' probabilities of all combinations, [M, n, C]."""
        return np.stack([answer.posterior for answer in self.answers.values()])


def combination_indices(targets: NDArray[np.uint8], labels: LabelSet) -> NDArray[np.intp]:
    """The index of each photograph's combination, [n], from targets [n, L]."""
    combinations = np.array(labels.combinations, np.uint8)
    matches = (targets[:, None, :] == combinations[None]).all(axis=2)
    return np.asarray(matches.argmax(axis=1))


def answers_of_logits(
    logits: NDArray[np.float64], targets: NDArray[np.uint8], labels: LabelSet
) -> UnseenAnswers:
    """Answer photographs with decisions fitted on the others.

    The answer is the most probable combination, as exact match wants it. `predict` also gives
    worth to answers that are partly right.

    Args:
        logits: [n, L].
        targets: [n, L], as labelled.
        labels: with the C combinations.
    """
    posterior = out_of_fold_answers(logits, targets, labels).probabilities
    combinations = np.array(labels.combinations, np.float64)
    return UnseenAnswers(posterior, posterior @ combinations, posterior.argmax(axis=1))


def unseen_logits(
    model: str, cache: Cache, rows: NDArray[np.int64], keep: Path | None
) -> NDArray[np.float64]:
    """A model's logits [n, L], computed or read from the folder where they are kept.

    Args:
        model: `bundled`, or a checkpoint.
        cache: of the data set.
        rows: of `inner-validation` in it.
        keep: None: nothing is kept.

    Raises:
        ModelError: the model has other labels, or no fusion that can be fitted out of fold.
    """
    checkpoint = initial_checkpoint(model)
    labels = cache.table.label_set()
    if checkpoint.manifest.labels.names != labels.names:
        known = ", ".join(checkpoint.manifest.labels.names)
        raise ModelError(f"{checkpoint.path} has the labels {known}: name a model of this data set")

    # The file's name holds what the logits depend on.
    of_rows = hashlib.sha256(rows.tobytes()).hexdigest()[:12]
    digest = f"{sha256_of(checkpoint.path)[:12]}-{cache.digest[:12]}-{of_rows}"
    file = keep / f"{Path(model).stem}-{digest}.npy" if keep else None
    if file and file.is_file():
        return np.asarray(np.load(file, allow_pickle=False), np.float64)

    if checkpoint.parts == {_PLAIN_PART}:
        logits = _plain_logits(checkpoint, cache, rows)
    else:
        fused = fused_logits_out_of_fold(checkpoint.path, cache, rows)
        if fused is None:
            raise ModelError(f"{checkpoint.path} has no fusion that was fitted: name another model")
        logits = fused
    if file:
        make_folder(file.parent)
        np.save(file, logits, allow_pickle=False)
    return logits


@torch.inference_mode()
def _plain_logits(
    checkpoint: Checkpoint, cache: Cache, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The logits [n, L] of a plain backbone, the mean over mirror images as in a prediction."""
    recipe = recipe_from_dict(checkpoint.manifest.recipe, str(checkpoint.path))
    labels = checkpoint.manifest.labels.names
    racnn = build_racnn(recipe, len(labels))
    racnn.backbones[0] = pretrained_backbone(recipe, labels, checkpoint)
    racnn.eval().to(memory_format=torch.channels_last)

    parts = []
    mirrors = recipe.prediction.tta
    for start in range(0, len(rows), _BATCH_SIZE):
        sources = torch.from_numpy(np.array(cache.sources[rows[start : start + _BATCH_SIZE]]))
        state = racnn.start(racnn.normalise_pixels(sources), mirrors)
        parts.append(tta_mean(state.logits, mirrors).double().numpy())
    return np.concatenate(parts)
