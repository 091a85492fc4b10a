"""Score every head of a model on labelled photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leafzoom.dataset.cache import Cache
from leafzoom.errors import DataError, UsageError
from leafzoom.inference.network import Network, NetworkArrays
from leafzoom.inference.verdict import SelectivePrediction, Verdict, selective_predictions
from leafzoom.labels import decide
from leafzoom.metrics import HeadMetrics, score
from leafzoom.model_file.manifest import Manifest

__all__ = ["Evaluation", "VerdictCount", "evaluate", "verdict_counts"]

_BATCH_SIZE = 16
_PLAIN_THRESHOLD = 0.5  # of every label, as in the paper's tables


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A network's predictions for N photographs, and its scores.

    `head`: the one that the report is about. `probabilities`: {head: [N, L]}. `boxes`: [N, 4] for
    each scale, x0, y0, x1, y1 in photo pixels. `answers` and `heads`, their scores: each label by
    itself at threshold 0.5, as in the paper's tables. `answers_fitted` and `heads_fitted`: with the
    decision of `predict`. `selective_predictions`: its verdicts, one a photograph.
    """

    manifest: Manifest
    head: str
    image_names: tuple[str, ...]
    targets: NDArray[np.uint8]
    probabilities: dict[str, NDArray[np.float32]]
    boxes: tuple[NDArray[np.float64], ...]
    answers: dict[str, NDArray[np.bool_]]
    answers_fitted: dict[str, NDArray[np.uint8]]
    heads: dict[str, HeadMetrics]
    heads_fitted: dict[str, HeadMetrics]
    selective_predictions: tuple[SelectivePrediction, ...]


@dataclass(frozen=True)
class VerdictCount:
    """The photographs with one verdict: how many, and the exact match of their best answers.

    `exact_match`: None without photographs.
    """

    photographs: int
    exact_match: float | None


@dataclass(frozen=True)
class _Outputs:
    """A network's outputs for N photographs; see `Evaluation`."""

    probabilities: dict[str, NDArray[np.float32]]
    boxes: tuple[NDArray[np.float64], ...]
    selective_predictions: tuple[SelectivePrediction, ...]


def evaluate(
    network: Network, cache: Cache, image_names: tuple[str, ...], heads: tuple[str, ...] = ()
) -> Evaluation:
    """Score heads on photographs of a cache.

    Args:
        network: with the model's manifest.
        cache: with the photographs' sources.
        image_names: of the photographs.
        heads: the heads to score; by default all. The last one is the report's head.

    Raises:
        UsageError: a head that the model does not have.
        DataError: the photographs have labels that the model does not have, or the cache is of
            another size.
    """
    # Photographs that do not fit the model are refused before the network runs.
    manifest = network.manifest
    heads = tuple(dict.fromkeys(heads))
    _check_source_size(cache, manifest)
    targets = cache.table.take(image_names).targets(manifest.labels)

    # The network runs once; all scores are computed from these outputs.
    outputs = _run_network(network, cache, image_names, heads)
    probabilities = outputs.probabilities

    # Each label by itself, and the decision of `predict`.
    answers = {head: values > _PLAIN_THRESHOLD for head, values in probabilities.items()}
    answers_fitted = {
        head: decide(values, manifest.decisions[head], manifest.labels)
        for head, values in probabilities.items()
    }

    return Evaluation(
        manifest=manifest,
        head=heads[-1] if heads else manifest.head,
        image_names=image_names,
        targets=targets,
        probabilities=probabilities,
        boxes=outputs.boxes,
        answers=answers,
        answers_fitted=answers_fitted,
        heads=_plain_metrics(manifest, targets, answers, probabilities),
        heads_fitted=_fitted_metrics(manifest, targets, answers_fitted, probabilities),
        selective_predictions=outputs.selective_predictions,
    )


def verdict_counts(evaluation: Evaluation) -> dict[Verdict, VerdictCount]:
    """How many photographs get each verdict of `predict`, and how many best answers are right."""
    predictions = evaluation.selective_predictions

    # Whether the best answer is right, whatever the verdict.
    is_correct = np.zeros(len(predictions), bool)
    for row, prediction in enumerate(predictions):
        is_correct[row] = (prediction.label_vector == evaluation.targets[row]).all()

    # A verdict that no photograph got has no share of right answers.
    counts: dict[Verdict, VerdictCount] = {}
    for verdict in get_args(Verdict):
        has_verdict = np.array([prediction.verdict == verdict for prediction in predictions], bool)
        exact_match = float(is_correct[has_verdict].mean()) if has_verdict.any() else None
        counts[verdict] = VerdictCount(int(has_verdict.sum()), exact_match)
    return counts


def _check_source_size(cache: Cache, manifest: Manifest) -> None:
    """Raise a DataError unless the cache's sources have the model's size."""
    size = cache.sources.shape[1]
    if size != manifest.source_size:
        raise DataError(
            f"the cache {cache.folder} has sources of {size} px and the model reads "
            f"{manifest.source_size} px: build a cache of that size"
        )


def _run_network(
    network: Network, cache: Cache, image_names: Sequence[str], heads: Sequence[str]
) -> _Outputs:
    """Run the network over photographs of the cache, batch by batch."""
    # The photographs' rows in the cache.
    manifest = network.manifest
    row_by_name = {name: row for row, name in enumerate(cache.table.image_names)}
    rows = np.array([row_by_name[name] for name in image_names], np.int64)

    # The outputs of all batches, joined at the end.
    probabilities: dict[str, list[NDArray[np.float32]]] = {}
    boxes: list[list[NDArray[np.float64]]] = [[] for _ in range(manifest.scales)]
    predictions: list[SelectivePrediction] = []
    with tqdm(total=len(rows), desc="evaluating", unit="photo", disable=None) as progress:
        for start in range(0, len(rows), _BATCH_SIZE):
            batch_rows = rows[start : start + _BATCH_SIZE]
            arrays = network(cache.sources[batch_rows])

            for head in _scored_heads(arrays, heads):
                probabilities.setdefault(head, []).append(arrays.probabilities[head])

            # From pixels of the source to pixels of the photo.
            pixel_sizes = np.tile(cache.photo_sizes[batch_rows] / manifest.source_size, 2)
            for scale, source_boxes in enumerate(arrays.boxes):
                boxes[scale].append(source_boxes * pixel_sizes)

            predictions += selective_predictions(arrays, manifest)
            progress.update(len(batch_rows))

    return _Outputs(
        probabilities={head: np.concatenate(parts) for head, parts in probabilities.items()},
        boxes=tuple(np.concatenate(parts) for parts in boxes),
        selective_predictions=tuple(predictions),
    )


def _scored_heads(arrays: NetworkArrays, heads: Sequence[str]) -> Sequence[str]:
    """The heads to score: all of the network unless some were asked for.

    Raises:
        UsageError: a head that the model does not have.
    """
    for head in heads:
        if head not in arrays.probabilities:
            raise UsageError(f"no head {head!r}: the model has {', '.join(arrays.probabilities)}")
    return heads or tuple(arrays.probabilities)


def _plain_metrics(
    manifest: Manifest,
    targets: NDArray[np.uint8],
    answers: Mapping[str, NDArray[np.bool_]],
    probabilities: Mapping[str, NDArray[np.float32]],
) -> dict[str, HeadMetrics]:
    """Every head's scores at threshold 0.5."""
    names = manifest.labels.names
    return {
        head: score(targets, answers[head], values, names, _PLAIN_THRESHOLD)
        for head, values in probabilities.items()
    }


def _fitted_metrics(
    manifest: Manifest,
    targets: NDArray[np.uint8],
    answers: Mapping[str, NDArray[np.uint8]],
    probabilities: Mapping[str, NDArray[np.float32]],
) -> dict[str, HeadMetrics]:
    """Every head's scores with the decision of `predict`."""
    names = manifest.labels.names
    metrics = {}
    for head, values in probabilities.items():
        thresholds = dict(zip(names, manifest.decisions[head].thresholds, strict=True))
        metrics[head] = score(targets, answers[head], values, names, thresholds)
    return metrics
