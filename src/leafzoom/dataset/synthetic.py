"""Rendered leaves: for tests, for the demo and for a first try without any data.

A leaf with veins among blurred others carries no lesion (`healthy`) or one patch of small spots, of one kind or of
both mixed: `ring_spot` (a dark centre, a pale ring) and `solid_spot` (a disc of the ring spot's mean colour). Where a
leaf shows them from afar the two kinds look the same, as sizes and shades vary more than what is left of the
difference: the kind shows only in detail, and every patch's box is known.
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

from leafzoom.dataset.table import LESIONS_CSV
from leafzoom.storage import make_folder, replacing, write_text

__all__ = ["SYNTHETIC_LABELS", "SyntheticLeaf", "render_leaves", "write_leaves"]

SYNTHETIC_LABELS = ("healthy", "ring_spot", "solid_spot")
_COMBINATIONS = (("healthy",), ("ring_spot",), ("solid_spot",), ("ring_spot", "solid_spot"))
_OVERSAMPLE = 2
_PALE, _DARK = np.array((184, 160, 112)), np.array((66, 44, 30))
_SPOT_OVERSAMPLE = 4
_CORE = 0.62  # the dark centre's radius, of the spot's
_SOLID = _PALE * (1 - _CORE**2) + _DARK * _CORE**2  # what a ring spot is from afar
_REACH = 0.05  # of a patch around its centre, as a share of the photograph's side

Point = tuple[float, float]


@dataclass(frozen=True)
class SyntheticLeaf:
    """A rendered photograph.

    `pixels`: uint8 [S, S, 3]. `lesions`: a box (x0, y0, x1, y1) in pixels for each patch of spots.
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
    write_text(folder / LESIONS_CSV, lesions.getvalue())
    write_text(folder / "train.csv", table.getvalue())
    return folder


def _render(labels: tuple[str, ...], size: int, random: np.random.Generator) -> SyntheticLeaf:
    """One leaf, drawn at twice the size and averaged down."""
    side = size * _OVERSAMPLE
    canvas = _background(size, random).resize((side, side))  # out of focus: half the pixels hold it all
    leaf = _Leaf.draw(side, random)
    _draw_leaf(canvas, leaf, random)
    kinds = [label for label in labels if label != "healthy"]
    lesions = [_draw_patch(canvas, kinds, _place_on(leaf, random), random)] if kinds else []
    small = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float64)
    light = _light(size, random)[:, :, None]
    pixels = np.clip(small * light + random.normal(0, 4, (size, size, 1)), 0, 255).astype(np.uint8)
    boxes = tuple(tuple(edge / _OVERSAMPLE for edge in box) for box in lesions)
    return SyntheticLeaf(pixels, labels, boxes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Leaf:
    """A leaf's place on the canvas: the blade's middle, half its length and width in pixels, and where it points."""

    centre: Point
    length: float
    width: float
    angle: float

    @classmethod
    def draw(cls, side: int, random: np.random.Generator) -> _Leaf:
        """The leaf in focus, near the middle of the photograph."""
        return cls(
            (side * random.uniform(0.43, 0.57), side * random.uniform(0.43, 0.57)),
            side * random.uniform(0.40, 0.47),
            side * random.uniform(0.26, 0.33),
            random.uniform(0, 2 * math.pi),
        )

    def at(self, along: float, across: float) -> Point:
        """A point of the blade on the canvas: along the midrib, -1 (stalk) to 1 (tip), and across, -1 to 1."""
        x, y = along * self.length, across * self.half_width(along)
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        return self.centre[0] + x * cosine - y * sine, self.centre[1] + x * sine + y * cosine

    def half_width(self, along: float) -> float:
        """Half the blade's width, in pixels."""
        return self.width * math.sqrt(max(0.0, 1 - along * along)) * (1 - 0.25 * along)

    def outline(self) -> list[Point]:
        """The serrated edge."""
        places = np.linspace(-1, 1, 90)
        teeth = 1 + 0.04 * np.sin(places * 70)
        upper = [self.at(place, tooth) for place, tooth in zip(places, teeth, strict=True)]
        lower = [self.at(place, -tooth) for place, tooth in zip(places, teeth, strict=True)]
        return upper + lower[::-1]


def _background(side: int, random: np.random.Generator) -> Image.Image:
    """Foliage, twigs and light, out of focus."""
    tones = np.array([(46, 66, 32), (84, 104, 56), (120, 108, 78), (150, 160, 150), (36, 44, 28)])
    canvas = Image.new("RGB", (side, side), _rgb(tones[random.integers(len(tones))]))
    pen = ImageDraw.Draw(canvas)
    for _ in range(40):
        x, y = random.uniform(-0.1, 1.1, 2) * side
        rx, ry = random.uniform(0.03, 0.2, 2) * side
        pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=_rgb(tones[random.integers(5)] + random.normal(0, 14, 3)))
    for _ in range(4):
        ends = [tuple(point) for point in random.uniform(0, side, (2, 2))]
        pen.line(ends, fill=(78, 60, 44), width=max(2, int(side * random.uniform(0.006, 0.02))))
    for _ in range(int(random.integers(3, 7))):
        x, y = random.uniform(-0.1, 1.1, 2) * side
        length = side * random.uniform(0.18, 0.4)
        leaf = _Leaf((x, y), length, length * random.uniform(0.5, 0.7), random.uniform(0, 2 * math.pi))
        green = _green(random) * random.uniform(0.55, 0.9)
        pen.polygon(leaf.outline(), fill=_rgb(green))
        pen.line([leaf.at(-1, 0), leaf.at(1, 0)], fill=_rgb(green * 1.2), width=max(1, side // 64))
    return canvas.filter(ImageFilter.GaussianBlur(side * random.uniform(0.006, 0.018)))


def _draw_leaf(canvas: Image.Image, leaf: _Leaf, random: np.random.Generator) -> None:
    """The blade, its midrib and side veins, and specks that are no lesions."""
    pen = ImageDraw.Draw(canvas)
    green = _green(random)
    vein = _rgb(green * 1.25)
    pen.polygon(leaf.outline(), fill=_rgb(green))
    unit = canvas.width / 512
    pen.line([leaf.at(-1.25, 0), leaf.at(0.97, 0)], fill=vein, width=max(1, round(4 * unit)))
    for place in np.linspace(-0.8, 0.7, 8):
        for sign in (-1, 1):
            rib = [leaf.at(place, 0), leaf.at(min(place + 0.25, 0.95), sign * 0.85)]
            pen.line(rib, fill=vein, width=max(1, round(2 * unit)))
    for _ in range(int(random.integers(6, 16))):
        (x, y), r = leaf.at(random.uniform(-0.9, 0.9), random.uniform(-0.9, 0.9)), random.uniform(1, 2.5) * unit
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_rgb(green * random.choice([0.75, 1.35])))


def _place_on(leaf: _Leaf, random: np.random.Generator) -> Point:
    """A place for a patch, anywhere on the blade but its edge."""
    return leaf.at(random.uniform(-0.8, 0.8), random.uniform(-0.7, 0.7))


def _draw_patch(
    canvas: Image.Image, kinds: list[str], place: Point, random: np.random.Generator
) -> tuple[float, float, float, float]:
    """Eight to twelve spots around a place, of these kinds in turn; their box on the canvas.

    Sizes and shades differ from patch to patch and from spot to spot, whatever the kind.
    """
    side = canvas.width
    reach, spots = _REACH * side, int(random.integers(8, 13))
    radius, shade = side * random.uniform(0.006, 0.008), random.uniform(0.8, 1.2)
    box = (math.inf, math.inf, -math.inf, -math.inf)
    for turn in range(spots):
        x, y = np.array(place) + random.uniform(-reach, reach, 2)
        r, tint = radius * random.uniform(0.85, 1.15), shade * random.uniform(0.9, 1.1)
        edges = _draw_spot(canvas, kinds[turn % len(kinds)], (x, y), r, tint)
        box = (min(box[0], edges[0]), min(box[1], edges[1]), max(box[2], edges[2]), max(box[3], edges[3]))
    return box


def _draw_spot(
    canvas: Image.Image, kind: str, place: Point, r: float, tint: float
) -> tuple[float, float, float, float]:
    """One spot of radius r pixels; its box. Drawn by coverage, so that small discs have the area they should."""
    x0, y0 = (math.floor(value - r) - 1 for value in place)
    side = 2 * math.ceil(r) + 4
    fine = _SPOT_OVERSAMPLE
    grid = (np.arange(side * fine) + 0.5) / fine
    distance = np.hypot(grid[None, :] + x0 - place[0], grid[:, None] + y0 - place[1])

    def coverage(radius: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        inside = (distance < radius).reshape(side, fine, side, fine)
        return np.asarray(inside.mean(axis=(1, 3))[:, :, None], np.float64)

    region = (x0, y0, x0 + side, y0 + side)
    pixels = np.asarray(canvas.crop(region), np.float64)
    outer, core = (_PALE, _DARK) if kind == "ring_spot" else (_SOLID, _SOLID)
    pixels = pixels + coverage(r) * (outer * tint - pixels)
    pixels = pixels + coverage(r * _CORE) * (core - outer) * tint
    canvas.paste(Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8)), (x0, y0))
    return place[0] - r, place[1] - r, place[0] + r, place[1] + r


def _light(size: int, random: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Light from one side, [size, size], about 1."""
    angle, slope = random.uniform(0, 2 * math.pi), random.uniform(0, 0.25)
    place = np.linspace(-1, 1, size)
    return random.uniform(0.85, 1.1) * (
        1 + slope * (math.cos(angle) * place[None, :] + math.sin(angle) * place[:, None])
    )


def _green(random: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([random.uniform(60, 95), random.uniform(115, 150), random.uniform(38, 66)])


def _rgb(colour: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[int, ...]:
    return tuple(int(value) for value in np.clip(colour, 0, 255))
