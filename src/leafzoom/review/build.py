"""Put a review together: suspect labels, conflicting near-duplicates, outliers, unlabelled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.audit import NearDuplicate, duplicate_groups, near_duplicates_of
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.table import Row
from leafzoom.errors import DataError, ModelError
from leafzoom.inference.prediction import words_of
from leafzoom.labels import LabelSet, decide
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model.evidence import has_evidence
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.manifest import Manifest
from leafzoom.model_file.paths import model_path
from leafzoom.review.distances import (
    entropy_share,
    far_out,
    labelling_order,
    neighbour_distances,
)
from leafzoom.review.items import Kind, Review, ReviewItem
from leafzoom.review.outputs import PhotographOutputs, outputs_of_cache, outputs_of_files
from leafzoom.review.part import ReviewedPart, reviewed_part
from leafzoom.review.probabilities import OutOfFoldLabels, find_features, fit_out_of_fold
from leafzoom.review.ranking import label_issues, label_quality
from leafzoom.storage import sha256_of

__all__ = ["ReviewRequest", "build_review", "open_review_network", "request_digest"]

_STRANGE = 1.0  # an out-of-distribution score above this is of no leaf that the model knows
_DECIMALS = 6


@dataclass(frozen=True)
class ReviewRequest:
    """What is to be reviewed.

    `model`: as named on the command line. `data`: the data folder. `split`: the part. `top`: how
    many photographs of each kind at most. `unlabelled`: photos without labels.
    """

    model: str
    data: Path
    split: str
    top: int
    unlabelled: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Ranked:
    """The n photographs that were ranked, with all that is known about them.

    `quality`: of their labels by cleanlab, [n] in 0..1. `issues`: which it counts as wrong, [n].
    `pairs`: of near-duplicates among them, as indices into the n.
    """

    rows: tuple[Row, ...]
    outputs: PhotographOutputs
    labels: LabelSet
    answers: OutOfFoldLabels
    quality: NDArray[np.float64]
    issues: NDArray[np.bool_]
    pairs: tuple[NearDuplicate, ...]

    def item(self, index: int, kind: Kind, reason: str) -> ReviewItem:
        """The item of a photograph."""
        row = self.rows[index]
        return ReviewItem(
            kinds=(kind,),
            image_name=row.image_name,
            path=str(row.path.resolve()),
            given=row.labels,
            suggested=tuple(self.labels.decode(self.answers.answers[index])),
            probabilities=_by_label(self.labels, self.answers.probabilities[index]),
            score=round(float(1 - self.quality[index]), _DECIMALS),
            boxes=self.outputs.boxes[index],
            photo_size=self.outputs.photo_sizes[index],
            reason=reason,
        )


def open_review_network(model: str) -> tuple[FusedNetwork, Manifest]:
    """The network of a model in PyTorch, whose descriptors a review needs.

    Raises:
        ModelError: there is no such model, or its file does not hold the network's own weights.
        MissingExtraError: the extra `train` is not installed.
    """
    path = model_path(model, prefer="torch")
    try:
        checkpoint = load_checkpoint(path)
        return network_from_checkpoint(checkpoint), checkpoint.manifest
    except ModelError as error:
        raise ModelError(
            f"{error}. A review needs the network's own weights: a run, a checkpoint, or an .onnx "
            "file that is not of eight-bit integers"
        ) from error


def request_digest(request: ReviewRequest, cache: Cache) -> str:
    """A hash of all that a review depends on; the same review need not be made again."""
    lines = [
        "1",
        sha256_of(model_path(request.model, prefer="torch")),
        cache.digest,
        cache.table.digest(),
        request.split,
        str(request.top),
    ]
    for path in request.unlabelled:
        state = path.stat()
        lines.append(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode(errors="backslashreplace")).hexdigest()


def build_review(
    request: ReviewRequest, cache: Cache, echo: Callable[[str], None] = lambda line: None
) -> Review:
    """Rank the photographs of a part, and choose those that are worth a look.

    Args:
        request: what is to be reviewed.
        cache: of the data folder, of the model's source size.
        echo: gets a line for each photo that cannot be read, and one on what cleanlab counts.

    Raises:
        UsageError, DataError: as `reviewed_part`; or the photographs all have the same labels.
        ModelError: as `open_review_network`.
        MissingExtraError: the extra `clean` is not installed.
    """
    network, manifest = open_review_network(request.model)
    part = reviewed_part(request.model, manifest, cache, request.split)
    ranked = _rank(network, manifest, cache, part)
    issues = int(ranked.issues.sum())
    echo(f"cleanlab counts the labels of {issues} of {len(part.rows)} photographs as issues")

    items = [*_conflicts(ranked), *_suspects(ranked, request.top), *_outliers(ranked, request.top)]
    if request.unlabelled:
        items += _unlabelled(network, manifest, ranked, request, echo)
    return Review(
        model=request.model,
        model_name=manifest.name,
        data=str(request.data.resolve()),
        csv=str(cache.table.csv.resolve()),
        labels=ranked.labels.names,
        ranked=part.description,
        photographs=len(part.rows),
        source_size=manifest.source_size,
        has_evidence=has_evidence(network) and ranked.labels.names == manifest.labels.names,
        made_of=request_digest(request, cache),
        items=tuple(_merged(items)),
    )


def _rank(network: FusedNetwork, manifest: Manifest, cache: Cache, part: ReviewedPart) -> _Ranked:
    """Everything that is known about the photographs of a part."""
    table = cache.table.take([cache.table.image_names[row] for row in part.rows])
    labels = _label_set(cache, manifest, part)
    targets = table.targets(labels)
    if len(np.unique(targets, axis=0)) < 2:
        raise DataError(
            f"all {len(targets)} photographs in {part.name} have the same labels, so there is "
            "nothing to compare them with: choose another part with --split"
        )

    position = {int(row): index for index, row in enumerate(part.rows)}
    pairs = [
        replace(pair, first=position[pair.first], second=position[pair.second])
        for pair in near_duplicates_of(cache)
        if pair.first in position and pair.second in position
    ]
    outputs = outputs_of_cache(network, cache, part.rows)
    attention = network.attention_network
    descriptors = outputs.descriptors
    known = attention if part.is_unseen else None
    features = find_features(descriptors, scales=attention.scales, unseen_by=known)
    groups = duplicate_groups(len(targets), pairs)
    answers = fit_out_of_fold(features, descriptors, targets, labels, groups)
    return _Ranked(
        rows=table.rows,
        outputs=outputs,
        labels=labels,
        answers=answers,
        quality=label_quality(targets, answers.ranked_probabilities),
        issues=label_issues(targets, answers.ranked_probabilities),
        pairs=tuple(pairs),
    )


def _label_set(cache: Cache, manifest: Manifest, part: ReviewedPart) -> LabelSet:
    """The table's labels; classes that exclude each other where the model knows them so."""
    labels = cache.table.label_set()
    if part.is_unseen and manifest.labels.single_label:
        cache.table.require_one_label()
        return LabelSet.of_classes(labels.names)
    return labels


def _conflicts(ranked: _Ranked) -> list[ReviewItem]:
    """Both photographs of each pair of near-duplicates with different labels."""
    items = []
    for pair in ranked.pairs:
        for index, twin_index in ((pair.first, pair.second), (pair.second, pair.first)):
            given = ranked.rows[index].labels
            twin = ranked.rows[twin_index]
            if set(given) == set(twin.labels):
                continue
            reason = (
                f"Shows the same picture as {twin.image_name}, which is labelled "
                f"{words_of(twin.labels)}."
            )
            item = ranked.item(index, "duplicate", reason)
            twin_path = str(twin.path.resolve())
            items.append(
                replace(item, twin=twin.image_name, twin_path=twin_path, twin_labels=twin.labels)
            )
    return items


def _suspects(ranked: _Ranked, top: int) -> list[ReviewItem]:
    """The photographs with the labels of the lowest quality."""
    items = []
    order = np.argsort(ranked.quality, kind="stable")[:top]
    for place, index in enumerate(order, start=1):
        counted = "an issue" if ranked.issues[index] else "suspect, but no issue"
        reason = f"Number {place} of {len(ranked.rows)} by cleanlab, which counts it as {counted}."
        items.append(ranked.item(int(index), "label", reason))
    return items


def _outliers(ranked: _Ranked, top: int) -> list[ReviewItem]:
    """The photographs that are far from all others, or like no leaf that the model knows."""
    distances = neighbour_distances(ranked.outputs.descriptors)
    stands_out = far_out(distances)
    scores = ranked.outputs.ood_score
    strange = np.zeros(len(distances), bool) if scores is None else scores > _STRANGE

    chosen = [index for index in np.argsort(-distances) if stands_out[index] or strange[index]]
    items = []
    for index in chosen[:top]:
        reason = f"Far from the other photographs (distance {distances[index]:.2f})."
        if strange[index]:
            reason += " The model does not take it for a sharp picture of an apple leaf."
        items.append(ranked.item(int(index), "outlier", reason))
    return items


def _unlabelled(
    network: FusedNetwork,
    manifest: Manifest,
    ranked: _Ranked,
    request: ReviewRequest,
    echo: Callable[[str], None],
) -> list[ReviewItem]:
    """The photos without labels that are most worth some, the first one first."""
    photographs = outputs_of_files(network, request.unlabelled, manifest.source_size)
    for problem in photographs.problems:
        echo(f"leafzoom: {problem}")
    outputs = photographs.outputs
    if not len(outputs):
        return []

    probabilities = ranked.answers.probabilities_of(outputs.descriptors)
    uncertainty = entropy_share(probabilities)
    order = labelling_order(
        outputs.descriptors, uncertainty, ranked.outputs.descriptors, request.top
    )
    suggested = decide(probabilities, ranked.answers.decision, ranked.labels)
    items = []
    for place, index in enumerate(order, start=1):
        items.append(
            ReviewItem(
                kinds=("unlabelled",),
                image_name=_name_in(request.data, photographs.paths[index]),
                path=str(photographs.paths[index].resolve()),
                given=(),
                suggested=tuple(ranked.labels.decode(suggested[index])),
                probabilities=_by_label(ranked.labels, probabilities[index]),
                score=round(float(uncertainty[index]), _DECIMALS),
                boxes=outputs.boxes[index],
                photo_size=outputs.photo_sizes[index],
                reason=f"Number {place} of {len(outputs)} to label, by uncertainty and diversity.",
            )
        )
    return items


def _name_in(data: Path, path: Path) -> str:
    """A photo's name relative to the data folder; its whole path outside of it."""
    resolved = path.resolve()
    root = data.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(resolved)


def _by_label(labels: LabelSet, probabilities: NDArray[np.float64]) -> dict[str, float]:
    """{label: its probability, rounded}."""
    rounded = [round(float(value), _DECIMALS) for value in probabilities.clip(0, 1)]
    return dict(zip(labels.names, rounded, strict=True))


def _merged(items: Sequence[ReviewItem]) -> list[ReviewItem]:
    """One item a photograph, with all its kinds and reasons, at the place of the first one."""
    by_name: dict[str, ReviewItem] = {}
    for item in items:
        known = by_name.get(item.image_name)
        if known is None:
            by_name[item.image_name] = item
            continue

        kinds = tuple(dict.fromkeys([*known.kinds, *item.kinds]))
        reasons = dict.fromkeys([*known.reason.split("\n"), item.reason])
        by_name[item.image_name] = replace(known, kinds=kinds, reason="\n".join(reasons))
    return list(by_name.values())
