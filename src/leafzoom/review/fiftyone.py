"""Export to FiftyOne: a dataset that `fo.Dataset.from_dir` reads as `fo.types.FiftyOneDataset`.

The photos stay where they are. Boxes are x, y, width and height in shares of the upright photo's
sides, as FiftyOne has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leafzoom.review.items import Review, ReviewItem
from leafzoom.storage import make_folder, write_json

__all__ = ["DATASET_NAME", "samples", "write_dataset"]

DATASET_NAME = "fiftyone"


def write_dataset(review: Review, folder: Path) -> Path:
    """Write the dataset into a folder of its own."""
    dataset = make_folder(folder / DATASET_NAME)

    # Without a version, FiftyOne reads the samples by themselves and finds out their fields.
    metadata = {
        "info": {"ranked": review.ranked, "model": review.model_name},
        "default_classes": list(review.labels),
    }
    write_json(dataset / "metadata.json", metadata)
    write_json(dataset / "samples.json", {"samples": samples(review)})
    return dataset


def samples(review: Review) -> list[dict[str, Any]]:
    """A sample a photograph, in the form of `fo.Sample.to_dict`."""
    return [_sample(item) for item in review.items]


def _sample(item: ReviewItem) -> dict[str, Any]:
    return {
        "filepath": item.path,
        "tags": list(item.kinds),
        "metadata": None,
        "given": _classifications(item.given),
        "suggested": _classifications(item.suggested, item.probabilities),
        "zooms": {"_cls": "Detections", "detections": _detections(item)},
        "score": item.score,
        "image_name": item.image_name,
        "reason": item.reason,
        "near_duplicate": item.twin or None,
    }


def _classifications(
    labels: Sequence[str], probabilities: dict[str, float] | None = None
) -> dict[str, Any]:
    """Labels, with their probabilities where there are some."""
    entries = []
    for label in labels:
        entry: dict[str, Any] = {"_cls": "Classification", "tags": [], "label": label}
        if probabilities is not None:
            entry["confidence"] = probabilities[label]
        entries.append(entry)
    return {"_cls": "Classifications", "classifications": entries}


def _detections(item: ReviewItem) -> list[dict[str, Any]]:
    """A detection a zoom."""
    width, height = item.photo_size
    entries = []
    for number, (x0, y0, x1, y1) in enumerate(item.boxes, start=1):
        box = [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
        entries.append(
            {
                "_cls": "Detection",
                "attributes": {},
                "tags": [],
                "label": f"zoom {number}",
                "bounding_box": box,
            }
        )
    return entries
