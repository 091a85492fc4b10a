"""Photos with the boxes of their zooms drawn, and the zooms beside them.

Convention: boxes are (x0, y0, x1, y1) in pixels of the upright photo, x to the right, y down,
x1 and y1 exclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from leafzoom.fonts import draw_text

__all__ = [
    "BOX_COLOURS",
    "PICTURE_MARK",
    "captioned_sheet",
    "crop_box",
    "draw_box",
    "resize_to_height",
    "save_jpeg",
    "save_png",
    "stacked",
    "zoom_tiles",
]

PICTURE_MARK = "leafzoom diagnosis"
"""Stands in the first bytes of every picture that is saved here: none is taken for a photo."""

_JPEG_QUALITY = 92

BOX_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73", "#F0E442")
"""Colours of the boxes of scales 2, 3, … (Okabe and Ito's, for colour-blind readers too)."""

_MAX_ASPECT = 4  # of a tile's width to its height

# The sheet's measures in pixels.
_GAP_PX = 12
_TITLE_PX = 26
_CAPTION_LINE_PX = 20
_CAPTION_MARGIN_PX = 4
_TITLE_FONT_PX = 18
_CAPTION_FONT_PX = 14

Box = Sequence[float]


def zoom_tiles(
    image: Image.Image, boxes: Sequence[Box], *, height: int, line_px: int
) -> list[Image.Image]:
    """The photo with its boxes drawn, then each zoom, framed in the colour of its box.

    Args:
        image: the upright photo, RGB.
        boxes: of scales 2, 3, …
        height: of every tile in pixels.
        line_px: width of the boxes' lines; the zooms' frames are half as wide again.
    """
    whole = resize_to_height(image, height)
    tiles = [whole]
    x_factor = whole.width / image.width
    y_factor = whole.height / image.height

    for box, colour in zip(boxes, BOX_COLOURS, strict=False):
        x0, y0, x1, y1 = box
        box_on_tile = (x0 * x_factor, y0 * y_factor, x1 * x_factor, y1 * y_factor)
        draw_box(whole, box_on_tile, colour, line_px)

        zoom = crop_box(image, box, height)
        frame = (0, 0, zoom.width - 1, zoom.height - 1)
        draw_box(zoom, frame, colour, line_px * 3 // 2)
        tiles.append(zoom)

    return tiles


def captioned_sheet(
    title: str, tiles: Sequence[Image.Image], captions: Sequence[Sequence[str]]
) -> Image.Image:
    """Tiles of one height side by side on white, a title above and lines of text below each.

    Args:
        title: one line.
        tiles: all of one height.
        captions: at most three lines for each tile; tiles without a caption stay bare.
    """
    tile_height = tiles[0].height
    width = sum(tile.width for tile in tiles) + _GAP_PX * (len(tiles) + 1)
    height = tile_height + 3 * _TITLE_PX + 2 * _GAP_PX
    sheet = Image.new("RGB", (width, height), "white")

    pen = ImageDraw.Draw(sheet)
    draw_text(pen, (_GAP_PX, _GAP_PX // 2), title, _TITLE_FONT_PX, width - 2 * _GAP_PX)

    # The tiles, and below each what its scale predicts.
    tile_top = _GAP_PX + _TITLE_PX
    caption_top = tile_top + tile_height + _CAPTION_MARGIN_PX
    x = _GAP_PX
    for tile, lines in zip(tiles, captions, strict=False):
        sheet.paste(tile, (x, tile_top))
        for number, line in enumerate(lines):
            y = caption_top + number * _CAPTION_LINE_PX
            draw_text(pen, (x, y), line, _CAPTION_FONT_PX, tile.width)
        x += tile.width + _GAP_PX

    return sheet


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other on white."""
    width = max(sheet.width for sheet in sheets)
    picture = Image.new("RGB", (width, sum(sheet.height for sheet in sheets)), "white")
    y = 0
    for sheet in sheets:
        picture.paste(sheet, (0, y))
        y += sheet.height
    return picture


def save_png(picture: Image.Image, path: Path | BinaryIO) -> None:
    """Write a picture as a PNG that says what has drawn it, into a file or an open one."""
    mark = PngInfo()
    mark.add_text("Software", PICTURE_MARK)
    picture.save(path, "PNG", pnginfo=mark)


def save_jpeg(picture: Image.Image, path: Path) -> None:
    """Write a picture as a JPEG that says what has drawn it."""
    picture.save(path, "JPEG", quality=_JPEG_QUALITY, comment=PICTURE_MARK)


def resize_to_height(image: Image.Image, height: int) -> Image.Image:
    """The image at a height in pixels, at most four times as wide; a longer one is squeezed."""
    width = round(image.width * height / image.height)
    width = max(1, min(_MAX_ASPECT * height, width))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def draw_box(image: Image.Image, box: Box, colour: str, line_px: int) -> None:
    """Draw a rectangle (x0, y0, x1, y1 in the image's own pixels) onto the image."""
    x0, y0, x1, y1 = box
    ImageDraw.Draw(image).rectangle((x0, y0, x1, y1), outline=colour, width=line_px)


def crop_box(image: Image.Image, box: Box, height: int) -> Image.Image:
    """The part of the image inside a box, rounded to whole pixels, at a height in pixels."""
    x0, y0, x1, y1 = (round(edge) for edge in box)
    part = image.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)))
    return resize_to_height(part, height)
