"""What the boxes are worth: the same classifiers with other boxes.

A box is worth zooming into only if the finer scales do better with it than with a box that needs no
network. So every scale after the first, and every fusion, is scored with the box that the attention
proposal network proposes, and with boxes of the same size at the centre, at random, and at the
response's maximum (§3.3.2). Where lesions are known, the boxes also play the pointing game.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.stratification import subset
from leafzoom.evaluation.bootstrap import (
    Difference,
    Interval,
    ResampledScores,
    paired_difference,
    percentile_interval,
    resample_scores,
)
from leafzoom.evaluation.box_kinds import BOX_KINDS, BoxKind, outputs_by_box_kind
from leafzoom.evaluation.evaluate import Evaluation
from leafzoom.evaluation.pointing import PointingGame, play_pointing_game
from leafzoom.model.fusion import FusedNetwork

__all__ = ["ZoomValue", "measure_zoom_value", "zoom_value"]

HeadAnswers = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class ZoomValue:
    """Scores at threshold 0.5 of every head that zooms, by kind of box.

    `exact_match`, `micro_f1`: {kind: {head: score}}. `intervals`: 95 % intervals of the exact
    match. `gain`: the exact match with the learned box minus that with each other kind, paired.
    `photographs`: how many were scored. `pointing`: the pointing game on them.
    """

    exact_match: dict[BoxKind, dict[str, float]]
    micro_f1: dict[BoxKind, dict[str, float]]
    intervals: dict[BoxKind, dict[str, Interval]]
    gain: dict[BoxKind, dict[str, Difference]]
    photographs: int
    pointing: PointingGame

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as in `metrics.json`."""
        return {
            "exact_match": self.exact_match,
            "micro_f1": self.micro_f1,
            "intervals": _intervals_to_dict(self.intervals),
            "gain": _differences_to_dict(self.gain),
            "photographs": self.photographs,
            "pointing": self.pointing.hit_rates,
            "pointing_intervals": _intervals_to_dict(self.pointing.intervals),
            "pointing_gain": _differences_to_dict(self.pointing.gain),
            "pointing_photographs": self.pointing.photographs,
        }


def measure_zoom_value(
    network: FusedNetwork,
    evaluation: Evaluation,
    cache: Cache,
    *,
    photographs: int = 500,
    lesions: Mapping[str, NDArray[np.float64]] | None = None,
) -> ZoomValue:
    """Run a network with four kinds of boxes on a part of the photographs of an evaluation.

    Args:
        network: in eval().
        evaluation: of photographs of the cache.
        cache: with their sources.
        photographs: at most so many are scored; 0 for all.
        lesions: known ones, {image name: [m, 4]}, x0, y0, x1, y1 in photo pixels.
    """
    # A part with the same shares of label combinations.
    chosen = set(subset(cache.table.take(evaluation.image_names), photographs))
    evaluation_rows = [
        row for row, image_name in enumerate(evaluation.image_names) if image_name in chosen
    ]

    # The same photographs' rows of the cache.
    cache_row_by_name = {name: row for row, name in enumerate(cache.table.image_names)}
    cache_rows = [cache_row_by_name[evaluation.image_names[row]] for row in evaluation_rows]

    # Lesions as shares of the photo's sides, to compare with centres as shares of the source's.
    return zoom_value(
        network,
        cache.sources[cache_rows],
        evaluation.targets[evaluation_rows],
        lesions=[_lesion_shares(lesions or {}, cache, row) for row in cache_rows],
    )


def zoom_value(
    network: FusedNetwork,
    sources: NDArray[np.uint8],
    targets: NDArray[np.integer],
    *,
    lesions: Sequence[NDArray[np.float64]] = (),
    seed: int = 0,
) -> ZoomValue:
    """Run a network with four kinds of boxes and score its answers.

    Args:
        network: in eval().
        sources: uint8 [N, S, S, 3].
        targets: [N, L].
        lesions: of each photograph, [m, 4]: x0, y0, x1, y1 as shares of its sides. Empty where no
            lesion is known.
        seed: of the random boxes and of the bootstrap.
    """
    # The scores of all kinds are from the same resamples, so that differences are paired.
    outputs = outputs_by_box_kind(network, sources, seed=seed)
    answers = {kind: outputs[kind].answers for kind in BOX_KINDS}
    resampled = _resample(targets, answers, seed)

    # The scores with each kind of box.
    exact_match: dict[BoxKind, dict[str, float]] = {}
    micro_f1: dict[BoxKind, dict[str, float]] = {}
    intervals: dict[BoxKind, dict[str, Interval]] = {}
    for kind in BOX_KINDS:
        heads = answers[kind].items()
        exact_match[kind] = {head: _exact_match(targets, values) for head, values in heads}
        micro_f1[kind] = {head: _micro_f1(targets, values) for head, values in heads}
        intervals[kind] = {
            head: percentile_interval(scores.exact_match)
            for head, scores in resampled[kind].items()
        }

    # What the learned boxes gain over each other kind.
    gain: dict[BoxKind, dict[str, Difference]] = {}
    for kind in BOX_KINDS[1:]:
        gain[kind] = {
            head: paired_difference(
                exact_match["learned"][head] - exact_match[kind][head],
                resampled["learned"][head].exact_match,
                resampled[kind][head].exact_match,
            )
            for head in exact_match[kind]
        }

    # Whether boxes lie on lesions, which better answers alone do not show.
    pointing = play_pointing_game(network.racnn, outputs, lesions, seed=seed)
    return ZoomValue(exact_match, micro_f1, intervals, gain, len(targets), pointing)


def _resample(
    targets: NDArray[np.integer], answers: Mapping[BoxKind, HeadAnswers], seed: int
) -> dict[BoxKind, dict[str, ResampledScores]]:
    """The scores of all kinds and heads, {kind: {head: scores}}, on the same resamples."""
    # `resample_scores` takes one flat dictionary.
    flat_answers = {}
    for kind, kind_answers in answers.items():
        for head, values in kind_answers.items():
            flat_answers[f"{kind} {head}"] = values
    flat_scores = resample_scores(targets, flat_answers, seed=seed)

    # Back to a dictionary for each kind.
    scores: dict[BoxKind, dict[str, ResampledScores]] = {}
    for kind, kind_answers in answers.items():
        scores[kind] = {head: flat_scores[f"{kind} {head}"] for head in kind_answers}
    return scores


def _exact_match(targets: NDArray[np.integer], answers: NDArray[np.bool_]) -> float:
    return float((answers == targets.astype(bool)).all(axis=1).mean())


def _micro_f1(targets: NDArray[np.integer], answers: NDArray[np.bool_]) -> float:
    expected = targets.astype(bool)
    true_positives = (answers & expected).sum()
    return float(2 * true_positives / max(answers.sum() + expected.sum(), 1))


def _lesion_shares(
    lesions: Mapping[str, NDArray[np.float64]], cache: Cache, row: int
) -> NDArray[np.float64]:
    """The known lesions of a row of the cache, [m, 4], as shares of the photo's sides."""
    photo_boxes = lesions.get(cache.table.image_names[row], np.zeros((0, 4)))
    shares: NDArray[np.float64] = photo_boxes / np.tile(cache.photo_sizes[row], 2)
    return shares


def _intervals_to_dict(
    intervals: Mapping[BoxKind, Mapping[str, Interval]],
) -> dict[str, dict[str, list[float]]]:
    """{kind: {head or scale: [low, high]}}."""
    content: dict[str, dict[str, list[float]]] = {}
    for kind, by_name in intervals.items():
        content[kind] = {name: interval.to_list() for name, interval in by_name.items()}
    return content


def _differences_to_dict(
    differences: Mapping[BoxKind, Mapping[str, Difference]],
) -> dict[str, dict[str, dict[str, float | list[float]]]]:
    """{kind: {head or scale: {"difference": value, "interval": [low, high]}}}."""
    content: dict[str, dict[str, dict[str, float | list[float]]]] = {}
    for kind, by_name in differences.items():
        content[kind] = {name: difference.to_dict() for name, difference in by_name.items()}
    return content
