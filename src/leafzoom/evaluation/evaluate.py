"""Score every head of a model on labelled photographs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leafzoom.dataset.cache import Cache
from leafzoom.errors import DataError, UsageError
from leafzoom.inference.network import Network, NetworkArrays
from leafzoom.inference.verdict import SelectivePrediction, Verdict, selective_predictions
from leafzoom.labels import decide, plain_answers
from leafzoom.metrics import HeadMetrics, score
from leafzoom.model_file.manifest import Manifest
from leafzoom.photo import read_source
from leafzoom.source_size import SourceSize

__all__ = ["Evaluation", "VerdictCount", "evaluate", "verdict_counts"]

_BATCH_SIZE = 16


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A network's predictions for N photographs, and its scores.

    `head`: the one that the report is about. `probabilities`: {head: [N, L]}. `boxes`: [N, 4] for
    each scale, x0, y0, x1, y1 in photo pixels. `answers` and `heads`, their scores: each label by
    itself at threshold 0.5, as in the paper's tables, or the most probable class of single labels
    (`plain_answers`). `answers_fitted` and `heads_fitted`: with the
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
    network: Network,
    cache: Cache,
    image_names: tuple[str, ...],
    heads: tuple[str, ...] = (),
    sizes: SourceSize | None = None,
) -> Evaluation:
    """Score heads on photographs of a cache.

    Args:
        network: with the model's manifest.
        cache: with the photographs' sources.
        image_names: of the photographs.
        heads: the heads to score; by default all. The last one is the report's head.
        sizes: of the sources that are cut from the photographs; by default the cache's.

    Raises:
        UsageError: a head that the model does not have.
        DataError: the photographs have labels that the model does not have, or the cache is of
            another size; the model knows one class a photograph, and a photograph has another
            number of labels.
    """
    # Photographs that do not fit the model are refused before the network runs.
    manifest = network.manifest
    heads = tuple(dict.fromkeys(heads))
    _check_source_size(cache, manifest)
    table = cache.table.take(image_names)
    targets = table.targets(manifest.labels)
    if manifest.labels.single_label:
        table.require_one_label()

    # The network runs once; all scores are computed from these outputs.
    outputs = _run_network(network, cache, image_names, heads, sizes)
    probabilities = outputs.probabilities

    # Without a fitted decision, and with the decision of `predict`.
    answers = {
        head: plain_answers(values, manifest.labels) for head, values in probabilities.items()
    }
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
    network: Network,
    cache: Cache,
    image_names: Sequence[str],
    heads: Sequence[str],
    sizes: SourceSize | None,
) -> _Outputs:
    """Run the network over photographs of the cache, batch by batch."""
    # The photographs' rows in the cache.
    manifest = network.manifest
    row_by_name = {name: row for row, name in enumerate(cache.table.image_names)}
    rows = np.array([row_by_name[name] for name in image_names], np.int64)

    # The outputs of all batches, in the order of the batches.
    positions: list[NDArray[np.int64]] = []
    probabilities: dict[str, list[NDArray[np.float32]]] = {}
    boxes: list[list[NDArray[np.float64]]] = [[] for _ in range(manifest.scales)]
    predictions: list[SelectivePrediction] = []
    with tqdm(total=len(rows), desc="evaluating", unit="photo", disable=None) as progress:
        for batch in _batches(cache, rows, sizes or SourceSize(*cache.sources.shape[1:3])):
            arrays = network(batch.sources)
            positions.append(batch.positions)

            for head in _scored_heads(arrays, heads):
                probabilities.setdefault(head, []).append(arrays.probabilities[head])

            # From pixels of the source to pixels of the photo.
            photo_sizes = cache.photo_sizes[rows[batch.positions]]
            pixel_sizes = np.tile(photo_sizes / batch.sources.shape[1], 2)
            for scale, source_boxes in enumerate(arrays.boxes):
                boxes[scale].append(source_boxes * pixel_sizes)

            predictions += selective_predictions(arrays, manifest)
            progress.update(len(batch.positions))

    # In the order of the photographs.
    order = np.argsort(np.concatenate(positions))
    return _Outputs(
        probabilities={head: np.concatenate(parts)[order] for head, parts in probabilities.items()},
        boxes=tuple(np.concatenate(parts)[order] for parts in boxes),
        selective_predictions=tuple(predictions[position] for position in order),
    )


@dataclass(frozen=True)
class _Batch:
    """Some of N photographs: their positions among them, and their sources [n, S, S, 3]."""

    positions: NDArray[np.int64]
    sources: NDArray[np.uint8]


def _batches(cache: Cache, rows: NDArray[np.int64], sizes: SourceSize) -> Iterator[_Batch]:
    """The photographs in rows of a cache, in batches with sources of one size.

    Sources of the cache's size come from the cache, others from the photographs' files.
    """
    photo_sizes = [(int(width), int(height)) for width, height in cache.photo_sizes[rows]]
    side_of = np.array([sizes.of(photo_size) for photo_size in photo_sizes], np.int64)
    with ThreadPoolExecutor(thread_name_prefix="leafzoom-decode") as pool:
        for side in np.unique(side_of):
            own = np.flatnonzero(side_of == side)
            for start in range(0, len(own), _BATCH_SIZE):
                positions = own[start : start + _BATCH_SIZE]
                if side == cache.sources.shape[1]:
                    yield _Batch(positions, cache.sources[rows[positions]])
                    continue
                paths = [cache.table.rows[row].path for row in rows[positions]]
                sources = pool.map(partial(read_source, size=int(side)), paths)
                yield _Batch(positions, np.stack([source.pixels for source in sources]))


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
    """Every head's scores without a fitted decision."""
    names = manifest.labels.names
    single_label = manifest.labels.single_label
    return {
        head: score(targets, answers[head], values, names, single_label=single_label)
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
    single_label = manifest.labels.single_label
    for head, values in probabilities.items():
        # Single labels have no thresholds.
        fitted = manifest.decisions[head].thresholds
        thresholds = dict(zip(names, fitted, strict=not single_label))
        metrics[head] = score(
            targets, answers[head], values, names, thresholds, single_label=single_label
        )
    return metrics
