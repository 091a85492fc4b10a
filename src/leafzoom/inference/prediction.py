"""The result for one photo: a prediction, or the reason why the photo cannot be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafzoom.drawing import captioned_sheet, crop_box, save_jpeg, save_png, stacked, zoom_tiles
from leafzoom.errors import PhotoError, UsageError
from leafzoom.exif import NO_EXIF, Exif
from leafzoom.inference.evidence import Evidence
from leafzoom.inference.prediction_sets import PossibleAnswers
from leafzoom.inference.verdict import Verdict
from leafzoom.photo import Photo, read_photo
from leafzoom.storage import replacing

__all__ = [
    "FailedPhoto",
    "Prediction",
    "ScalePrediction",
    "photo_box",
    "result_from_dict",
    "without_place",
    "words_of",
]

_PICTURE_WRITERS = {
    **dict.fromkeys(("", ".png"), save_png),
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), save_jpeg),
}

_TILE_HEIGHT_PX = 420
_LINE_PX = 4
_CAPTION_LABELS = 2


@dataclass(frozen=True)
class ScalePrediction:
    """The prediction of one scale, or of one part of an MA-CNN.

    Attributes:
        scale: its number, 1 for the whole photo.
        box: what it looks at, (x0, y0, x1, y1) in pixels of the upright photo.
        probabilities: {label: 0..1}.
        part: the part's number, from 1; None for the whole photo and for a zoom.
    """

    scale: int
    box: tuple[float, float, float, float]
    probabilities: dict[str, float]
    part: int | None = None

    @property
    def name(self) -> str:
        """`scale 2` or `part 1`."""
        return f"scale {self.scale}" if self.part is None else f"part {self.part}"

    def caption(self) -> list[str]:
        """A line for each of the two most probable labels."""
        ranked = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return [
            f"{label.replace('_', ' ')} {probability:.0%}"
            for label, probability in ranked[:_CAPTION_LABELS]
        ]

    def to_dict(self) -> dict[str, Any]:
        """The prediction as a JSON object; `part` is only there for a part."""
        content = {
            "scale": self.scale,
            "box": list(self.box),
            "probabilities": self.probabilities,
        }
        return content if self.part is None else {**content, "part": self.part}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ScalePrediction:
        """The inverse of `to_dict`.

        Raises:
            KeyError, ValueError: a key is missing, or the box has not four edges.
        """
        x0, y0, x1, y1 = content["box"]
        box = (x0, y0, x1, y1)
        return cls(content["scale"], box, content["probabilities"], content.get("part"))


@dataclass(frozen=True)
class Prediction:
    """The diagnosis of one photo.

    Attributes:
        photo: its name.
        labels: those that hold; empty unless the verdict is `diagnosis`.
        probabilities: {label: 0..1} of the fused head, or of scale 1 after an early exit.
        scales: the predictions of the single scales, the whole photo first.
        verdict: `diagnosis`, `unsure` or `not_a_leaf`; see `selective_predictions`.
        likely: the best answer, whatever the verdict.
        confidence: the calibrated probability of `likely` among all combinations of labels that
            occur.
        ood_score: the out-of-distribution score, above 1 for a picture unlike the leaves that the
            model was trained on; None from a model without a detector. Files call it `strangeness`.
        model: the model's name.
        possible: the combinations of labels among which the true one is with the coverage that was
            asked for, the likeliest first; with `likely` always among them, and none if the picture
            is no leaf. None without a coverage.
        evidence: what speaks for each label, and where; None unless maps were asked for.
        exif: when, where and with what the photo was taken.
        original: the photo that `plot` draws; left out of files and comparisons.
    """

    photo: str
    labels: tuple[str, ...]
    probabilities: dict[str, float]
    scales: tuple[ScalePrediction, ...]
    verdict: Verdict
    likely: tuple[str, ...]
    confidence: float
    ood_score: float | None
    model: str
    possible: PossibleAnswers | None = None
    evidence: Evidence | None = field(default=None, compare=False)
    exif: Exif = NO_EXIF
    original: Photo | None = field(default=None, repr=False, compare=False)

    @property
    def strangeness(self) -> float | None:
        """The former name of `ood_score`, kept for one version."""
        return self.ood_score

    @property
    def summary(self) -> str:
        """The verdict in a few words."""
        likely = words_of(self.likely)
        if self.verdict == "not_a_leaf":
            return "not a sharp picture of an apple leaf, as far as this model can tell"
        if self.verdict == "unsure":
            return f"unsure; perhaps {likely} ({self.confidence:.0%})"
        return f"{likely} ({self.confidence:.0%} sure)"

    def plot(self) -> Image.Image:
        """A picture, RGB: the photo with the boxes of the zooms, then each zoom.

        The summary stands above, each scale's most probable labels below. With evidence, there is
        another row of the same views for each likely label: what speaks for it.

        Raises:
            PhotoError: the prediction has no photo, or the photo's file cannot be read any more.
        """
        if self.original is None:
            raise PhotoError(
                f"{self.photo}: this prediction was made without its photo, so it cannot be drawn"
            )

        # Scale 1 sees the whole photo, so only the later scales have a box to draw.
        image = read_photo(self.original)
        boxes = [scale.box for scale in self.scales[1:]]
        closest_box = None if self.evidence is None else self.evidence.closest_box
        if closest_box is not None:
            boxes.append(closest_box)
        tiles = zoom_tiles(image, boxes, height=_TILE_HEIGHT_PX, line_px=_LINE_PX)
        captions = [scale.caption() for scale in self.scales]
        if closest_box is not None:
            captions.append(["the closest look"])
        sheet = captioned_sheet(self.summary, tiles, captions)
        if self.evidence is None:
            return sheet

        views = [crop_box(image, scale.box, _TILE_HEIGHT_PX) for scale in self.scales]
        return stacked([sheet, *(self._evidence_row(label, views) for label in self.likely)])

    def _evidence_row(self, label: str, views: Sequence[Image.Image]) -> Image.Image:
        """A row of the views, with what speaks for a label tinted."""
        evidence = self.evidence
        assert evidence is not None
        tiles = []
        captions = []
        for scale, view in zip(self.scales, views, strict=True):
            tiles.append(evidence.overlay(view, label, scale.scale))
            share = evidence.share(label, scale.scale)
            words = f"adds {share:.1f} to" if share >= 0 else f"takes {-share:.1f} from"
            captions.append([f"{words} its score (log-odds)"])
        title = f"What speaks for {words_of([label])}: the brightest places most"
        return captioned_sheet(title, tiles, captions)

    def save(self, path: str | Path) -> None:
        """Write what `plot` shows, as a JPEG where the path ends in .jpg or .jpeg, else as a PNG.

        Raises:
            PhotoError: as `plot`.
            UsageError: the path ends like a file of another format.
            LeafzoomError: the file cannot be written.
        """
        path = Path(path)
        write = _PICTURE_WRITERS.get(path.suffix.lower())
        if write is None:
            raise UsageError(f"a diagnosis is saved as .png or .jpg, not as {path.name}")

        picture = self.plot()
        with replacing(path) as temporary:
            write(picture, temporary)

    def _repr_png_(self) -> bytes | None:
        """What `plot` shows, for notebooks; None where the photo is not there to be drawn."""
        content = BytesIO()
        try:
            save_png(self.plot(), content)
        except PhotoError:
            return None
        return content.getvalue()

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --format json`; `possible`, `evidence`, EXIF where there are."""
        content: dict[str, Any] = {
            "photo": self.photo,
            "labels": list(self.labels),
            "probabilities": self.probabilities,
            "scales": [scale.to_dict() for scale in self.scales],
            "verdict": self.verdict,
            "likely": list(self.likely),
            "confidence": self.confidence,
            "strangeness": self.ood_score,
            "model": self.model,
        }
        if self.possible is not None:
            content["possible"] = [list(labels) for labels in self.possible]
        if self.evidence is not None:
            content["evidence"] = self.evidence.to_dict()
        return {**content, **self.exif.to_dict()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Prediction:
        """The inverse of `to_dict`, without `original`.

        Raises:
            KeyError, ValueError: a key is missing, or a box has not four edges.
        """
        possible = content.get("possible")
        if possible is not None:
            possible = tuple(tuple(labels) for labels in possible)
        evidence = content.get("evidence")

        return cls(
            photo=content["photo"],
            labels=tuple(content["labels"]),
            probabilities=content["probabilities"],
            scales=tuple(ScalePrediction.from_dict(scale) for scale in content["scales"]),
            verdict=content["verdict"],
            likely=tuple(content["likely"]),
            confidence=content["confidence"],
            ood_score=content["strangeness"],
            model=content["model"],
            possible=possible,
            evidence=None if evidence is None else Evidence.from_dict(evidence),
            exif=Exif.from_dict(content),
        )


@dataclass(frozen=True)
class FailedPhoto:
    """A photo that cannot be read, and why.

    Attributes:
        photo: its name.
        error: one sentence, with what to do.
    """

    photo: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --format json`."""
        return {"photo": self.photo, "error": self.error}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FailedPhoto:
        """The inverse of `to_dict`.

        Raises:
            KeyError: a key is missing.
        """
        return cls(content["photo"], content["error"])


def result_from_dict(content: Mapping[str, Any]) -> Prediction | FailedPhoto:
    """The result whose `to_dict` is `content`.

    Raises:
        KeyError, ValueError: as both `from_dict`.
    """
    if "error" in content:
        return FailedPhoto.from_dict(content)
    return Prediction.from_dict(content)


def without_place(result: Prediction | FailedPhoto) -> Prediction | FailedPhoto:
    """A result without the place where its photo was taken."""
    if isinstance(result, FailedPhoto):
        return result
    return replace(result, exif=result.exif.without_place())


def words_of(labels: Sequence[str]) -> str:
    """A combination of labels for people.

    >>> words_of(("frog_eye_leaf_spot", "scab"))
    'frog eye leaf spot + scab'
    """
    return " + ".join(label.replace("_", " ") for label in labels) or "no label"


def photo_box(
    box: NDArray[np.floating], source_size: int, photo_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A box of the source as a rectangle on the photo, clipped to it, to a hundredth of a pixel.

    Convention: x to the right, y down, x1 and y1 exclusive.

    Args:
        box: [4], x0, y0, x1, y1 in source pixels.
        source_size: side of the source in pixels.
        photo_size: width and height of the upright photo in pixels.

    >>> photo_box(np.array([64.0, 64.0, 192.0, 192.0]), 256, (4000, 2672))
    (1000.0, 668.0, 3000.0, 2004.0)
    """
    # The source is square whatever the photo's proportions, so x and y have other factors.
    width, height = photo_size
    x_factor = width / source_size
    y_factor = height / source_size

    x0, y0, x1, y1 = (float(edge) for edge in box)
    return (
        _clipped(x0 * x_factor, width),
        _clipped(y0 * y_factor, height),
        _clipped(x1 * x_factor, width),
        _clipped(y1 * y_factor, height),
    )


def _clipped(coordinate: float, side: int) -> float:
    """A coordinate in 0..side, rounded to two decimals."""
    return round(float(min(max(coordinate, 0.0), side)), 2)
