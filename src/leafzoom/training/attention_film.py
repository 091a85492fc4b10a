"""The attention film: images of where the network looks after every epoch, and a GIF of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from PIL import Image, ImageDraw
from torch import Tensor

from leafzoom.dataset.batches import DatasetPart, plain_batches
from leafzoom.drawing import BOX_COLOURS, draw_box, save_png
from leafzoom.model.attention_crop import resample
from leafzoom.model.frameworks import AttentionNetwork
from leafzoom.model.macnn import PartState
from leafzoom.model.view import ScaleState
from leafzoom.storage import make_folder, replacing

__all__ = ["draw_zooms", "write_film"]

_TILE_PX = 160
_TITLE_PX = 20
_LINE_PX = 3
_FRAME_MS = 700
_COLOURS = 128


@torch.no_grad()
def draw_zooms(
    fabric: Fabric, network: AttentionNetwork, part: DatasetPart, path: Path, title: str
) -> None:
    """Draw a row for each photograph: the source with all boxes, then what is in them.

    Args:
        fabric: device and precision.
        network: whose boxes are drawn.
        part: a handful of photographs.
        path: of the PNG.
        title: written above.
    """
    network.eval()
    make_folder(path.parent)

    # A column for each scale, a row for each photograph, the title above.
    size = (_TILE_PX * network.scales, _TILE_PX * len(part) + _TITLE_PX)
    sheet = Image.new("RGB", size, "white")
    ImageDraw.Draw(sheet).text((6, 4), title, fill="black")

    for batch in plain_batches(part, batch_size=len(part), device=fabric.device):
        with fabric.autocast():
            states = network(network.normalise(batch.images))

        # The whole photograph, then each zoom or part.
        views = [batch.images]
        views += [_closer_view(network, state, batch.images) for state in states[1:]]

        # All boxes on the photograph, and a frame in its box's colour around each zoom.
        for row in range(len(batch.images)):
            boxes = [state.boxes[row].tolist() for state in states[1:]]
            for scale, view in enumerate(views):
                tile = _tile(view[row])
                if scale == 0:
                    _draw_boxes(tile, boxes, network.source_size)
                elif scale <= len(BOX_COLOURS):
                    edges = (0, 0, _TILE_PX - 1, _TILE_PX - 1)
                    draw_box(tile, edges, BOX_COLOURS[scale - 1], _LINE_PX)
                sheet.paste(tile, (scale * _TILE_PX, _TITLE_PX + row * _TILE_PX))

    with replacing(path) as temporary:
        save_png(sheet, temporary)


def write_film(folder: Path, path: Path) -> None:
    """Write a GIF of a folder's PNG files in the order of their names; without any, write nothing.

    A damaged image is left out, so that it cannot end a training at its last step.
    """
    frames = []
    for file in sorted(folder.glob("*.png")):
        with suppress(OSError, SyntaxError, ValueError), Image.open(file) as frame:
            frames.append(frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=_COLOURS))
    if not frames:
        return

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


def _closer_view(
    network: AttentionNetwork, state: ScaleState | PartState, images: Tensor
) -> Tensor:
    """A zoom [B, 3, V, V] in 0..1 as the network sees it; a part's box, which it only points at."""
    if isinstance(state, PartState):
        return resample(images, state.boxes.float(), _TILE_PX).clamp(0, 1)
    view = state.view.image.float() * network.std + network.mean
    return view.clamp(0, 1)


def _tile(view: Tensor) -> Image.Image:
    """A view [3, H, W] in 0..1 as a square tile."""
    pixels = view.permute(1, 2, 0).cpu().numpy()
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    return image.resize((_TILE_PX, _TILE_PX), Image.Resampling.BICUBIC)


def _draw_boxes(tile: Image.Image, boxes: Sequence[Sequence[float]], source_size: int) -> None:
    """Draw boxes (x, y, half side in source pixels) on a tile that shows the source."""
    factor = _TILE_PX / source_size
    for (x, y, half_side), colour in zip(boxes, BOX_COLOURS, strict=False):
        corners = (x - half_side, y - half_side, x + half_side, y + half_side)
        draw_box(tile, [edge * factor for edge in corners], colour, _LINE_PX)
