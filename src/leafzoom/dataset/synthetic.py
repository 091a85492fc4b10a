"""Rendered leaves: for tests, for the demo and for a first try without any data.

A leaf with veins on a cluttered background carries no lesion (`healthy`) or a cluster of small spots of one
kind or two: `ring_spot` (a pale ring around a dark centre) and `solid_spot` (a dark disc), of the same mean
colour, so that the kind shows only in detail. Each cluster's box is known.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from leafzoom.storage import make_folder, replacing, write_text

__all__ = ["SYNTHETIC_LABELS", "SyntheticLeaf", "render_leaves", "write_leaves"]

SYNTHETIC_LABELS = ("healthy", "ring_spot", "solid_spot")
_COMBINATIONS = (("healthy",), ("ring_spot",), ("solid_spot",), ("ring_spot", "solid_spot"))
_OVERSAMPLE = 2
_PALE, _DARK, _SOLID = (196, 172, 120), (70, 44, 26), (124, 98, 62)

Point = tuple[float, float]


@dataclass(frozen=True)
class SyntheticLeaf:
    """A rendered photograph.

    `pixels`: uint8 [S, S, 3]. `lesions`: a box (x0, y0, x1, y1) in pixels for each cluster of spots.
    """

    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    labels: tuple[str, ...]
    lesions: tuple[tuple[float, float, float, float], ...]


def render_leaves(count: int, *, size: int, seed: int) -> Iterator[SyntheticLeaf]:
    """`count` leaves, each determined by (seed, its place); label combinations take turns.

    >>> leaf = next(render_leaves(1, size=64, seed=0))
    >>> leaf.pixels.shape, leaf.labels, leaf.lesions
    ((64, 64, 3), ('healthy',), ())
    """
    for index in range(count):
        yield _render(_COMBINATIONS[index % len(_COMBINATIONS)], size, np.random.default_rng([seed, index]))


def write_leaves(folder: Path, count: int, *, size: int, seed: int) -> Path:
    """Write leaves in Kaggle's layout: `train.csv`, `train_images/*.jpg`, and `lesions.csv` with the boxes.

    Raises:
        LeafzoomError: the folder cannot be written.
    """
    images = make_folder(folder / "train_images")
    table, lesions = io.StringIO(), io.StringIO()
    rows, boxes = csv.writer(table, lineterminator="\n"), csv.writer(lesions, lineterminator="\n")
    rows.writerow(["image", "labels"])
    boxes.writerow(["image", "x0", "y0", "x1", "y1"])
    for index, leaf in enumerate(render_leaves(count, size=size, seed=seed)):
        name = f"leaf-{index:05d}.jpg"
        with replacing(images / name) as temporary:
            Image.fromarray(leaf.pixels).save(temporary, "JPEG", quality=92)
        rows.writerow([name, " ".join(leaf.labels)])
        boxes.writerows([name, *(f"{edge:.1f}" for edge in box)] for box in leaf.lesions)
    write_text(folder / "lesions.csv", lesions.getvalue())
    write_text(folder / "train.csv", table.getvalue())
    return folder


def _render(labels: tuple[str, ...], size: int, random: np.random.Generator) -> SyntheticLeaf:
    """One leaf, drawn at twice the size and averaged down."""
    side = size * _OVERSAMPLE
    canvas = _background(side, random)
    centre = (side * random.uniform(0.44, 0.56), side * random.uniform(0.44, 0.56))
    length, width = side * random.uniform(0.40, 0.47), side * random.uniform(0.24, 0.32)
    angle = random.uniform(0, 2 * math.pi)
    _draw_leaf(canvas, centre, length, width, angle, random)
    lesions = []
    taken: list[Point] = []
    for kind in labels:
        if kind != "healthy":
            spot = _free_place(centre, length, width, angle, taken, side, random)
            taken.append(spot)
            lesions.append(_draw_cluster(canvas, kind, spot, side, random))
    small = canvas.resize((size, size), Image.Resampling.BOX)
    noise = random.normal(0, 4, (size, size, 1))
    pixels = np.clip(np.asarray(small, np.float64) * random.uniform(0.85, 1.1) + noise, 0, 255).astype(np.uint8)
    boxes = tuple(tuple(edge / _OVERSAMPLE for edge in box) for box in lesions)
    return SyntheticLeaf(pixels, labels, boxes)  # type: ignore[arg-type]


def _background(side: int, random: np.random.Generator) -> Image.Image:
    """Blurred foliage, twigs and light."""
    tones = np.array([(46, 66, 32), (84, 104, 56), (120, 108, 78), (150, 160, 150), (36, 44, 28)])
    canvas = Image.new("RGB", (side, side), tuple(int(v) for v in tones[random.integers(len(tones))]))
    pen = ImageDraw.Draw(canvas)
    for _ in range(60):
        x, y = random.uniform(-0.1, 1.1, 2) * side
        rx, ry = random.uniform(0.03, 0.2, 2) * side
        tone = np.clip(tones[random.integers(len(tones))] + random.normal(0, 14, 3), 0, 255)
        pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=tuple(int(v) for v in tone))
    for _ in range(4):
        ends = [tuple(point) for point in random.uniform(0, side, (2, 2))]
        pen.line(ends, fill=(78, 60, 44), width=max(2, int(side * random.uniform(0.006, 0.02))))
    return canvas.filter(ImageFilter.GaussianBlur(side * random.uniform(0.004, 0.02)))


def _at(centre: Point, angle: float, along: float, across: float) -> Point:
    """A point of the leaf's own axes (along the midrib, across it) on the canvas."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return centre[0] + along * cosine - across * sine, centre[1] + along * sine + across * cosine


def _half_width(place: float, width: float) -> float:
    """Half the leaf's width at a place along the midrib, -1 (stalk) to 1 (tip)."""
    return width * math.sqrt(max(0.0, 1 - place * place)) * (1 - 0.25 * place)


def _draw_leaf(
    canvas: Image.Image, centre: Point, length: float, width: float, angle: float, random: np.random.Generator
) -> None:
    """The blade with a serrated edge, midrib and side veins."""
    pen = ImageDraw.Draw(canvas)
    green = np.array([random.uniform(60, 95), random.uniform(115, 150), random.uniform(38, 66)])
    fill, vein = (tuple(int(v) for v in green * factor) for factor in (1.0, 1.25))
    places = np.linspace(-1, 1, 90)
    teeth = 1 + 0.04 * np.sin(places * 70)
    upper = [
        _at(centre, angle, place * length, _half_width(place, width) * tooth)
        for place, tooth in zip(places, teeth, strict=True)
    ]
    lower = [_at(centre, angle, p * length, -_half_width(p, width) * t) for p, t in zip(places, teeth, strict=True)]
    pen.polygon(upper + lower[::-1], fill=fill)
    unit = canvas.width / 512
    stalk = [_at(centre, angle, -1.25 * length, 0), _at(centre, angle, 0.97 * length, 0)]
    pen.line(stalk, fill=vein, width=max(1, round(4 * unit)))
    for place in np.linspace(-0.8, 0.7, 8):
        for sign in (-1, 1):
            root = _at(centre, angle, place * length, 0)
            reach = sign * 0.85 * _half_width(min(place + 0.25, 0.95), width)
            pen.line(
                [root, _at(centre, angle, (place + 0.25) * length, reach)],
                fill=vein,
                width=max(1, round(2 * unit)),
            )


def _free_place(
    centre: Point,
    length: float,
    width: float,
    angle: float,
    taken: list[Point],
    side: int,
    random: np.random.Generator,
) -> Point:
    """A place well inside the blade, away from other clusters."""
    spot = centre
    for _ in range(50):
        along = random.uniform(-0.7, 0.7)
        across = random.uniform(-0.65, 0.65) * _half_width(along, width)
        spot = _at(centre, angle, along * length, across)
        if all(math.dist(spot, other) > 0.25 * side for other in taken):
            break
    return spot


def _draw_cluster(
    canvas: Image.Image, kind: str, spot: Point, side: int, random: np.random.Generator
) -> tuple[float, float, float, float]:
    """Six to nine spots of one kind around a place; their box on the canvas."""
    pen = ImageDraw.Draw(canvas)
    reach = 0.06 * side
    box = (math.inf, math.inf, -math.inf, -math.inf)
    for _ in range(int(random.integers(6, 10))):
        x, y = np.array(spot) + random.uniform(-reach, reach, 2)
        r = side * random.uniform(0.012, 0.018)
        edges = (x - r, y - r, x + r, y + r)
        if kind == "ring_spot":
            pen.ellipse(edges, fill=_PALE)
            pen.ellipse((x - 0.72 * r, y - 0.72 * r, x + 0.72 * r, y + 0.72 * r), fill=_DARK)
            pen.ellipse((x - 0.3 * r, y - 0.3 * r, x + 0.3 * r, y + 0.3 * r), fill=_PALE)
        else:
            pen.ellipse(edges, fill=_SOLID)
        box = (min(box[0], edges[0]), min(box[1], edges[1]), max(box[2], edges[2]), max(box[3], edges[3]))
    return box
