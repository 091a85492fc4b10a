"""A picture of a diagnosis: the photo with the boxes of the zooms, and the zooms cut from the full photo."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from leafzoom.errors import PhotoError
from leafzoom.inference.formats import summary
from leafzoom.inference.predictor import Prediction
from leafzoom.photo import BOX_COLOURS, read_photo
from leafzoom.storage import replacing

__all__ = ["draw_prediction", "picture_of"]

_HEIGHT = 420
_GAP = 12
_TEXT = 26


def draw_prediction(prediction: Prediction, path: Path) -> None:
    """Write `picture_of` as a PNG.

    Raises:
        PhotoError: the photo cannot be read.
        LeafzoomError: the picture cannot be written.
    """
    sheet = picture_of(prediction)
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def picture_of(prediction: Prediction) -> Image.Image:
    """The photo with its boxes, then each zoom, with what each scale said, RGB.

    Raises:
        PhotoError: the photo cannot be read.
    """
    if prediction.original is None:
        raise PhotoError(f"{prediction.photo}: this prediction was made without its photo, so it cannot be drawn")
    image = read_photo(prediction.original)
    tiles = [_scaled(image)]
    pen = ImageDraw.Draw(tiles[0])
    factors = (tiles[0].width / image.width, tiles[0].height / image.height) * 2
    for scale, colour in zip(prediction.scales[1:], BOX_COLOURS, strict=False):
        edges = [edge * factor for edge, factor in zip(scale.box, factors, strict=True)]
        pen.rectangle(edges, outline=colour, width=4)
        x0, y0, x1, y1 = (round(edge) for edge in scale.box)
        zoom = _scaled(image.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))))
        ImageDraw.Draw(zoom).rectangle((0, 0, zoom.width - 1, zoom.height - 1), outline=colour, width=6)
        tiles.append(zoom)
    width = sum(tile.width for tile in tiles) + _GAP * (len(tiles) + 1)
    sheet = Image.new("RGB", (width, _HEIGHT + 3 * _TEXT + 2 * _GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    pen.text((_GAP, _GAP // 2), summary(prediction.to_dict()), fill="black", font=font)
    x = _GAP
    small = ImageFont.load_default(14)
    for tile, scale in zip(tiles, prediction.scales, strict=False):
        sheet.paste(tile, (x, _GAP + _TEXT))
        best = sorted(scale.probabilities, key=lambda label: -scale.probabilities[label])[:2]
        for line, label in enumerate(best):
            text = f"{label.replace('_', ' ')} {scale.probabilities[label]:.0%}"
            pen.text((x, _GAP + _TEXT + _HEIGHT + 4 + line * 20), text, fill="black", font=small)
        x += tile.width + _GAP
    return sheet


def _scaled(image: Image.Image) -> Image.Image:
    """A picture at the sheet's height, and no wider than four times that: a longer one is squeezed."""
    width = max(1, min(4 * _HEIGHT, round(image.width * _HEIGHT / image.height)))
    return image.resize((width, _HEIGHT), Image.Resampling.LANCZOS)
