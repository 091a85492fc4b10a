"""Known lesions: boxes on the photographs of a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import save_photo
from leafzoom.dataset.cache import Cache
from leafzoom.dataset.lesions import read_lesions
from leafzoom.errors import DataError

HEADER = "image,x0,y0,x1,y1\n"
GOOD = HEADER + "leaf-00001.jpg,1,2,3,4\n"


def test_boxes_are_read_by_image_name(tmp_path: Path, leaves: Path, cache: Cache) -> None:
    assert read_lesions(tmp_path, cache) == {}

    # Three of the four combinations have a patch of spots.
    lesions = read_lesions(leaves, cache)
    assert len(lesions) == 45
    assert all(boxes.shape == (1, 4) for boxes in lesions.values())

    rows = " leaf-00001.jpg , 1, 2, 30, 40\nleaf-00001.jpg,0,0,96,96\n\n"
    (tmp_path / "lesions.csv").write_text("image, x0, y0, x1, y1\n" + rows)
    boxes = read_lesions(tmp_path, cache)["leaf-00001.jpg"]
    assert boxes.tolist() == [[1, 2, 30, 40], [0, 0, 96, 96]]


def test_photographs_of_the_folder_that_the_table_leaves_out_are_skipped(
    tmp_path: Path, cache: Cache
) -> None:
    save_photo(tmp_path / "train_images" / "other.png")
    (tmp_path / "lesions.csv").write_text(GOOD + "other.png,1,2,3,4\n")
    assert list(read_lesions(tmp_path, cache)) == ["leaf-00001.jpg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,x0,y0,x1\n", "has no column y1"),
        (GOOD + "leaf-00002.jpg,1,2,x,4\n", "row 3: x0, y0, x1 and y1 have to be numbers"),
        (GOOD + "leaf-00002.jpg,5,2,3,4\n", "row 3: 5, 2, 3, 4 is no box"),
        (GOOD + "leaf-00002.jpg,1,2,inf,4\n", "row 3: 1, 2, inf, 4 is no box"),
        (GOOD + "leaf-00002.jpg,1,2\n", "row 3: x0, y0, x1 and y1 have to be numbers"),
        (GOOD + "leaf-00002.png,1,2,3,4\n", "row 3: no photograph 'leaf-00002.png' in the table"),
        (GOOD + ",1,2,3,4\n", "row 3: no photograph ''"),
        (
            GOOD + "leaf-00002.jpg,1,2,97,4\n",
            "row 3: 1, 2, 97, 4 is not inside leaf-00002.jpg, which has 96 x 96",
        ),
    ],
)
def test_rows_without_a_box_on_a_photograph_are_refused(
    tmp_path: Path, cache: Cache, content: str, message: str
) -> None:
    (tmp_path / "lesions.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_lesions(tmp_path, cache)


def test_other_encodings_are_refused(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "lesions.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_lesions(tmp_path, cache)
