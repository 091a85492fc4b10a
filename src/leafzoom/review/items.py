"""What is to be reviewed: photographs with their labels, what they may be instead, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from leafzoom.errors import DataError
from leafzoom.storage import write_json

__all__ = ["KINDS", "QUEUE_NAME", "Kind", "Review", "ReviewItem", "read_review", "write_review"]

Kind = Literal["duplicate", "label", "outlier", "unlabelled"]
"""Why a photograph is reviewed: a near-duplicate has other labels, its own labels are suspect, it
is unlike the others, or it has no labels yet and is worth having some."""

KINDS: tuple[Kind, ...] = get_args(Kind)

QUEUE_NAME = "review.json"

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ReviewItem:
    """A photograph to look at.

    `kinds`: why, at least one. `image_name`: as the table writes it; of an unlabelled photo
    relative to the data folder, or its whole path where it is outside. `path`: of its file.
    `given`: its labels. `suggested`: those that the model would give it. `probabilities`: {label:
    0..1}. `score`: how suspect the labels are, 0..1; of an unlabelled photo how uncertain it is.
    `boxes`: of the zooms, x0, y0, x1, y1 in pixels of the upright photo, x1 and y1 exclusive.
    `photo_size`: width and height in pixels. `reason`: in words. `twin`, `twin_path`,
    `twin_labels`: of the near-duplicate; empty without.
    """

    kinds: tuple[Kind, ...]
    image_name: str
    path: str
    given: tuple[str, ...]
    suggested: tuple[str, ...]
    probabilities: dict[str, float]
    score: float
    boxes: tuple[Box, ...]
    photo_size: tuple[int, int]
    reason: str
    twin: str = ""
    twin_path: str = ""
    twin_labels: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Whether the table has a row for it."""
        return "unlabelled" not in self.kinds

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ReviewItem:
        """The inverse of `dataclasses.asdict` after JSON.

        Raises:
            KeyError, TypeError, ValueError: a key is missing, or a value has another form.
        """
        boxes = []
        for x0, y0, x1, y1 in content["boxes"]:
            boxes.append((float(x0), float(y0), float(x1), float(y1)))
        width, height = content["photo_size"]
        tuples = {
            key: tuple(content[key]) for key in ("kinds", "given", "suggested", "twin_labels")
        }
        return cls(**{**content, **tuples, "boxes": tuple(boxes), "photo_size": (width, height)})


@dataclass(frozen=True)
class Review:
    """All photographs of a review, those that are most worth a look first.

    `model`: as named on the command line. `model_name`: the model's own. `data`, `csv`: the data
    folder and its table. `labels`: all of them. `ranked`: which photographs were ranked, and by
    what, in sentences. `photographs`: how many were ranked. `source_size`: side in pixels of what
    the network looked at. `has_evidence`: whether the model says what speaks for a label.
    `made_of`: a digest of all that the review depends on.
    """

    model: str
    model_name: str
    data: str
    csv: str
    labels: tuple[str, ...]
    ranked: str
    photographs: int
    source_size: int
    has_evidence: bool
    made_of: str
    items: tuple[ReviewItem, ...]


def write_review(review: Review, folder: Path) -> Path:
    """Write `review.json` into a folder."""
    path = folder / QUEUE_NAME
    write_json(path, asdict(review))
    return path


def read_review(folder: Path, content: Mapping[str, Any]) -> Review:
    """The review that the content of `review.json` describes.

    Raises:
        DataError: the content has another form.
    """
    try:
        items = tuple(ReviewItem.from_dict(item) for item in content["items"])
        return Review(**{**content, "labels": tuple(content["labels"]), "items": items})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder / QUEUE_NAME} is damaged or of another leafzoom: delete it, and it is made "
            "again"
        ) from error
