"""Are a season's answers like those to the photographs that the model was judged on?

Two things speak against a model on new photographs: more of them are unlike leaves (a higher
out-of-distribution score), or the model is less sure of them. Other shares of the labels do not: a
field has its own diseases. So the reference is weighted to the answers' own shares before anything
is compared (label shift is taken out), and the shares are shown for information only.

The statistic is the one-sided Kolmogorov-Smirnov distance: by how much the share of answers beyond
some value exceeds the expected one, at the value where it does so the most. Its distribution
without drift is simulated, because the reference is binned, weighted, and of few photographs for
some answers. There are two tests, so each has half the level (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import ModelError
from leafzoom.inference.result_reader import SeasonAnswers
from leafzoom.model_file.calibration import Reference
from leafzoom.model_file.manifest import Manifest

__all__ = ["MIN_ANSWERS", "DriftReport", "LabelShare", "Shift", "compare_with_reference"]

MIN_ANSWERS = 30
"""Of fewer nothing is said."""

_LEVEL = 0.01  # of both tests together
_TESTS = 2
_SIMULATIONS = 4000
_SMALL_SHIFT = 0.1  # a significant distance below it changes little
_LARGE_SHIFT = 0.25
_OOD_LIMIT = 1.0
_MIN_GROUP = 20  # photographs of the reference with one answer; answers with fewer are pooled
_PSEUDO_COUNT = 0.5  # a bin without a photograph is not impossible

Judgement = Literal["too_few", "trust", "check", "distrust"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """How far one quantity has moved in the direction that speaks against the model.

    `name`: `ood_score` or `confidence`. `answers`: how many were compared. `edges`: of the bins, as
    in `Reference`. `expected`, `observed`: shares of the bins; the expected ones are of the
    reference, weighted to these answers. `distance`: the greatest excess of the share beyond an
    edge, 0..1; `edge`: where. `p_value`: how often chance alone gives such a distance.
    `detectable`: the least distance that would have been significant.
    """

    name: str
    answers: int
    edges: tuple[float, ...]
    expected: tuple[float, ...]
    observed: tuple[float, ...]
    distance: float
    edge: float
    p_value: float
    detectable: float

    @property
    def is_significant(self) -> bool:
        """Whether chance is an unlikely explanation, two tests considered."""
        return self.p_value < _LEVEL / _TESTS

    @property
    def judgement(self) -> Judgement:
        """What the shift says about the model."""
        if not self.is_significant or self.distance < _SMALL_SHIFT:
            return "trust"
        return "distrust" if self.distance >= _LARGE_SHIFT else "check"


@dataclass(frozen=True)
class LabelShare:
    """The share of photographs whose best answer has a label, in the reference and now."""

    label: str
    expected: float
    observed: float


@dataclass(frozen=True)
class DriftReport:
    """A season's answers beside the reference.

    `answers`: how many there are; `reference`: of how many photographs it is. `shifts`: of the
    scores and of the confidence; a quantity that neither can be compared is left out. `labels`:
    shares of the labels, which no judgement rests on.
    """

    answers: int
    reference: int
    shifts: tuple[Shift, ...]
    labels: tuple[LabelShare, ...]

    @property
    def judgement(self) -> Judgement:
        """The worst of the shifts', or `too_few`."""
        if self.answers < MIN_ANSWERS or not self.shifts:
            return "too_few"
        order: tuple[Judgement, ...] = ("trust", "check", "distrust")
        return max((shift.judgement for shift in self.shifts), key=order.index)


def compare_with_reference(answers: SeasonAnswers, manifest: Manifest) -> DriftReport:
    """Compare answers with the reference of the model that gave them.

    Args:
        answers: of a season, or of any other batch of photographs.
        manifest: of that model.

    Raises:
        ModelError: the model has no reference.
    """
    reference = manifest.reference
    if reference is None:
        raise ModelError(
            f"the model {manifest.name} has no reference to compare answers with: train it again "
            "with this leafzoom"
        )

    groups = _groups(reference)
    shifts = [
        shift
        for shift in (
            _ood_shift(answers, reference, groups),
            _confidence_shift(answers, reference, groups),
        )
        if shift is not None
    ]
    return DriftReport(
        answers=len(answers),
        reference=reference.photographs,
        shifts=tuple(shifts),
        labels=_label_shares(answers, manifest, reference),
    )


def _groups(reference: Reference) -> dict[tuple[str, ...], int]:
    """{an answer's labels: the number of its group}; group 0 is of all answers that are rare."""
    groups: dict[tuple[str, ...], int] = {}
    for answer in reference.answers:
        if sum(answer.ood_score or answer.confidence) >= _MIN_GROUP:
            groups[answer.labels] = len(groups) + 1
    return groups


def _ood_shift(
    answers: SeasonAnswers, reference: Reference, groups: dict[tuple[str, ...], int]
) -> Shift | None:
    """The shift of the out-of-distribution score, towards higher ones."""
    if not reference.ood_edges:
        return None

    counts = _grouped(reference, groups, [answer.ood_score for answer in reference.answers])
    edges = np.array(reference.ood_edges)
    scores = answers.ood_scores

    # A file without scores still tells which pictures were beyond the limit.
    if scores is None:
        limit = int(np.searchsorted(edges, _OOD_LIMIT))
        counts = np.stack([counts[:, : limit + 1].sum(1), counts[:, limit + 1 :].sum(1)], axis=1)
        edges = edges[limit : limit + 1]
        scores = np.where(answers.is_leaf, 0.0, np.inf)
    return _shift("ood_score", scores, _group_numbers(answers.likely, groups), counts, edges)


def _confidence_shift(
    answers: SeasonAnswers, reference: Reference, groups: dict[tuple[str, ...], int]
) -> Shift | None:
    """The shift of the confidence, towards lower ones, of what is a leaf."""
    counts = _grouped(reference, groups, [answer.confidence for answer in reference.answers])
    numbers = _group_numbers(answers.likely, groups)[answers.is_leaf]
    edges = np.array(reference.confidence_edges)
    return _shift("confidence", answers.confidence[answers.is_leaf], numbers, counts, edges)


def _shift(
    name: str, values: Array, numbers: NDArray[np.intp], counts: Array, edges: Array
) -> Shift | None:
    """Compare values with the histograms of their groups; None if there are too few.

    Args:
        name: of the quantity.
        values: [n].
        numbers: the group of each value, [n].
        counts: of the reference, [G, bins].
        edges: [bins - 1].
    """
    total = len(values)
    if total < MIN_ANSWERS:
        return None

    # Group 0 is of what the reference hardly has: all of the reference stands for it.
    pooled = np.where(counts.sum(axis=1, keepdims=True) < _MIN_GROUP, counts.sum(axis=0), counts)
    shares = pooled / pooled.sum(axis=1, keepdims=True)
    group_sizes = np.bincount(numbers, minlength=len(counts))
    expected = group_sizes @ shares / total

    bins = np.searchsorted(edges, values, side="left")
    observed = np.bincount(bins, minlength=len(edges) + 1) / total
    is_upward = name == "ood_score"
    excess = _excess(observed[None], expected, upward=is_upward)[0]
    distance = float(excess.max())

    # Seasons without drift, from references as uncertain as this one.
    random = np.random.default_rng(0)
    simulated = np.zeros((_SIMULATIONS, len(expected)))
    for size, group in zip(group_sizes, pooled, strict=True):
        if size:
            chances = random.dirichlet(group + _PSEUDO_COUNT, _SIMULATIONS)
            simulated += random.multinomial(size, chances)
    distances = _excess(simulated / total, expected, upward=is_upward).max(axis=1)
    as_great = int((distances >= distance).sum())

    return Shift(
        name=name,
        answers=total,
        edges=tuple(edges.tolist()),
        expected=tuple(expected.tolist()),
        observed=tuple(observed.tolist()),
        distance=max(distance, 0.0),
        edge=float(edges[int(excess.argmax())]),
        p_value=(as_great + 1) / (_SIMULATIONS + 1),
        detectable=float(np.quantile(distances, 1 - _LEVEL / _TESTS)),
    )


def _excess(observed: Array, expected: Array, *, upward: bool) -> Array:
    """By how much the share beyond each edge exceeds the expected one, [N, bins - 1].

    Args:
        observed: shares of the bins, [N, bins].
        expected: the same, [bins].
        upward: beyond an edge is above it, else at or below it.
    """
    difference = np.cumsum(observed - expected, axis=1)[:, :-1]
    return -difference if upward else difference


def _grouped(
    reference: Reference,
    groups: dict[tuple[str, ...], int],
    counts: Sequence[Sequence[int]],
) -> Array:
    """The reference's counts by group, [G, bins]."""
    summed = np.zeros((len(groups) + 1, len(counts[0])))
    for answer, row in zip(reference.answers, counts, strict=True):
        summed[groups.get(answer.labels, 0)] += row
    return summed


def _group_numbers(
    likely: Sequence[tuple[str, ...]], groups: dict[tuple[str, ...], int]
) -> NDArray[np.intp]:
    """The group of each answer."""
    return np.array([groups.get(labels, 0) for labels in likely], np.intp)


def _label_shares(
    answers: SeasonAnswers, manifest: Manifest, reference: Reference
) -> tuple[LabelShare, ...]:
    """The share of each label among the best answers for leaves, then and now."""
    leaves = [
        labels for labels, is_leaf in zip(answers.likely, answers.is_leaf, strict=True) if is_leaf
    ]
    sizes = [sum(answer.confidence) for answer in reference.answers]
    total = max(sum(sizes), 1)

    shares = []
    for label in manifest.labels.names:
        with_label = [
            size
            for answer, size in zip(reference.answers, sizes, strict=True)
            if label in answer.labels
        ]
        observed = sum(label in labels for labels in leaves) / max(len(leaves), 1)
        shares.append(LabelShare(label, sum(with_label) / total, observed))
    return tuple(shares)
