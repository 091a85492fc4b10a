"""Export to Label Studio: its labelling interface, and tasks with predictions and zoom boxes.

Label Studio reads the photos from its local storage: see `docs/review.md`. Boxes are in percent of
the upright photo's sides, as Label Studio has them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from leafzoom.drawing import BOX_COLOURS
from leafzoom.inference.prediction import words_of
from leafzoom.review.items import Review, ReviewItem
from leafzoom.storage import write_json, write_text

__all__ = ["CONFIG_NAME", "TASKS_NAME", "labelling_interface", "photo_root", "tasks", "write_tasks"]

CONFIG_NAME = "label-studio.xml"
TASKS_NAME = "label-studio.json"

_IMAGE = "image"
_CHOICES = "labels"
_BOXES = "zooms"
_GIVEN = "given labels"


def write_tasks(review: Review, folder: Path) -> list[Path]:
    """Write the labelling interface and the tasks into a folder."""
    config_path = folder / CONFIG_NAME
    tasks_path = folder / TASKS_NAME
    write_text(config_path, labelling_interface(review))
    write_json(tasks_path, tasks(review))
    return [config_path, tasks_path]


def photo_root(review: Review) -> Path:
    """The folder of all photos: Label Studio's document root."""
    paths = [item.path for item in review.items]
    return Path(os.path.commonpath([review.data, *paths]))


def labelling_interface(review: Review) -> str:
    """The interface in Label Studio's XML: the photo, its labels, and boxes for the zooms."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Header", value="$reason")
    ElementTree.SubElement(view, "Image", name=_IMAGE, value="$image", zoom="true")

    choices = ElementTree.SubElement(
        view, "Choices", name=_CHOICES, toName=_IMAGE, choice="multiple", showInline="true"
    )

    # Results have the alias, people see the value.
    for label in review.labels:
        ElementTree.SubElement(choices, "Choice", value=words_of([label]), alias=label)

    boxes = ElementTree.SubElement(view, "RectangleLabels", name=_BOXES, toName=_IMAGE)
    for number, colour in enumerate(_colours(review), start=1):
        ElementTree.SubElement(boxes, "Label", value=_zoom_name(number), background=colour)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def tasks(review: Review) -> list[dict[str, Any]]:
    """A task a photograph: its address, why it is reviewed, and the labels as predictions."""
    root = photo_root(review)
    return [_task(review, item, root) for item in review.items]


def _task(review: Review, item: ReviewItem, root: Path) -> dict[str, Any]:
    relative = Path(item.path).relative_to(root).as_posix()
    suggested = _choices(item.suggested, "suggested", _confidence(item))
    results = [*suggested, *_box_results(item)]
    predictions = [_prediction(review.model_name, results, item.score)]

    # Label Studio shows one prediction after the other, so that both can be compared.
    if item.is_labelled:
        predictions.append(_prediction(_GIVEN, _choices(item.given, "given", None), 0.0))
    return {
        "data": {
            "image": f"/data/local-files/?d={quote(relative)}",
            "image_name": item.image_name,
            "given": " ".join(item.given),
            "kinds": " ".join(item.kinds),
            "reason": item.reason,
            "score": item.score,
        },
        "predictions": predictions,
    }


def _prediction(name: str, results: list[dict[str, Any]], score: float) -> dict[str, Any]:
    return {"model_version": name, "score": score, "result": results}


def _choices(labels: Sequence[str], name: str, score: float | None) -> list[dict[str, Any]]:
    """The result of the labels; none where there are none."""
    if not labels:
        return []
    result: dict[str, Any] = {
        "id": name,
        "from_name": _CHOICES,
        "to_name": _IMAGE,
        "type": "choices",
        "value": {"choices": list(labels)},
    }
    return [result if score is None else {**result, "score": score}]


def _box_results(item: ReviewItem) -> list[dict[str, Any]]:
    """A rectangle a zoom, in percent of the photo's sides."""
    width, height = item.photo_size
    results: list[dict[str, Any]] = []
    for number, (x0, y0, x1, y1) in enumerate(item.boxes, start=1):
        value = {
            "x": 100 * x0 / width,
            "y": 100 * y0 / height,
            "width": 100 * (x1 - x0) / width,
            "height": 100 * (y1 - y0) / height,
            "rotation": 0,
            "rectanglelabels": [_zoom_name(number)],
        }
        results.append(
            {
                "id": f"zoom{number}",
                "from_name": _BOXES,
                "to_name": _IMAGE,
                "type": "rectanglelabels",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "value": value,
            }
        )
    return results


def _confidence(item: ReviewItem) -> float:
    """The probability of the least sure of the suggested labels."""
    return min((item.probabilities[label] for label in item.suggested), default=0.0)


def _colours(review: Review) -> Sequence[str]:
    """A colour for each zoom that any photograph has, at least one."""
    zooms = max((len(item.boxes) for item in review.items), default=1)
    return [BOX_COLOURS[number % len(BOX_COLOURS)] for number in range(max(zooms, 1))]


def _zoom_name(number: int) -> str:
    return f"zoom {number}"
