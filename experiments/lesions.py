"""Do boxes meet lesions? Counted for measured boxes, and for random ones of the same sizes.

Convention: boxes are [n, 3], x (column), y (row) and half side; lesions are [m, 4], x0, y0, x1, y1.
Both are shares of the photograph's sides, whose origin is the upper left corner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["lesion_hits"]

_RANDOM_DRAWS = 50

FloatArray = NDArray[np.floating]


def lesion_hits(
    boxes: Sequence[FloatArray], lesions: Sequence[FloatArray]
) -> dict[str, FloatArray]:
    """Which boxes meet a lesion, over the photographs that have one.

    Args:
        boxes: of every zoom, scale 2 first, [n, 3] each.
        lesions: of every photograph, [m, 4]; empty where none is known.

    Returns:
        "box2_centre_on" (1 where the box's centre lies on a lesion), "box2_holds" (1 where the box
        holds the centre of one), the same for box3, …, each [photographs with lesions]; and with
        "_chance" at the end the means over random boxes of the same sizes, the second inside the
        first.
    """
    # Photographs without known lesions say nothing about where boxes should lie.
    rows = [row for row, photo_lesions in enumerate(lesions) if len(photo_lesions)]
    known_lesions = [lesions[row] for row in rows]
    measured = [scale_boxes[rows] for scale_boxes in boxes]

    hits = _hits_by_scale(measured, known_lesions)

    # What random boxes of the same sizes would meet, the mean of many draws.
    chance: dict[str, FloatArray] = {}
    random = np.random.default_rng(0)
    for _ in range(_RANDOM_DRAWS):
        random_boxes = _random_boxes(measured, random)
        for name, values in _hits_by_scale(random_boxes, known_lesions).items():
            key = f"{name}_chance"
            chance[key] = chance.get(key, np.zeros(len(rows))) + values / _RANDOM_DRAWS

    return hits | chance


def _random_boxes(boxes: Sequence[FloatArray], random: np.random.Generator) -> list[FloatArray]:
    """Boxes of the same sizes at random centres, each inside the box before."""
    random_boxes = []
    outer = np.broadcast_to(np.array([0.5, 0.5, 0.5]), (len(boxes[0]), 3))
    for scale_boxes in boxes:
        half_side = scale_boxes[:, 2:]
        reach = outer[:, 2:] - half_side
        centre = outer[:, :2] + random.uniform(-1, 1, (len(scale_boxes), 2)) * reach
        outer = np.concatenate([centre, half_side], axis=1)
        random_boxes.append(outer)
    return random_boxes


def _hits_by_scale(
    boxes: Sequence[FloatArray], lesions: Sequence[FloatArray]
) -> dict[str, FloatArray]:
    """As `lesion_hits`, of boxes of photographs that all have lesions."""
    hits = {}
    for scale, scale_boxes in enumerate(boxes, start=2):
        pairs = list(zip(scale_boxes, lesions, strict=True))
        hits[f"box{scale}_centre_on"] = np.array([_centre_is_on(*pair) for pair in pairs], float)
        hits[f"box{scale}_holds"] = np.array([_holds_centre(*pair) for pair in pairs], float)
    return hits


def _centre_is_on(box: FloatArray, lesions: FloatArray) -> bool:
    """Whether a box's centre lies on one of the lesions."""
    centre = box[:2]
    inside = (lesions[:, :2] <= centre) & (centre <= lesions[:, 2:])
    return bool(inside.all(axis=1).any())


def _holds_centre(box: FloatArray, lesions: FloatArray) -> bool:
    """Whether a box holds the centre of one of the lesions."""
    lesion_centres = (lesions[:, :2] + lesions[:, 2:]) / 2
    inside = np.abs(lesion_centres - box[:2]) <= box[2]
    return bool(inside.all(axis=1).any())
