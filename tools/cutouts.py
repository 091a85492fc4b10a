"""Photographs of leaves as other people take them: cut out, laid on other grounds, other light.

A detector that only knows the competition's photographs learns their orchards and cameras. Here the
leaf is cut out (GrabCut, Rother et al. 2004, from OpenCV), scaled, turned, laid on another ground
with a shadow, and the picture is changed as cameras and phones change it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CutOut", "cut_out", "lay_on", "photometric_change", "table_top", "varied_leaves"]

_WORKING_SIDE_PX = 128  # GrabCut is slow on more pixels and no better
_ITERATIONS = 3
_MIN_LEAF_SHARE = 0.06
_MAX_LEAF_SHARE = 0.75
_MIN_CONTRAST = 2.0  # deviation of 0..255
_LANDSCAPE = 1.5  # the photographs were 3:2 before they were squashed
_SHAPES = (1.0, 1.0, 1.5, 4 / 3, 0.75)

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class CutOut:
    """A leaf and where it is: `picture` uint8 [S, S, 3], `mask` uint8 [S, S], 255 on the leaf."""

    picture: Picture
    mask: Picture


def cut_out(picture: Picture) -> CutOut | None:
    """The leaf in the middle of a source, uint8 [S, S, 3].

    Returns:
        None where no leaf stands out: less than 6 % or more than 75 % of the picture.
    """
    small = cv2.resize(picture, (_WORKING_SIDE_PX,) * 2, interpolation=cv2.INTER_AREA)
    if float(np.std(small)) < _MIN_CONTRAST:
        return None
    mask = _first_guess(_WORKING_SIDE_PX)
    try:
        cv2.setRNGSeed(0)
        ground_model = np.zeros((1, 65))
        leaf_model = np.zeros((1, 65))
        cv2.grabCut(  # type: ignore[call-overload]
            small, mask, None, ground_model, leaf_model, _ITERATIONS, cv2.GC_INIT_WITH_MASK
        )
    except cv2.error:  # too few colours for its models
        return None

    # The largest piece, without thin threads and small holes.
    is_leaf = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    opened = cv2.morphologyEx(is_leaf, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    pieces, piece_of, statistics, _ = cv2.connectedComponentsWithStats(closed)
    if pieces < 2:
        return None
    largest = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    leaf = (piece_of == largest).astype(np.uint8)

    if not _MIN_LEAF_SHARE <= float(leaf.mean()) <= _MAX_LEAF_SHARE:
        return None
    side = picture.shape[0]
    return CutOut(picture, np.asarray(cv2.resize(leaf * 255, (side, side)), np.uint8))


def table_top(random: np.random.Generator, side: int) -> Picture:
    """A plain ground, uint8 [side, side, 3]: a colour near grey, unevenly lit, with grain."""
    colour = np.clip(random.uniform(60, 225) + random.normal(0, 12, 3), 10, 250)

    # Light from one side.
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    angle = random.uniform(0, 2 * np.pi)
    light = 1 + random.uniform(0, 0.35) * (np.cos(angle) * x + np.sin(angle) * y)
    ground = colour * light[..., None]

    # Grain of paper, cloth or concrete; sometimes large spots.
    ground += _noise(random, side, random.uniform(0.4, 3)) * random.uniform(1, 14)
    if random.random() < 0.25:
        ground += _noise(random, side, random.uniform(8, 30)) * random.uniform(3, 20)
    return np.asarray(np.clip(ground, 0, 255), np.uint8)


def lay_on(random: np.random.Generator, leaf: CutOut, ground: Picture) -> Picture:
    """The leaf at another size and angle on another ground of the same side, mostly with shadow."""
    side = ground.shape[0]
    transform = _placement(random, leaf.mask, side)

    picture = cv2.warpAffine(
        leaf.picture, transform, (side, side), borderMode=cv2.BORDER_REFLECT
    ).astype(np.float64)
    soft_mask = cv2.GaussianBlur(leaf.mask, (0, 0), 1.2)
    mask = cv2.warpAffine(soft_mask, transform, (side, side)) / 255.0
    mask = np.clip((mask - 0.35) / 0.4, 0, 1)  # a little inside the edge

    under = ground.astype(np.float64)
    if random.random() < 0.6:
        under *= 1 - _shadow(random, mask)[..., None]
    laid = picture * mask[..., None] + under * (1 - mask[..., None])
    return np.asarray(np.clip(laid, 0, 255), np.uint8)


def photometric_change(random: np.random.Generator, picture: Picture) -> Picture:
    """Other white balance, exposure, contrast, saturation, sharpness, noise and compression."""
    changed = picture.astype(np.float64)

    # Colour and light.
    if random.random() < 0.5:
        changed *= 1 + random.normal(0, 0.10, 3)
    if random.random() < 0.5:
        gamma = np.exp(random.normal(0, 0.25))
        changed = 255 * (np.clip(changed, 0, 255) / 255) ** gamma
    if random.random() < 0.4:
        mean = changed.mean()
        changed = (changed - mean) * random.uniform(0.65, 1.25) + mean
    if random.random() < 0.3:
        grey = changed.mean(axis=2, keepdims=True)
        changed = grey + (changed - grey) * random.uniform(0.0, 1.4)

    # Sharpness, noise, compression.
    kind = random.random()
    if kind < 0.3:
        changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), random.uniform(0.4, 1.6)))
    elif kind < 0.5:
        blurred = np.asarray(cv2.GaussianBlur(changed, (0, 0), 1.0))
        changed = changed + (changed - blurred) * random.uniform(0.3, 1.2)
    if random.random() < 0.3:
        changed = changed + random.normal(0, random.uniform(1, 7), changed.shape)
    result = np.clip(changed, 0, 255).astype(np.uint8)
    if random.random() < 0.4:
        quality = int(random.uniform(35, 90))
        _, content = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, quality])
        result = np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
    return result


def varied_leaves(
    pictures: Sequence[Picture], grounds: Sequence[Picture], seed: int
) -> Iterator[Picture]:
    """Two pictures of each leaf: changed as it is, and laid on another ground and changed.

    Half of the grounds are table tops; the others are pictures without a leaf, where there are any.
    A leaf that cannot be cut out gives one picture.
    """
    random = np.random.default_rng(seed)
    for picture in pictures:
        yield photometric_change(random, picture)

        leaf = cut_out(picture)
        if leaf is None:
            continue
        ground = table_top(random, picture.shape[0])
        if len(grounds) and random.random() < 0.5:
            ground = grounds[int(random.integers(len(grounds)))]
        yield photometric_change(random, lay_on(random, leaf, ground))


def _first_guess(side: int) -> Picture:
    """GrabCut's first mask: leaf in the middle, ground at the border, between them a guess."""
    mask = np.full((side, side), cv2.GC_PR_BGD, np.uint8)
    middle = (side // 2, side // 2)
    wide = (int(side * 0.42), int(side * 0.36))
    narrow = (int(side * 0.22), int(side * 0.16))
    cv2.ellipse(mask, middle, wide, 0, 0, 360, cv2.GC_PR_FGD, -1)
    cv2.ellipse(mask, middle, narrow, 0, 0, 360, cv2.GC_FGD, -1)

    border = 3
    mask[:border] = cv2.GC_BGD
    mask[-border:] = cv2.GC_BGD
    mask[:, :border] = cv2.GC_BGD
    mask[:, -border:] = cv2.GC_BGD
    return mask


def _noise(random: np.random.Generator, side: int, sigma_px: float) -> NDArray[np.float64]:
    """Smoothed grey noise of deviation 1, [side, side, 1]."""
    noise = np.asarray(cv2.GaussianBlur(random.normal(0, 1, (side, side)), (0, 0), sigma_px))
    return np.asarray(noise / noise.std())[..., None]


def _placement(random: np.random.Generator, mask: Picture, side: int) -> NDArray[np.float64]:
    """The affine transform [2, 3] that turns, scales and moves the leaf, for `cv2.warpAffine`."""
    rows, columns = np.nonzero(mask > 127)
    centre = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2
    extent = max(int(np.ptp(columns)), int(np.ptp(rows)), 1)
    factor = random.uniform(0.55, 1.0) * side / extent

    # Back to the photograph's shape, turned, then squashed from another shape.
    unsquash = np.diag([np.sqrt(_LANDSCAPE), 1 / np.sqrt(_LANDSCAPE)])
    angle = random.uniform(0, 2 * np.pi)
    cosine = np.cos(angle)
    sine = np.sin(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    shape = random.choice(_SHAPES)
    squash = np.diag([1 / np.sqrt(shape), np.sqrt(shape)])
    linear = factor * squash @ turn @ unsquash

    shift = np.full(2, side / 2) + random.uniform(-0.12, 0.12, 2) * side - linear @ centre
    return np.column_stack([linear, shift])


def _shadow(random: np.random.Generator, mask: NDArray[np.float64]) -> NDArray[np.float64]:
    """How dark the ground is beside the leaf, [S, S] in 0..1."""
    side = mask.shape[0]
    offset = random.uniform(-0.04, 0.04, 2) * side
    moved = np.array([[1, 0, offset[0]], [0, 1, offset[1]]])
    shadow = cv2.warpAffine(mask, moved, (side, side))
    soft = cv2.GaussianBlur(shadow, (0, 0), random.uniform(0.6, 6))
    return np.asarray(soft * random.uniform(0.2, 0.75))
