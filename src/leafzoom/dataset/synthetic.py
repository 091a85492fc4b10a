"""Rendered leaves: for tests, for the demo and for a first try without any data.

A leaf with veins among blurred others carries no lesion (`healthy`) or one patch of small spots, of
one kind or of both mixed: `ring_spot` (a dark centre, a pale ring) and `solid_spot` (a disc of the
ring spot's mean colour). At a low resolution the two kinds look the same, as sizes and shades vary
more than the remaining difference. The kind shows only in detail, and every patch's box is known.

Every leaf is determined by its random generator, so the order of the draws is part of the format.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from leafzoom.dataset.table import LESIONS_CSV
from leafzoom.storage import make_folder, replacing, write_text

__all__ = [
    "SYNTHETIC_LABELS",
    "SyntheticLeaf",
    "render_leaves",
    "write_class_folders",
    "write_leaves",
]

SYNTHETIC_LABELS = ("healthy", "ring_spot", "solid_spot")
_COMBINATIONS: tuple[tuple[str, ...], ...] = (
    ("healthy",),
    ("ring_spot",),
    ("solid_spot",),
    ("ring_spot", "solid_spot"),
)

_OVERSAMPLE = 2
_SPOT_OVERSAMPLE = 4
_JPEG_QUALITY = 92
_NOISE_STD = 4  # grey levels

_BACKGROUND_TONES = np.array(
    [(46, 66, 32), (84, 104, 56), (120, 108, 78), (150, 160, 150), (36, 44, 28)]
)
_TWIG = (78, 60, 44)
_PALE = np.array((184, 160, 112))
_DARK = np.array((66, 44, 30))

# Radius of a ring spot's dark centre, as a share of the spot's.
_CORE_SHARE = 0.62
# The mean colour of a ring spot.
_SOLID = _PALE * (1 - _CORE_SHARE**2) + _DARK * _CORE_SHARE**2

# How far a patch reaches from its centre, as a share of the photograph's side.
_PATCH_REACH = 0.05

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class SyntheticLeaf:
    """A rendered photograph.

    `pixels`: uint8 [S, S, 3]. `lesions`: a box (x0, y0, x1, y1) in pixels for each patch of spots.
    """

    pixels: NDArray[np.uint8]
    labels: tuple[str, ...]
    lesions: tuple[Box, ...]


def render_leaves(
    count: int, *, size: int, seed: int, single_label: bool = False
) -> Iterator[SyntheticLeaf]:
    """`count` leaves, each determined by (seed, its index); label combinations take turns.

    With `single_label`, each leaf has one label.

    >>> leaf = next(render_leaves(1, size=64, seed=0))
    >>> leaf.pixels.shape, leaf.labels, leaf.lesions
    ((64, 64, 3), ('healthy',), ())
    """
    combinations = _COMBINATIONS
    if single_label:
        combinations = tuple(labels for labels in _COMBINATIONS if len(labels) == 1)

    for index in range(count):
        labels = combinations[index % len(combinations)]
        yield _render(labels, size, np.random.default_rng([seed, index]))


def write_leaves(folder: Path, count: int, *, size: int, seed: int) -> Path:
    """Write leaves in Kaggle's layout: `train.csv`, `train_images/*.jpg`, and `lesions.csv`.

    Raises:
        LeafzoomError: the folder cannot be written.
    """
    photo_folder = make_folder(folder / "train_images")
    label_rows: list[list[str]] = [["image", "labels"]]
    lesion_rows: list[list[str]] = [["image", "x0", "y0", "x1", "y1"]]

    for index, leaf in enumerate(render_leaves(count, size=size, seed=seed)):
        name = f"leaf-{index:05d}.jpg"
        with replacing(photo_folder / name) as temporary:
            Image.fromarray(leaf.pixels).save(temporary, "JPEG", quality=_JPEG_QUALITY)

        label_rows.append([name, " ".join(leaf.labels)])
        for box in leaf.lesions:
            edges = [f"{edge:.1f}" for edge in box]
            lesion_rows.append([name, *edges])

    # train.csv comes last, so a folder that has it is complete.
    write_text(folder / LESIONS_CSV, _csv_text(lesion_rows))
    write_text(folder / "train.csv", _csv_text(label_rows))
    return folder


def write_class_folders(folder: Path, count: int, *, size: int, seed: int) -> Path:
    """Write leaves of one label each, a folder a class: `healthy/leaf-00000.jpg`.

    Raises:
        LeafzoomError: the folder cannot be written.
    """
    leaves = render_leaves(count, size=size, seed=seed, single_label=True)
    for index, leaf in enumerate(leaves):
        class_folder = make_folder(folder / leaf.labels[0])
        with replacing(class_folder / f"leaf-{index:05d}.jpg") as temporary:
            Image.fromarray(leaf.pixels).save(temporary, "JPEG", quality=_JPEG_QUALITY)
    return folder


@dataclass(frozen=True)
class _Leaf:
    """A leaf on the canvas.

    `centre`: of the blade. `length`, `width`: half the blade's, in pixels. `angle`: of the tip's
    direction, in radians.
    """

    centre: Point
    length: float
    width: float
    angle: float

    @classmethod
    def draw(cls, side: int, random: np.random.Generator) -> _Leaf:
        """The leaf in focus, near the middle of the photograph."""
        return cls(
            centre=(side * random.uniform(0.43, 0.57), side * random.uniform(0.43, 0.57)),
            length=side * random.uniform(0.40, 0.47),
            width=side * random.uniform(0.26, 0.33),
            angle=random.uniform(0, 2 * math.pi),
        )

    @classmethod
    def draw_blurred(cls, side: int, random: np.random.Generator) -> _Leaf:
        """A leaf of the background, anywhere and partly outside."""
        x, y = random.uniform(-0.1, 1.1, 2) * side
        length = side * random.uniform(0.18, 0.4)
        return cls(
            centre=(x, y),
            length=length,
            width=length * random.uniform(0.5, 0.7),
            angle=random.uniform(0, 2 * math.pi),
        )

    def point(self, along: float, across: float) -> Point:
        """A point of the blade on the canvas.

        Convention: `along` the midrib from -1 (stalk) to 1 (tip), `across` it from -1 to 1.
        """
        x = along * self.length
        y = across * self.half_width(along)
        cosine = math.cos(self.angle)
        sine = math.sin(self.angle)
        return self.centre[0] + x * cosine - y * sine, self.centre[1] + x * sine + y * cosine

    def half_width(self, along: float) -> float:
        """Half the blade's width, in pixels."""
        return self.width * math.sqrt(max(0.0, 1 - along * along)) * (1 - 0.25 * along)

    def outline(self) -> list[Point]:
        """The serrated edge."""
        positions = np.linspace(-1, 1, 90)
        teeth = 1 + 0.04 * np.sin(positions * 70)

        edge = list(zip(positions, teeth, strict=True))
        upper = [self.point(along, tooth) for along, tooth in edge]
        lower = [self.point(along, -tooth) for along, tooth in edge]
        return upper + lower[::-1]


def _render(labels: tuple[str, ...], size: int, random: np.random.Generator) -> SyntheticLeaf:
    """One leaf, drawn at twice the size and averaged down."""
    side = size * _OVERSAMPLE

    # The background is out of focus: half the pixels hold all of it.
    canvas = _background(size, random).resize((side, side))
    leaf = _Leaf.draw(side, random)
    _draw_leaf(canvas, leaf, random)

    # The lesions, in pixels of the photograph, not of the larger canvas.
    boxes: list[Box] = []
    kinds = [label for label in labels if label != "healthy"]
    if kinds:
        centre = _patch_centre(leaf, random)
        x0, y0, x1, y1 = _draw_patch(canvas, kinds, centre, random)
        boxes.append((x0 / _OVERSAMPLE, y0 / _OVERSAMPLE, x1 / _OVERSAMPLE, y1 / _OVERSAMPLE))

    # Light and noise come after the averaging, which would smooth the noise away.
    small = np.asarray(canvas.resize((size, size), Image.Resampling.BOX), np.float64)
    light = _light(size, random)[:, :, None]
    noise = random.normal(0, _NOISE_STD, (size, size, 1))
    pixels = np.clip(small * light + noise, 0, 255).astype(np.uint8)
    return SyntheticLeaf(pixels, labels, tuple(boxes))


def _background(side: int, random: np.random.Generator) -> Image.Image:
    """Foliage, twigs and light, out of focus."""
    tones = _BACKGROUND_TONES
    canvas = Image.new("RGB", (side, side), _rgb(tones[random.integers(len(tones))]))
    pen = ImageDraw.Draw(canvas)

    # Light and shadow.
    for _ in range(40):
        x, y = random.uniform(-0.1, 1.1, 2) * side
        radius_x, radius_y = random.uniform(0.03, 0.2, 2) * side
        ellipse = (x - radius_x, y - radius_y, x + radius_x, y + radius_y)
        tone = tones[random.integers(len(tones))]
        pen.ellipse(ellipse, fill=_rgb(tone + random.normal(0, 14, 3)))

    # Twigs.
    for _ in range(4):
        ends = [tuple(point) for point in random.uniform(0, side, (2, 2))]
        pen.line(ends, fill=_TWIG, width=max(2, int(side * random.uniform(0.006, 0.02))))

    # Other leaves.
    for _ in range(int(random.integers(3, 7))):
        leaf = _Leaf.draw_blurred(side, random)
        green = _green(random) * random.uniform(0.55, 0.9)
        midrib = [leaf.point(-1, 0), leaf.point(1, 0)]
        pen.polygon(leaf.outline(), fill=_rgb(green))
        pen.line(midrib, fill=_rgb(green * 1.2), width=max(1, side // 64))

    return canvas.filter(ImageFilter.GaussianBlur(side * random.uniform(0.006, 0.018)))


def _draw_leaf(canvas: Image.Image, leaf: _Leaf, random: np.random.Generator) -> None:
    """The blade, its midrib and side veins, and specks that are no lesions."""
    pen = ImageDraw.Draw(canvas)
    unit = canvas.width / 512
    green = _green(random)
    vein = _rgb(green * 1.25)
    pen.polygon(leaf.outline(), fill=_rgb(green))

    # Veins.
    midrib = [leaf.point(-1.25, 0), leaf.point(0.97, 0)]
    pen.line(midrib, fill=vein, width=max(1, round(4 * unit)))
    for along in np.linspace(-0.8, 0.7, 8):
        for side in (-1, 1):
            rib = [leaf.point(along, 0), leaf.point(min(along + 0.25, 0.95), side * 0.85)]
            pen.line(rib, fill=vein, width=max(1, round(2 * unit)))

    # Specks.
    for _ in range(int(random.integers(6, 16))):
        x, y = leaf.point(random.uniform(-0.9, 0.9), random.uniform(-0.9, 0.9))
        radius = random.uniform(1, 2.5) * unit
        colour = _rgb(green * random.choice([0.75, 1.35]))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _patch_centre(leaf: _Leaf, random: np.random.Generator) -> Point:
    """The centre of a patch, anywhere on the blade but at its edge."""
    return leaf.point(random.uniform(-0.8, 0.8), random.uniform(-0.7, 0.7))


def _draw_patch(
    canvas: Image.Image,
    kinds: list[str],
    centre: Point,
    random: np.random.Generator,
) -> Box:
    """Draw eight to twelve spots around a centre, of some kinds in turn; their box on the canvas.

    Sizes and shades differ from patch to patch and from spot to spot, whatever the kind.
    """
    side = canvas.width
    reach = _PATCH_REACH * side
    count = int(random.integers(8, 13))
    patch_radius = side * random.uniform(0.006, 0.008)
    patch_shade = random.uniform(0.8, 1.2)

    boxes: list[Box] = []
    for turn in range(count):
        x, y = np.array(centre) + random.uniform(-reach, reach, 2)
        radius = patch_radius * random.uniform(0.85, 1.15)
        shade = patch_shade * random.uniform(0.9, 1.1)
        kind = kinds[turn % len(kinds)]
        boxes.append(_draw_spot(canvas, kind, (x, y), radius, shade))

    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _draw_spot(
    canvas: Image.Image,
    kind: str,
    centre: Point,
    radius: float,
    shade: float,
) -> Box:
    """Draw one spot of a radius in pixels; its box.

    Pixels are blended by the share that the spot covers: small discs keep their area.
    """
    # The square of whole pixels around the spot.
    x, y = centre
    x0 = math.floor(x - radius) - 1
    y0 = math.floor(y - radius) - 1
    side = 2 * math.ceil(radius) + 4

    # Distances from the centre at several points of each pixel.
    grid = (np.arange(side * _SPOT_OVERSAMPLE) + 0.5) / _SPOT_OVERSAMPLE
    distances = np.hypot(grid[None, :] + x0 - x, grid[:, None] + y0 - y)
    spot = _coverage(distances, radius)
    core = _coverage(distances, radius * _CORE_SHARE)

    # A ring spot is pale around a dark core, any other is of one colour.
    outer_colour = _PALE if kind == "ring_spot" else _SOLID
    core_colour = _DARK if kind == "ring_spot" else _SOLID

    # Blend in the whole spot, then its core over it.
    pixels = np.asarray(canvas.crop((x0, y0, x0 + side, y0 + side)), np.float64)
    pixels = pixels + spot * (outer_colour * shade - pixels)
    pixels = pixels + core * (core_colour - outer_colour) * shade
    pixels = np.clip(pixels.round(), 0, 255)

    canvas.paste(Image.fromarray(pixels.astype(np.uint8)), (x0, y0))
    return x - radius, y - radius, x + radius, y + radius


def _coverage(distances: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """The share of each pixel that a disc covers, [S, S, 1], of oversampled distances."""
    fine = _SPOT_OVERSAMPLE
    side = len(distances) // fine
    inside = (distances < radius).reshape(side, fine, side, fine)
    return np.asarray(inside.mean(axis=(1, 3))[:, :, None], np.float64)


def _light(size: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Light from one side, [size, size], about 1."""
    angle = random.uniform(0, 2 * math.pi)
    slope = random.uniform(0, 0.25)
    brightness = random.uniform(0.85, 1.1)

    axis = np.linspace(-1, 1, size)
    gradient = math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None]
    return brightness * (1 + slope * gradient)


def _green(random: np.random.Generator) -> NDArray[np.float64]:
    """The colour of a leaf."""
    return np.array([random.uniform(60, 95), random.uniform(115, 150), random.uniform(38, 66)])


def _rgb(colour: NDArray[np.float64] | NDArray[np.int64]) -> tuple[int, ...]:
    """A colour as Pillow takes it."""
    return tuple(int(value) for value in np.clip(colour, 0, 255))


def _csv_text(rows: list[list[str]]) -> str:
    """Rows as the text of a CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
