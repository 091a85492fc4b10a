"""The gallery (figure 13): photographs with both boxes, the zooms, and what each scale said of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from leafzoom.errors import PhotoError
from leafzoom.labels import LabelSet
from leafzoom.photo import BOX_COLOURS, read_photo

__all__ = ["Exhibit", "choose", "exhibit"]

_HEIGHT = 200
_QUALITY = 82
_SURE = 0.9


@dataclass(frozen=True)
class Exhibit:
    """One photograph of the gallery.

    `pictures`: data URIs, the photograph with its boxes and then every zoom. `scales`: for each scale the labels that
    it gives a third or more, with their probabilities, the most probable first.
    """

    image: str
    given: tuple[str, ...]
    said: tuple[str, ...]
    confidence: float
    pictures: tuple[str, ...]
    scales: tuple[tuple[tuple[str, float], ...], ...]


def choose(
    targets: NDArray[np.integer],
    answers: NDArray[np.integer],
    shares: NDArray[np.float64],
    labels: LabelSet,
    count: int,
) -> dict[str, list[int]]:
    """Which photographs are shown: {group: rows}.

    Args:
        targets, answers: [n, L].
        shares: [n, C], the probability of every combination (see `combination_probabilities`).
        labels: with the C combinations.
        count: of each group, at the most.

    Returns:
        "right": of every combination in turn, drawn at random; "wrong": drawn at random; "uncertain": the least sure
        answers; "suspect": answers that are sure (nine tenths or more) of something else than the given label, the
        surest first: labels worth checking.
    """
    random = np.random.default_rng(0)
    exact = (targets == answers).all(axis=1)
    sure = shares.max(axis=1)
    order = random.permutation(len(targets))
    by_combination = [
        [row for row in order if exact[row] and tuple(targets[row]) == tuple(combination)]
        for combination in labels.combinations
    ]
    most = max((len(rows) for rows in by_combination), default=0)
    turns = [rows[turn] for turn in range(most) for rows in by_combination if turn < len(rows)]
    suspect = [row for row in np.argsort(-sure, kind="stable") if not exact[row] and sure[row] >= _SURE]
    return {
        "right": [int(row) for row in turns[:count]],
        "wrong": [int(row) for row in order if not exact[row]][:count],
        "uncertain": [int(row) for row in np.argsort(sure, kind="stable")[:count]],
        "suspect": [int(row) for row in suspect[:count]],
    }


def exhibit(
    photo: Path,
    image: str,
    *,
    given: tuple[str, ...],
    said: tuple[str, ...],
    confidence: float,
    boxes: list[NDArray[np.floating]],
    scales: list[Mapping[str, float]],
) -> Exhibit | None:
    """One photograph's pictures and what was said; None if the file cannot be read any more.

    Args:
        photo: the file.
        image: its name in the table.
        given, said: labels.
        confidence: of the answer.
        boxes: x0, y0, x1, y1 in photo pixels for each scale, the first being the whole photograph.
        scales: each scale's probabilities.
    """
    try:
        picture = read_photo(photo)
    except PhotoError:
        return None
    width = max(1, min(4 * _HEIGHT, round(picture.width * _HEIGHT / picture.height)))  # a longer one is squeezed
    factors = (width / picture.width, _HEIGHT / picture.height) * 2
    whole = picture.resize((width, _HEIGHT), Image.Resampling.LANCZOS)
    tiles = [whole]
    for box, colour in zip(boxes[1:], BOX_COLOURS, strict=False):
        edges = [float(edge) * factor for edge, factor in zip(box, factors, strict=True)]
        ImageDraw.Draw(whole).rectangle(edges, outline=colour, width=3)
        x0, y0, x1, y1 = (round(float(edge)) for edge in box)
        zoom = picture.crop((x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))).resize((whole.width, _HEIGHT))
        ImageDraw.Draw(zoom).rectangle((0, 0, zoom.width - 1, _HEIGHT - 1), outline=colour, width=4)
        tiles.append(zoom)
    ranked = [tuple(sorted(scale.items(), key=lambda entry: -entry[1])) for scale in scales]
    shown = tuple(tuple(entry for place, entry in enumerate(r) if place == 0 or entry[1] >= 1 / 3) for r in ranked)
    return Exhibit(image, given, said, confidence, tuple(_data_uri(tile) for tile in tiles), shown)


def _data_uri(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
