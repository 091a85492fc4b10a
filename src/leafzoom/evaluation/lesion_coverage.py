"""Where the network looks, on known lesions: what its boxes hold, against boxes that know nothing.

Of each zoom's box, and of the closest look's: the share of the lesions that are wholly inside, the
share of the photographs with such a lesion, and the share whose box has its centre on a lesion (the
pointing game, Zhang et al. 2016). Beside the learned boxes stand boxes of the same size at the
centre of the photo, at random places, and around the maximum of the evidence for the answer: of the
first scale's (`activation`, a class activation map) and of the last scale's (`evidence`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafzoom.dataset.lesions import Lesions
from leafzoom.dataset.table import Table
from leafzoom.evaluation.bootstrap import percentile_interval, resample_means
from leafzoom.inference.prediction import Prediction
from leafzoom.inference.predictor import Predictor

__all__ = ["BoxCoverage", "LesionCoverage", "LesionExample", "measure_lesion_coverage"]

_RANDOM_DRAWS = 50  # of a random box, for each photograph
_SEED = 0
_EXAMPLES = 8
_MAP_SIDE = 56  # to which evidence is enlarged before its maximum is taken
_MAX_LESION_SHARE = 0.1  # of the photo: larger boxes are of whole leaves

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class BoxCoverage:
    """What the boxes of one look hold, over photographs with known lesions.

    `area`: the mean share of the photo. `lesions_inside`: the share of all lesions that lie wholly
    inside. `any_inside`: of the photographs with a lesion wholly inside. `centre_hits`: of the
    photographs whose box has its centre on a lesion. Each with a 95 % interval over photographs.
    """

    area: float
    lesions_inside: float
    lesions_inside_interval: tuple[float, float]
    any_inside: float
    any_inside_interval: tuple[float, float]
    centre_hits: float
    centre_hits_interval: tuple[float, float]


@dataclass(frozen=True)
class LesionExample:
    """A photograph with known lesions: the prediction, with evidence and photo, and the boxes."""

    prediction: Prediction
    lesions: Boxes


@dataclass(frozen=True)
class LesionCoverage:
    """Where the network looks on photographs with known lesions.

    `looks`: {look: {kind of box: what it holds}}; a look is `scale2`, `scale3`, … or `closest`, a
    kind `learned`, `centre`, `random`, `activation` or `evidence`. `by_label`: {label: {look: …}}
    of the learned boxes, on the lesions of that label. `photographs`, `lesions`: how many.
    `left_out`: how many boxes were larger than a tenth of the photo: whole leaves. `examples`:
    photographs for the report, drawn at random.
    """

    looks: dict[str, dict[str, BoxCoverage]]
    by_label: dict[str, dict[str, BoxCoverage]]
    photographs: int
    lesions: int
    left_out: int
    examples: tuple[LesionExample, ...]

    def to_dict(self) -> dict[str, Any]:
        """The entry `lesions` of `metrics.json`."""
        content = asdict(replace(self, examples=()))
        del content["examples"]
        return content


@dataclass(frozen=True)
class _LookedAt:
    """One photograph: its lesions and the boxes of each look, as shares of its sides.

    `lesions`: [m, 4]. `labels`: of the lesions. `boxes`: {look: [4]}. `activation`, `evidence`: x
    and y of the maxima of the first and of the last scale's evidence.
    """

    lesions: Boxes
    labels: tuple[str, ...]
    boxes: dict[str, Boxes]
    activation: NDArray[np.float64]
    evidence: NDArray[np.float64]


def measure_lesion_coverage(
    predictor: Predictor, table: Table, lesions: Mapping[str, Lesions]
) -> LesionCoverage | None:
    """Look at the photographs with known lesions, and count what the boxes hold.

    Args:
        predictor: of a network that has evidence.
        table: with the photographs' files.
        lesions: by image name.

    Returns:
        None without a photograph of the table that has known lesions.

    Raises:
        ModelError: the network has no evidence.
        PhotoError: a photograph cannot be read.
    """
    rows = [row for row in table.rows if row.image_name in lesions]
    looked_at = []
    found = []
    left_out = 0
    for row in rows:
        prediction = predictor.predict(row.path, maps=True)
        known = lesions[row.image_name]
        photograph = _look_at(prediction, known)
        left_out += len(known.boxes) - len(photograph.lesions)
        if len(photograph.lesions):
            looked_at.append(photograph)
            found.append(LesionExample(prediction, known.boxes))
    if not looked_at:
        return None

    drawn = np.random.default_rng(_SEED).permutation(len(found))[:_EXAMPLES]
    labels = sorted({label for one in looked_at for label in one.labels if label})
    return LesionCoverage(
        looks={look: _kinds_of_boxes(looked_at, look) for look in looked_at[0].boxes},
        by_label={label: _learned(_with_label(looked_at, label)) for label in labels},
        photographs=len(looked_at),
        lesions=sum(len(one.lesions) for one in looked_at),
        left_out=left_out,
        examples=tuple(found[number] for number in drawn),
    )


def _look_at(prediction: Prediction, known: Lesions) -> _LookedAt:
    """A photograph's lesions and boxes, as shares of its sides."""
    evidence = prediction.evidence
    assert evidence is not None
    assert evidence.closest_box is not None
    _, _, width, height = prediction.scales[0].box
    sides = np.array([width, height, width, height], np.float64)

    boxes = {f"scale{scale.scale}": np.array(scale.box) / sides for scale in prediction.scales[1:]}
    boxes["closest"] = np.array(evidence.closest_box) / sides

    lesions = known.boxes / sides
    is_small = (lesions[:, 2:] - lesions[:, :2]).prod(axis=1) <= _MAX_LESION_SHARE
    labels = tuple(np.array(known.labels, dtype=object)[is_small])
    maxima = []
    for maps, scale in zip(evidence.maps, prediction.scales, strict=True):
        x0, y0, x1, y1 = np.array(scale.box) / sides
        maxima.append(np.array([x0, y0]) + _maximum(maps, prediction) * [x1 - x0, y1 - y0])
    return _LookedAt(lesions[is_small], labels, boxes, maxima[0], maxima[-1])


def _maximum(
    maps: Mapping[str, NDArray[np.float32]], prediction: Prediction
) -> NDArray[np.float64]:
    """Where a scale's evidence for the answer is greatest, x and y as shares of its box."""
    answer = sum(maps[label] * share for label, share in prediction.probabilities.items())
    enlarged = Image.fromarray(np.asarray(answer, np.float32)).resize(
        (_MAP_SIDE, _MAP_SIDE), Image.Resampling.BICUBIC
    )
    y, x = np.unravel_index(np.asarray(enlarged).argmax(), (_MAP_SIDE, _MAP_SIDE))
    return (np.array([x, y], np.float64) + 0.5) / _MAP_SIDE


def _with_label(looked_at: Sequence[_LookedAt], label: str) -> list[_LookedAt]:
    """The photographs that have lesions of a label, with those alone."""
    chosen = []
    for one in looked_at:
        has_label = np.array([own == label for own in one.labels])
        if has_label.any():
            labels = (label,) * int(has_label.sum())
            chosen.append(replace(one, lesions=one.lesions[has_label], labels=labels))
    return chosen


def _learned(looked_at: Sequence[_LookedAt]) -> dict[str, BoxCoverage]:
    """What the learned boxes of each look hold."""
    coverage = {}
    for look in looked_at[0].boxes:
        boxes = [one.boxes[look][None] for one in looked_at]
        coverage[look] = _coverage(looked_at, boxes)
    return coverage


def _kinds_of_boxes(looked_at: Sequence[_LookedAt], look: str) -> dict[str, BoxCoverage]:
    """What the boxes of one look hold: learned, and others of the same size."""
    random = np.random.default_rng(_SEED)
    kinds = ("learned", "centre", "random", "activation", "evidence")
    boxes: dict[str, list[Boxes]] = {kind: [] for kind in kinds}
    for one in looked_at:
        box = one.boxes[look]
        size = box[2:] - box[:2]
        boxes["learned"].append(box[None])
        boxes["centre"].append(_boxes_at(np.full((1, 2), 0.5), size))
        places = size / 2 + random.random((_RANDOM_DRAWS, 2)) * (1 - size)
        boxes["random"].append(_boxes_at(places, size))
        boxes["activation"].append(_boxes_at(one.activation[None], size))
        boxes["evidence"].append(_boxes_at(one.evidence[None], size))
    return {kind: _coverage(looked_at, kind_boxes) for kind, kind_boxes in boxes.items()}


def _boxes_at(centres: NDArray[np.float64], size: NDArray[np.float64]) -> Boxes:
    """Boxes [n, 4] of a size [2], as near to centres [n, 2] as the photo's edges allow."""
    nearest = centres.clip(size / 2, 1 - size / 2)
    return np.concatenate([nearest - size / 2, nearest + size / 2], axis=1)


def _coverage(looked_at: Sequence[_LookedAt], boxes: Sequence[Boxes]) -> BoxCoverage:
    """What boxes hold: several [n, 4] a photograph count as their mean."""
    counts = np.array([len(one.lesions) for one in looked_at], np.float64)
    inside = np.zeros(len(looked_at))
    any_inside = np.zeros(len(looked_at))
    hits = np.zeros(len(looked_at))
    areas = np.zeros(len(looked_at))
    for row, (one, own) in enumerate(zip(looked_at, boxes, strict=True)):
        lesions = one.lesions[None]
        holds_start = (own[:, None, :2] <= lesions[..., :2]).all(axis=2)
        holds_end = (own[:, None, 2:] >= lesions[..., 2:]).all(axis=2)
        is_inside = np.asarray(holds_start & holds_end)
        centres = ((own[:, :2] + own[:, 2:]) / 2)[:, None]
        is_on = (lesions[..., :2] <= centres) & (centres <= lesions[..., 2:])
        is_hit = np.asarray(is_on.all(axis=2))

        inside[row] = is_inside.sum(axis=1).mean()
        any_inside[row] = np.any(is_inside, axis=1).mean()
        hits[row] = np.any(is_hit, axis=1).mean()
        areas[row] = (own[:, 2:] - own[:, :2]).prod(axis=1).mean()

    # All on the same resamples of the photographs.
    means = resample_means(
        {"inside": inside, "counts": counts, "any": any_inside, "hits": hits}, seed=_SEED
    )
    return BoxCoverage(
        area=float(areas.mean()),
        lesions_inside=float(inside.sum() / counts.sum()),
        lesions_inside_interval=_bounds(means["inside"] / means["counts"]),
        any_inside=float(any_inside.mean()),
        any_inside_interval=_bounds(means["any"]),
        centre_hits=float(hits.mean()),
        centre_hits_interval=_bounds(means["hits"]),
    )


def _bounds(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of resampled values [R]."""
    interval = percentile_interval(resampled)
    return interval.low, interval.high
