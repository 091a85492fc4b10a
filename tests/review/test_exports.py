"""Exports: boxes and labels as Label Studio and FiftyOne have them.

`tools.review_exports` opens the same files with the tools' own libraries.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from leafzoom.review.fiftyone import write_dataset
from leafzoom.review.items import Review, ReviewItem
from leafzoom.review.label_studio import photo_root, write_tasks

ITEM = ReviewItem(
    kinds=("duplicate", "label"),
    image_name="a b#1.jpg",
    path="/photos/data/images/a b#1.jpg",
    given=("black_spot",),
    suggested=("black_spot", "rust"),
    probabilities={"black_spot": 0.9, "rust": 0.6},
    score=0.75,
    boxes=((100.0, 50.0, 300.0, 150.0),),
    photo_size=(400, 200),
    reason="why",
    twin="b.jpg",
    twin_path="/photos/data/images/b.jpg",
    twin_labels=("rust",),
)
NEW = ReviewItem(
    kinds=("unlabelled",),
    image_name="/photos/new/c.jpg",
    path="/photos/new/c.jpg",
    given=(),
    suggested=(),
    probabilities={"black_spot": 0.4, "rust": 0.4},
    score=0.97,
    boxes=(),
    photo_size=(10, 10),
    reason="new",
)
REVIEW = Review(
    model="bundled",
    model_name="leaves",
    data="/photos/data",
    csv="/photos/data/train.csv",
    labels=("black_spot", "rust"),
    ranked="all",
    photographs=20,
    source_size=96,
    has_evidence=True,
    made_of="0",
    items=(ITEM, NEW),
)


def test_label_studios_tasks_fit_its_interface(tmp_path: Path) -> None:
    config_path, tasks_path = write_tasks(REVIEW, tmp_path)
    view = ElementTree.parse(config_path).getroot()
    tasks = json.loads(tasks_path.read_text())

    # What Label Studio stores of a choice is its alias, where it has one.
    aliases = [choice.get("alias") for choice in view.iter("Choice")]
    assert aliases == ["black_spot", "rust"]
    assert [choice.get("value") for choice in view.iter("Choice")] == ["black spot", "rust"]
    boxes = {label.get("value") for label in view.iter("Label")}
    controls = {element.get("name") for element in view}

    for task in tasks:
        for prediction in task["predictions"]:
            for result in prediction["result"]:
                assert {result["from_name"], result["to_name"]} <= controls
                assert set(result["value"].get("choices", [])) <= set(aliases)
                assert set(result["value"].get("rectanglelabels", [])) <= boxes


def test_label_studio_gets_addresses_scores_and_percent() -> None:
    from leafzoom.review.label_studio import tasks

    task, new = tasks(REVIEW)
    suggested, given = task["predictions"]
    choices, box = suggested["result"]

    assert photo_root(REVIEW) == Path("/photos")
    address = urlsplit(task["data"]["image"])
    assert parse_qs(address.query) == {"d": ["data/images/a b#1.jpg"]}
    assert address.fragment == ""
    assert suggested["score"] == 0.75
    assert (choices["value"], choices["score"]) == ({"choices": ["black_spot", "rust"]}, 0.6)
    assert given["result"][0]["value"] == {"choices": ["black_spot"]}
    sides = {key: box["value"][key] for key in ("x", "y", "width", "height")}
    assert sides == {"x": 25.0, "y": 25.0, "width": 50.0, "height": 50.0}
    assert (box["original_width"], box["original_height"]) == (400, 200)
    assert [prediction["result"] for prediction in new["predictions"]] == [[]]


def test_fiftyone_gets_shares_and_absolute_paths(tmp_path: Path) -> None:
    dataset = write_dataset(REVIEW, tmp_path)
    metadata = json.loads((dataset / "metadata.json").read_text())
    sample, new = json.loads((dataset / "samples.json").read_text())["samples"]

    # With a version, FiftyOne would take the file for a dump of its database.
    assert "version" not in metadata
    assert sample["filepath"] == ITEM.path
    assert sample["tags"] == ["duplicate", "label"]
    (zoom,) = sample["zooms"]["detections"]
    assert zoom["bounding_box"] == pytest.approx([0.25, 0.25, 0.5, 0.5])
    labels = [(entry["label"], entry["confidence"]) for entry in classes(sample, "suggested")]
    assert labels == [("black_spot", 0.9), ("rust", 0.6)]
    assert "confidence" not in classes(sample, "given")[0]
    assert classes(new, "suggested") == []


def classes(sample: dict[str, Any], field: str) -> list[dict[str, Any]]:
    labels: list[dict[str, Any]] = sample[field]["classifications"]
    return labels
