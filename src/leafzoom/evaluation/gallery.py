"""The gallery (figure 13): photographs with their boxes and zooms, and what each scale predicts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafzoom.dataset.table import Table
from leafzoom.drawing import crop_box, zoom_tiles
from leafzoom.errors import PhotoError
from leafzoom.evaluation.evaluate import Evaluation
from leafzoom.evaluation.other_pictures import OtherPictures
from leafzoom.inference.predictor import Predictor
from leafzoom.labels import LabelSet, answer_confidence, combination_probabilities
from leafzoom.photo import read_photo

__all__ = [
    "EvidenceRow",
    "GalleryGroup",
    "GalleryItem",
    "MisdiagnosisItem",
    "choose_photographs",
    "data_uri",
    "gallery_groups",
    "gallery_item",
    "misdiagnosis_items",
]

GroupName = Literal["right", "wrong", "uncertain", "suspect"]

_TITLES: dict[GroupName, str] = {
    "right": "Right",
    "wrong": "Wrong",
    "uncertain": "Most uncertain",
    "suspect": "Suspect labels",
}
_NOTES: dict[GroupName, str] = {
    "right": "Of every combination of labels in turn, drawn at random.",
    "wrong": "Drawn at random from all wrong answers.",
    "uncertain": "The answers with the least confidence.",
    "suspect": (
        "Answers nine tenths sure of something else than the given label, the surest first. "
        "Either the model is wrong and sure of it, or the label deserves a second look."
    ),
}
_ITEMS_PER_GROUP = 8
_MIN_SUSPECT_CONFIDENCE = 0.9
_MIN_LISTED_PROBABILITY = 1 / 3

_TILE_HEIGHT_PX = 200
_BOX_LINE_PX = 3
_MISDIAGNOSIS_PX = 240
_JPEG_QUALITY = 82

Probability = tuple[str, float]
"""A label and its probability."""


@dataclass(frozen=True)
class GalleryItem:
    """One photograph of the gallery.

    `confidence`: of the predicted labels. `images`: data URIs, the photograph with its boxes, then
    every zoom. `evidence`: rows of data URIs, a label of the answer each: what speaks for it in the
    same views; empty without evidence. `scale_labels`: for each scale the labels with a probability
    of a third or more (at least one), the most probable first.
    """

    image_name: str
    target_labels: tuple[str, ...]
    predicted_labels: tuple[str, ...]
    confidence: float
    images: tuple[str, ...]
    scale_labels: tuple[tuple[Probability, ...], ...]
    evidence: tuple[EvidenceRow, ...] = ()


@dataclass(frozen=True)
class EvidenceRow:
    """What speaks for a label: data URIs of each scale's view."""

    label: str
    images: tuple[str, ...]


@dataclass(frozen=True)
class GalleryGroup:
    """Photographs that were chosen for the same reason."""

    title: str
    note: str
    photographs: tuple[GalleryItem, ...]


@dataclass(frozen=True)
class MisdiagnosisItem:
    """A picture without a leaf that got a diagnosis.

    `kind`: of the picture. `image`: a data URI. `labels`, `confidence`: of the diagnosis.
    """

    kind: str
    image_name: str
    image: str
    labels: tuple[str, ...]
    confidence: float


def gallery_groups(
    evaluation: Evaluation, table: Table, predictor: Predictor | None = None
) -> list[GalleryGroup]:
    """Choose photographs by the answers of the report's head, and draw them.

    Args:
        evaluation: of photographs of the table.
        table: with the photographs' files. Those that cannot be read any more are left out.
        predictor: of the same model; where it has evidence for this head, that is drawn too.
    """
    head = evaluation.head
    manifest = evaluation.manifest

    # Which photographs, by the probabilities of all combinations.
    posterior = combination_probabilities(
        evaluation.probabilities[head], manifest.decisions[head], manifest.labels
    )
    rows_by_group = choose_photographs(
        evaluation.targets,
        evaluation.answers_fitted[head],
        posterior,
        manifest.labels,
        _ITEMS_PER_GROUP,
    )

    # Their pictures, with the confidence of their answers.
    confidence = answer_confidence(
        evaluation.probabilities[head],
        evaluation.answers_fitted[head],
        manifest.decisions[head],
        manifest.labels,
    )
    files = {row.image_name: row.path for row in table.rows}
    has_evidence = (
        predictor is not None and predictor.network.has_evidence and head == manifest.head
    )
    groups = []
    for name, rows in rows_by_group.items():
        items = [_evaluated_item(evaluation, row, float(confidence[row]), files) for row in rows]
        readable = [item for item in items if item is not None]
        if predictor is not None and has_evidence:
            readable = [
                _with_evidence(item, files[item.image_name], predictor) for item in readable
            ]
        groups.append(GalleryGroup(_TITLES[name], _NOTES[name], tuple(readable)))
    return groups


def misdiagnosis_items(others: Sequence[OtherPictures]) -> list[MisdiagnosisItem]:
    """Draw the pictures without a leaf that got a diagnosis: the surest ones of every kind."""
    items = []
    for other in others:
        for picture in other.misdiagnoses[:_ITEMS_PER_GROUP]:
            try:
                image = read_photo(picture.photo)
            except PhotoError:
                continue

            image.thumbnail((_MISDIAGNOSIS_PX, _MISDIAGNOSIS_PX))
            items.append(
                MisdiagnosisItem(
                    kind=other.kind,
                    image_name=PurePath(str(picture.photo)).name,
                    image=data_uri(image),
                    labels=picture.labels,
                    confidence=picture.confidence,
                )
            )
    return items


def choose_photographs(
    targets: NDArray[np.integer],
    answers: NDArray[np.integer],
    posterior: NDArray[np.float64],
    labels: LabelSet,
    count: int,
) -> dict[GroupName, list[int]]:
    """Which photographs are shown.

    Args:
        targets: [N, L], 0 or 1.
        answers: [N, L], 0 or 1.
        posterior: [N, C], the probability of every combination (see `combination_probabilities`).
        labels: with the C combinations.
        count: at most so many of each group.

    Returns:
        {group: rows}. `right`: every combination in turn, drawn at random. `wrong`: drawn at
        random. `uncertain`: the least probable answers. `suspect`: answers that are sure (0.9 or
        more) of something else than the given label, the surest first: labels worth checking.
    """
    # The orders in which photographs are taken.
    shuffled = np.random.default_rng(0).permutation(len(targets))
    is_exact = (targets == answers).all(axis=1)
    confidence = posterior.max(axis=1)
    least_confident_first = np.argsort(confidence, kind="stable")
    most_confident_first = np.argsort(-confidence, kind="stable")

    # A confident answer that contradicts the label.
    is_suspect = ~is_exact & (confidence >= _MIN_SUSPECT_CONFIDENCE)

    right_rows = [int(row) for row in shuffled if is_exact[row]]
    wrong_rows = [int(row) for row in shuffled if not is_exact[row]]
    suspect_rows = [int(row) for row in most_confident_first if is_suspect[row]]
    return {
        "right": _in_turns(right_rows, targets, labels)[:count],
        "wrong": wrong_rows[:count],
        "uncertain": [int(row) for row in least_confident_first[:count]],
        "suspect": suspect_rows[:count],
    }


def gallery_item(
    photo: Path,
    image_name: str,
    *,
    target_labels: tuple[str, ...],
    predicted_labels: tuple[str, ...],
    confidence: float,
    boxes: Sequence[NDArray[np.floating]],
    probabilities: Sequence[Mapping[str, float]],
) -> GalleryItem | None:
    """Draw one photograph; None if the file cannot be read any more.

    Args:
        photo: the file.
        image_name: its name in the table.
        target_labels: as given.
        predicted_labels: the answer.
        confidence: of the answer.
        boxes: x0, y0, x1, y1 in photo pixels for each scale, the first the whole photograph.
        probabilities: of each scale, {label: probability}.
    """
    try:
        image = read_photo(photo)
    except PhotoError:
        return None

    # The first box is the whole photograph, which is not drawn.
    zoom_boxes = [box.tolist() for box in boxes[1:]]
    tiles = zoom_tiles(image, zoom_boxes, height=_TILE_HEIGHT_PX, line_px=_BOX_LINE_PX)
    return GalleryItem(
        image_name=image_name,
        target_labels=target_labels,
        predicted_labels=predicted_labels,
        confidence=confidence,
        images=tuple(data_uri(tile) for tile in tiles),
        scale_labels=tuple(_listed_labels(by_label) for by_label in probabilities),
    )


def _evaluated_item(
    evaluation: Evaluation, row: int, confidence: float, files: Mapping[str, Path]
) -> GalleryItem | None:
    """The gallery's item of a row of an evaluation."""
    labels = evaluation.manifest.labels
    image_name = evaluation.image_names[row]
    answer = evaluation.answers_fitted[evaluation.head][row]

    return gallery_item(
        files[image_name],
        image_name,
        target_labels=tuple(labels.decode(evaluation.targets[row])),
        predicted_labels=tuple(labels.decode(answer)),
        confidence=confidence,
        boxes=[boxes[row] for boxes in evaluation.boxes],
        probabilities=_scale_probabilities(evaluation, row),
    )


def _with_evidence(item: GalleryItem, file: Path, predictor: Predictor) -> GalleryItem:
    """An item with what speaks for the labels of its answer."""
    prediction = predictor.predict(file, maps=True)
    image = read_photo(file)
    views = [crop_box(image, scale.box, _TILE_HEIGHT_PX) for scale in prediction.scales]

    evidence = prediction.evidence
    assert evidence is not None
    rows = []
    for label in item.predicted_labels:
        tinted = [evidence.overlay(view, label, scale) for scale, view in enumerate(views, start=1)]
        rows.append(EvidenceRow(label, tuple(data_uri(tile) for tile in tinted)))
    return replace(item, evidence=tuple(rows))


def _scale_probabilities(evaluation: Evaluation, row: int) -> list[dict[str, float]]:
    """Every look's {label: probability}; empty ones unless all looks were scored."""
    # Only some of the heads may have been asked for.
    heads = evaluation.manifest.look_heads
    if not set(heads) <= set(evaluation.probabilities):
        return [{} for _ in heads]

    names = evaluation.manifest.labels.names
    return [
        dict(zip(names, evaluation.probabilities[head][row].tolist(), strict=True))
        for head in heads
    ]


def _in_turns(rows: Sequence[int], targets: NDArray[np.integer], labels: LabelSet) -> list[int]:
    """Rows in another order: one of each combination of labels, then a second one of each, …"""
    # Rows whose labels are no known combination are left out.
    rows_by_combination: dict[tuple[int, ...], list[int]] = {
        combination: [] for combination in labels.combinations
    }
    for row in rows:
        combination = tuple(targets[row].tolist())
        if combination in rows_by_combination:
            rows_by_combination[combination].append(row)

    # A turn takes one row of each combination that still has one.
    ordered = []
    for turn in range(len(rows)):
        for combination_rows in rows_by_combination.values():
            ordered += combination_rows[turn : turn + 1]
    return ordered


def _listed_labels(probabilities: Mapping[str, float]) -> tuple[Probability, ...]:
    """The most probable label, and the others with a third or more."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    others = [item for item in ranked[1:] if item[1] >= _MIN_LISTED_PROBABILITY]
    return (*ranked[:1], *others)


def data_uri(image: Image.Image) -> str:
    """A picture as the address of an `img` element."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
