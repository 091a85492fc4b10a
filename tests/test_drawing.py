"""Boxes drawn into photos, zooms beside them, and captioned sheets."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from leafzoom.drawing import (
    BOX_COLOURS,
    captioned_sheet,
    draw_box,
    resize_to_height,
    zoom_tiles,
)


def test_a_box_lies_on_its_own_edges() -> None:
    image = Image.new("RGB", (40, 30), "white")

    draw_box(image, (10, 5, 20, 15), "#0072B2", 1)

    pixels = np.asarray(image)
    is_drawn = (pixels == ImageColor.getrgb("#0072B2")).all(axis=2)
    rows, columns = np.nonzero(is_drawn)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (10, 5, 20, 15)
    assert not is_drawn[6:15, 11:20].any()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((200, 100), (120, 60)), ((3000, 2), (240, 60)), ((1, 500), (1, 60))],
)
def test_an_image_is_squeezed_to_four_times_its_height(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert resize_to_height(Image.new("RGB", size), 60).size == expected


def test_zooms_stand_beside_the_photo_in_the_colours_of_their_boxes() -> None:
    photo = Image.new("RGB", (200, 100), "white")
    boxes = [(50.0, 25.0, 150.0, 75.0), (90.0, 40.0, 110.0, 60.0)]

    tiles = zoom_tiles(photo, boxes, height=50, line_px=2)

    assert [tile.size for tile in tiles] == [(100, 50), (100, 50), (50, 50)]
    for zoom, colour in zip(tiles[1:], BOX_COLOURS, strict=False):
        assert zoom.getpixel((0, 0)) == ImageColor.getrgb(colour)
    # On the photo's tile, half as large as the photo.
    assert tiles[0].getpixel((25, 20)) == ImageColor.getrgb(BOX_COLOURS[0])
    assert photo.getpixel((50, 25)) == (255, 255, 255), "the photo itself stays as it is"


def test_a_box_smaller_than_a_pixel_still_has_a_zoom() -> None:
    photo = Image.new("RGB", (200, 100), "white")

    tiles = zoom_tiles(photo, [(10.2, 10.2, 10.3, 10.3)], height=50, line_px=2)

    assert tiles[1].size == (50, 50)


def test_a_sheet_has_room_for_its_tiles_title_and_captions() -> None:
    tiles = [Image.new("RGB", (width, 50), "green") for width in (80, 60)]

    sheet = captioned_sheet("a title", tiles, [["rust 90%", "scab 10%"], []])

    assert sheet.width == 80 + 60 + 3 * 12
    assert sheet.height > 50 + 3 * 20
    pixels = np.asarray(sheet)
    below_first = pixels[12 + 26 + 50 :, 12 : 12 + 80]
    below_second = pixels[12 + 26 + 50 :, 12 + 80 + 12 :]
    assert below_first.min() < 128
    assert below_second.min() == 255, "a tile without a caption stays bare"
