"""Pictures of where the network looks, after every epoch, and their film."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from leafzoom.model.racnn import RACNN
from leafzoom.photo import BOX_COLOURS
from leafzoom.storage import make_folder, replacing
from leafzoom.training.batches import Photographs, plain_batches

__all__ = ["draw_zooms", "write_film"]

_TILE = 160
_FRAME_MS = 700


@torch.no_grad()
def draw_zooms(fabric: Fabric, racnn: RACNN, photographs: Photographs, path: Path, title: str) -> None:
    """One row a photograph: the source with all boxes, then every zoom, as the network sees it.

    Args:
        fabric: device and precision.
        racnn: whose boxes are drawn.
        photographs: a handful.
        path: of the PNG.
        title: written above.
    """
    racnn.eval()
    make_folder(path.parent)
    width, height = _TILE * racnn.scales, _TILE * len(photographs) + 20
    sheet = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(sheet).text((6, 4), title, fill="black")
    for batch in plain_batches(photographs, batch_size=len(photographs), device=fabric.device):
        with fabric.autocast():
            sources = racnn.normalise(batch.pictures)
            glimpses = [racnn.first_glimpse(sources)]
            for scale in range(len(racnn.apns)):
                features = racnn.look(scale, glimpses[-1]).features
                glimpses.append(racnn.zoom(sources, glimpses[-1], racnn.propose(scale, features)))
        views = [(glimpse.view.float() * racnn.std + racnn.mean).clamp(0, 1) for glimpse in glimpses]
        views[0] = batch.pictures
        for row in range(len(batch.pictures)):
            for scale, view in enumerate(views):
                tile = _tile(view[row].permute(1, 2, 0).cpu().numpy())
                if scale == 0:
                    _draw_boxes(tile, [glimpse.boxes[row].tolist() for glimpse in glimpses[1:]], racnn.source_size)
                elif scale <= len(BOX_COLOURS):
                    ImageDraw.Draw(tile).rectangle(
                        (0, 0, _TILE - 1, _TILE - 1), outline=BOX_COLOURS[scale - 1], width=3
                    )
                sheet.paste(tile, (scale * _TILE, 20 + row * _TILE))
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def write_film(folder: Path, path: Path) -> None:
    """A GIF of the PNG files of a folder, in the order of their names; nothing where there are none.

    A picture that is damaged is left out: it is no reason to lose a training at its end.
    """
    frames = []
    for file in sorted(folder.glob("*.png")):
        with suppress(OSError, SyntaxError, ValueError), Image.open(file) as frame:  # what Pillow's decoder raises
            frames.append(frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=128))
    if frames:
        with replacing(path) as temporary:
            frames[0].save(
                temporary,
                "GIF",
                save_all=True,
                append_images=frames[1:],
                duration=_FRAME_MS,
                loop=0,
                optimize=True,
            )


def _tile(picture: NDArray[np.float32]) -> Image.Image:
    """A picture [H, W, 3] in 0..1 as a square tile."""
    image = Image.fromarray((picture * 255).round().astype(np.uint8))
    return image.resize((_TILE, _TILE), Image.Resampling.BICUBIC)


def _draw_boxes(tile: Image.Image, boxes: list[list[float]], side: int) -> None:
    """Draw boxes (x, y, half side in pixels of the source) on a tile that shows the source."""
    pen = ImageDraw.Draw(tile)
    for (x, y, half), colour in zip(boxes, BOX_COLOURS, strict=False):
        corners = [value * _TILE / side for value in (x - half, y - half, x + half, y + half)]
        pen.rectangle(corners, outline=colour, width=3)
