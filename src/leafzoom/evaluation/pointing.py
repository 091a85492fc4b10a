"""The pointing game (Zhang et al. 2016): how many boxes have their centre on a known lesion.

Convention: centres (x, y) and lesions (x0, y0, x1, y1) are shares of the photo's sides, x to the
right, y down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leafzoom.evaluation.bootstrap import (
    Difference,
    Interval,
    paired_difference,
    percentile_interval,
    resample_means,
)
from leafzoom.evaluation.box_kinds import BoxKind, BoxKindOutputs, random_proposals
from leafzoom.model.attention_crop import compose_boxes, whole_box
from leafzoom.model.racnn import RACNN

__all__ = ["PointingGame", "play_pointing_game"]

_RANDOM_DRAWS = 200  # of a random box, for each photograph

Hits = dict[BoxKind, dict[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class PointingGame:
    """The pointing game's scores; empty where no lesion is known.

    `hit_rates`: {kind: {scale: share}}, of the boxes in photographs with known lesions, those whose
    centre lies on one. `intervals`: 95 % intervals of these. `gain`: the learned boxes' hit rate
    minus that of each other kind, paired. `photographs`: how many have known lesions.
    """

    hit_rates: dict[BoxKind, dict[str, float]] = field(default_factory=dict)
    intervals: dict[BoxKind, dict[str, Interval]] = field(default_factory=dict)
    gain: dict[BoxKind, dict[str, Difference]] = field(default_factory=dict)
    photographs: int = 0


def play_pointing_game(
    racnn: RACNN,
    outputs: Mapping[BoxKind, BoxKindOutputs],
    lesions: Sequence[NDArray[np.float64]],
    *,
    seed: int = 0,
) -> PointingGame:
    """Score each kind of box by its hits on known lesions.

    What a random box reaches is the mean over many random boxes.

    Args:
        racnn: whose boxes these are.
        outputs: of each kind of box, for N photographs.
        lesions: of each photograph, [m, 4]; none at all for an empty game.
        seed: of the random boxes and of the bootstrap.
    """
    # Photographs without a known lesion cannot be hit and do not count.
    rows = [row for row, boxes in enumerate(lesions) if len(boxes)]
    if not rows:
        return PointingGame()

    # Whether each box hits a lesion of its photograph.
    known_lesions = [lesions[row] for row in rows]
    hits: Hits = {}
    for kind, kind_outputs in outputs.items():
        hits[kind] = {
            scale: _hits(centres[rows], known_lesions)
            for scale, centres in kind_outputs.centres.items()
        }

    # One random box a photograph would be a noisy reference.
    sizes = [size[rows] for size in outputs["learned"].sizes]
    random_hits = _mean_random_hits(racnn, sizes, known_lesions, seed)
    hits["random"] = dict(zip(hits["random"], random_hits, strict=True))

    return _score_hits(hits, seed)


def _score_hits(hits: Hits, seed: int) -> PointingGame:
    """The scores of hits, 0..1 for each photograph."""
    # All kinds and scales on the same resamples, so that differences are paired.
    flat_hits = {}
    for kind, kind_hits in hits.items():
        for scale, values in kind_hits.items():
            flat_hits[f"{kind} {scale}"] = values
    means = resample_means(flat_hits, seed=seed)

    # How often each kind of box hits, and how much more often the learned ones do.
    hit_rates: dict[BoxKind, dict[str, float]] = {}
    intervals: dict[BoxKind, dict[str, Interval]] = {}
    gain: dict[BoxKind, dict[str, Difference]] = {}
    for kind, kind_hits in hits.items():
        hit_rates[kind] = {scale: float(values.mean()) for scale, values in kind_hits.items()}
        intervals[kind] = {
            scale: percentile_interval(means[f"{kind} {scale}"]) for scale in kind_hits
        }
        if kind == "learned":
            continue
        gain[kind] = {
            scale: paired_difference(
                float((hits["learned"][scale] - values).mean()),
                means[f"learned {scale}"],
                means[f"{kind} {scale}"],
            )
            for scale, values in kind_hits.items()
        }

    photographs = len(next(iter(flat_hits.values())))
    return PointingGame(hit_rates, intervals, gain, photographs)


def _mean_random_hits(
    racnn: RACNN,
    sizes: Sequence[Tensor],
    lesions: Sequence[NDArray[np.float64]],
    seed: int,
) -> list[NDArray[np.float64]]:
    """How often random boxes of each zoom's sizes [N, 1] hit a lesion: a share [N] a zoom."""
    generator = torch.Generator().manual_seed(seed)
    hits_by_zoom: list[list[NDArray[np.float64]]] = [[] for _ in sizes]

    for _ in range(_RANDOM_DRAWS):
        centres_by_zoom = _random_centres(racnn, sizes, generator)
        for zoom, centres in enumerate(centres_by_zoom):
            hits_by_zoom[zoom].append(_hits(centres, lesions))

    # For every photograph, the share of the draws that hit.
    return [np.mean(hits, axis=0) for hits in hits_by_zoom]


def _random_centres(
    racnn: RACNN, sizes: Sequence[Tensor], generator: torch.Generator
) -> list[NDArray[np.float64]]:
    """Centres [N, 2] of random boxes of each zoom's sizes [N, 1], each inside the box before."""
    # The first zoom's boxes lie anywhere in the source.
    boxes = whole_box(len(sizes[0]), racnn.source_size, like=sizes[0])
    centres_by_zoom = []

    for zoom_sizes in sizes:
        proposals = random_proposals(zoom_sizes, generator)

        # From a box of the view to one of the source.
        view_boxes = racnn.box_coder.decode(proposals)
        boxes = compose_boxes(boxes, view_boxes, racnn.input_size)
        centres = boxes[:, :2] / racnn.source_size
        centres_by_zoom.append(centres.double().cpu().numpy())

    return centres_by_zoom


def _hits(
    centres: NDArray[np.float64], lesions: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """1 for each row of centres [N, 2] that lies on one of its photograph's lesions, else 0."""
    hits = np.zeros(len(centres))
    for row, (centre, boxes) in enumerate(zip(centres, lesions, strict=True)):
        is_inside = (boxes[:, :2] <= centre) & (centre <= boxes[:, 2:])
        hits[row] = is_inside.all(axis=1).any()
    return hits
