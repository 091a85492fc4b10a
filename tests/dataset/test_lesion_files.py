"""Lesions are read from a CSV, from COCO's JSON and from YOLO's text files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.lesions import read_labelled_lesions
from leafzoom.errors import DataError

COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "leaf-00001.jpg", "width": 96, "height": 96}],
    "categories": [{"id": 2, "name": "rust"}],
    "annotations": [{"image_id": 7, "category_id": 2, "bbox": [10, 20, 30, 40]}],
}


def coco_with(**changes: object) -> str:
    """COCO's JSON with another annotation."""
    return json.dumps({**COCO, "annotations": [{**COCO["annotations"][0], **changes}]})


def coco_with_image(**changes: object) -> str:
    """COCO's JSON with another image."""
    return json.dumps({**COCO, "images": [{**COCO["images"][0], **changes}]})


@pytest.mark.parametrize(
    "content",
    [
        coco_with_image(width=None, height=None),
        json.dumps({**COCO, "categories": None}),
    ],
)
def test_what_coco_may_leave_out(tmp_path: Path, leaves: Path, cache: Cache, content: str) -> None:
    path = tmp_path / "l.json"
    path.write_text(content)
    (lesions,) = read_labelled_lesions(leaves, cache, path).values()
    assert lesions.boxes[0] == pytest.approx([10, 20, 40, 60])


def test_yolos_other_lines_and_files(tmp_path: Path, leaves: Path, cache: Cache) -> None:
    (tmp_path / "Classes.txt").write_text("scab\nrust\n")
    (tmp_path / "train.txt").write_text("images/leaf-00001.jpg\n")
    (tmp_path / "folder.txt").mkdir()
    lines = "1 0.5 0.5 0.5 0.25 0.9\n0 0.1 0.2 0.3 0.2 0.3 0.6\n"
    (tmp_path / "leaf-00001.TXT").write_text(lines)
    (lesions,) = read_labelled_lesions(leaves, cache, tmp_path).values()
    assert lesions.labels == ("rust", "scab")
    expected = np.array([[24, 36, 72, 60], [9.6, 19.2, 28.8, 57.6]])
    np.testing.assert_allclose(lesions.boxes, expected, atol=1e-9)


def test_boxes_outside_of_the_photo_are_left_out(
    tmp_path: Path, leaves: Path, cache: Cache
) -> None:
    path = tmp_path / "mine.csv"
    rows = "leaf-00001.jpg,-0.9,1,-0.1,3\nleaf-00001.jpg,96.2,1,96.9,3\nleaf-00001.jpg,1,2,3,4\n"
    path.write_text("image,x0,y0,x1,y1\n" + rows)
    (lesions,) = read_labelled_lesions(leaves, cache, path).values()
    assert lesions.boxes.tolist() == [[1, 2, 3, 4]]


def test_a_csv_may_have_labels(tmp_path: Path, leaves: Path, cache: Cache) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("image,label,x0,y0,x1,y1\nleaf-00001.jpg,rust,10,20,40,60\n")
    (lesions,) = read_labelled_lesions(leaves, cache, path).values()
    assert lesions.labels == ("rust",)
    assert lesions.boxes.tolist() == [[10, 20, 40, 60]]


@pytest.mark.parametrize("name", ["lesions.csv", "boxes.csv", "Boxes.CSV"])
def test_the_data_folders_own_file_is_found(tmp_path: Path, cache: Cache, name: str) -> None:
    (tmp_path / name).write_text("image,x0,y0,x1,y1\nleaf-00001.jpg,10,20,40,60\n")
    (lesions,) = read_labelled_lesions(tmp_path, cache).values()
    assert lesions.labels == ("",)


def test_coco_and_yolo_give_the_same_box(tmp_path: Path, leaves: Path, cache: Cache) -> None:
    coco = tmp_path / "lesions.json"
    coco.write_text(json.dumps(COCO))
    yolo = tmp_path / "yolo"
    yolo.mkdir()
    (yolo / "classes.txt").write_text("scab\nrust\n")
    centre_x, centre_y, width, height = (25 / 96, 40 / 96, 30 / 96, 40 / 96)
    (yolo / "leaf-00001.txt").write_text(f"1 {centre_x} {centre_y} {width} {height}\n")

    for file in (coco, yolo):
        found = read_labelled_lesions(leaves, cache, file)
        assert list(found) == ["leaf-00001.jpg"]
        assert found["leaf-00001.jpg"].labels == ("rust",)
        assert found["leaf-00001.jpg"].boxes[0] == pytest.approx([10, 20, 40, 60])


def test_a_box_a_little_over_the_edge_is_cut(tmp_path: Path, leaves: Path, cache: Cache) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("image,x0,y0,x1,y1\nleaf-00001.jpg,-0.5,20,40,96.5\n")
    (lesions,) = read_labelled_lesions(leaves, cache, path).values()
    assert lesions.boxes.tolist() == [[0, 20, 40, 96]]


def test_boxes_without_area_are_left_out(tmp_path: Path, leaves: Path, cache: Cache) -> None:
    path = tmp_path / "mine.csv"
    rows = "leaf-00001.jpg,10,20,10,60\nleaf-00001.jpg,1,2,3,4\n"
    path.write_text("image,x0,y0,x1,y1\n" + rows)
    warnings: list[str] = []
    (lesions,) = read_labelled_lesions(leaves, cache, path, warn=warnings.append).values()
    assert lesions.boxes.tolist() == [[1, 2, 3, 4]]
    assert warnings == [f"leafzoom: a box without area left out: {path}, row 2"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.json", "{}", "no COCO file: it needs images"),
        ("l.json", "[1", "no COCO file"),
        ("l.json", json.dumps({**COCO, "images": []}), "annotation 1: it needs the image_id"),
        (
            "l.json",
            json.dumps({**COCO, "annotations": [{"image_id": 7, "bbox": [1, 2, 3]}]}),
            "annotation 1: .* bbox",
        ),
        (
            "l.json",
            json.dumps({**COCO, "images": [{**COCO["images"][0], "width": 192}]}),
            "drawn on 192 x 96 pixels, and leaf-00001.jpg has 96 x 96",
        ),
        ("yolo/leaf-00001.txt", "0 0.5 0.5 0.1\n", "line 1: it has 3 numbers after the class"),
        ("yolo/leaf-00001.txt", "0 0.9 0.5 0.5 0.1\n", "not inside .* shares of its sides"),
        ("yolo/leaf-00009.png.txt", "0 0.5 0.5 0.1 0.1\n", "no photograph"),
        ("yolo/classes.txt", "rust\n", "no .txt files of YOLO boxes"),
        ("yolo/leaf-00001.txt", "rust 0.5 0.5 0.1 0.1\n", "line 1: it needs the number of a class"),
        ("l.json", coco_with_image(width="wide"), "annotation 1: it needs"),
        ("l.json", coco_with_image(width=10**400), "annotation 1: it needs"),
        ("l.json", coco_with_image(file_name=None), "file_name of its image is no text"),
        ("l.json", coco_with(bbox="1234"), "annotation 1: .* bbox"),
        ("l.json", coco_with(bbox=[True, 2, 3, 4]), "annotation 1: .* bbox"),
        ("l.json", coco_with(category_id=[1]), "annotation 1: it needs"),
    ],
)
def test_files_that_are_not_as_they_should_be(
    tmp_path: Path, leaves: Path, cache: Cache, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    given = path.parent if name.startswith("yolo") else path
    with pytest.raises(DataError, match=message):
        read_labelled_lesions(leaves, cache, given)


def test_a_file_that_is_not_there(leaves: Path, cache: Cache) -> None:
    with pytest.raises(DataError, match="no such file of lesions"):
        read_labelled_lesions(leaves, cache, Path("nowhere.csv"))
