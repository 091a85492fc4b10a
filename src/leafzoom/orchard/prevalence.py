"""The share of leaves with each disease, corrected for what the model confuses.

The share of answers with a label is not the share of leaves with it. If π_k is the share of leaves
with the combination of labels k, and B_ka how often the model answers a to such a leaf, then a
photo gets the answer a with probability Σ_k π_k B_ka. B is known from the validation part. The π
under which a group's answers are likeliest are found by expectation maximisation, as for any
mixture of known parts (Dempster, Laird and Rubin 1977). For one disease and two answers that is the
estimator of Rogan and Gladen (1978), kept within 0 and 1; with a classifier's confusion matrix, see
Saerens, Latinne and Decaestecker (2002).

Intervals are of a bootstrap over both the group's photos and the confusion (the Bayesian bootstrap,
Rubin 1981): each count is drawn anew from its Dirichlet distribution. With few counts that needs a
prior; it has the weight of one photo, half of it on each side of the question (Jeffreys).

Counting rules. `not_a_leaf`: the photo counts as no leaf. The leaves among such photos are made up
for: a combination that the model takes for no leaf more often counts more. `unsure` is an answer
like the others: it speaks for the combinations to which it is often given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leafzoom.labels import LabelSet
from leafzoom.model_file.confusion import NOT_A_LEAF, UNSURE, Confusion

__all__ = ["DRAWS", "GroupAnswers", "Share", "estimate_shares"]

DRAWS = 400
"""Of the bootstrap."""

_PERCENTILES = (2.5, 97.5)
_ROUNDS = 200  # of expectation maximisation
# The same for a draw, which starts near the solution. After 40 the draws are still so near it that
# intervals of 300 leaves hold the share of `complex` in 86 of 100 orchards only.
_DRAW_ROUNDS = 160
_START_MIX = 0.05  # how much of a start is even, so that no share starts at 0
_PRIOR_PHOTOS = 1.0  # the weight of a prior, in photographs
_OWN_ANSWER = 0.5  # of it, on the right answer; the rest is spread like all answers
_HALVES = 2
_MAX_NUMBERS_AT_ONCE = 2**22  # in an array of draws
_LEAST = 1e-300  # in place of 0 in a denominator

Array = NDArray[np.float64]


@dataclass(frozen=True)
class GroupAnswers:
    """How many photos of a group got each answer: [C + 2], as a row of `Confusion.matrix`."""

    counts: NDArray[np.int64]

    @property
    def leaves(self) -> int:
        """How many photos were taken for leaves."""
        return int(self.counts[:NOT_A_LEAF].sum())


@dataclass(frozen=True)
class Share:
    """The share of a group's leaves that have a label.

    Attributes:
        label: its name.
        labelled: how many photos were diagnosed with it.
        value: in 0..1; None without a leaf.
        low: the lower bound of the 95 % interval.
        high: the upper bound.
        more_leaves: how many more leaves would halve the interval; None if none would, because the
            confusion itself is not known well enough, or without a leaf.
    """

    label: str
    labelled: int
    value: float | None
    low: float
    high: float
    more_leaves: int | None


def estimate_shares(
    answers: GroupAnswers,
    labels: LabelSet,
    confusion: Confusion | None,
    *,
    draws: int = DRAWS,
    plan: bool = True,
    seed: int = 0,
) -> tuple[Share, ...]:
    """The share of leaves with each label.

    Args:
        answers: to the photos of a group.
        labels: with C combinations.
        confusion: of the model; None: shares are those of the diagnosed photos, uncorrected, and
            intervals carry the uncertainty of the photos alone.
        draws: of the bootstrap.
        plan: whether to say how many more leaves would halve an interval.
        seed: of the bootstrap.
    """
    has_label = np.array(labels.combinations, bool).reshape(-1, len(labels.names))
    if confusion is None:
        model = _AnswerModel.without_confusion(answers)
    else:
        model = _AnswerModel.with_confusion(answers, confusion)
    if not model.photos.any():
        return tuple(Share(name, 0, None, 0.0, 1.0, None) for name in labels.names)

    random = np.random.default_rng(seed)
    best = model.solve_once()
    confusions = model.draw_confusions(random, draws)

    shares = []
    for column, name in enumerate(labels.names):
        with_label = has_label[model.combinations, column].astype(np.float64)
        photos = model.draw_photos(random, has_label[:, column], draws)
        interval = _Interval.of(model.solve(photos, confusions, best) @ with_label)

        # The part of the interval that no leaf removes is that of the confusion.
        more_leaves = None
        if plan:
            same_photos = np.broadcast_to(photos.mean(axis=0), photos.shape)
            alone = _Interval.of(model.solve(same_photos, confusions, best) @ with_label)
            more_leaves = _more_leaves(int(model.photos.sum()), interval.width, alone.width)

        value = float(best @ with_label)
        shares.append(
            Share(
                label=name,
                labelled=int(answers.counts[:UNSURE][has_label[:, column]].sum()),
                value=value,
                low=min(interval.low, value),
                high=max(interval.high, value),
                more_leaves=more_leaves,
            )
        )
    return tuple(shares)


@dataclass(frozen=True)
class _Interval:
    """The bounds of a 95 % interval."""

    low: float
    high: float

    @classmethod
    def of(cls, draws: Array) -> _Interval:
        """The percentiles of draws [R]."""
        low, high = np.percentile(draws, _PERCENTILES)
        return cls(float(low), float(high))

    @property
    def width(self) -> float:
        return self.high - self.low


def _more_leaves(leaves: int, width: float, confusion_width: float) -> int | None:
    """How many more leaves halve an interval whose squared width is a / leaves + b.

    b is the squared width that the confusion alone gives.

    >>> _more_leaves(100, 0.2, 0.0)
    300
    >>> _more_leaves(100, 0.2, 0.12) is None
    True
    """
    from_confusion = confusion_width**2
    from_photos = max(width**2 - from_confusion, 0.0)
    left_for_photos = width**2 / 4 - from_confusion
    if left_for_photos <= 0 or from_photos <= 0:
        return None
    return int(np.ceil(leaves * from_photos / left_for_photos - leaves - 1e-6))


@dataclass(frozen=True)
class _AnswerModel:
    """How K true combinations become the answers that a group has.

    `combinations`: [K], their indices. `answers`: [A], the indices of the answers, combinations or
    C for `unsure`. `photos`: [A], how many of the group got each. `counts`: [K, A + 1], of the
    confusion with its prior; the last column is `not_a_leaf`. None: the answers are taken for true.
    """

    combinations: NDArray[np.intp]
    answers: NDArray[np.intp]
    photos: NDArray[np.int64]
    counts: Array | None

    @classmethod
    def with_confusion(cls, answers: GroupAnswers, confusion: Confusion) -> _AnswerModel:
        """Combinations that the validation part or the group has."""
        matrix = confusion.matrix()
        is_known = matrix.any(axis=1) | (answers.counts[:UNSURE] > 0)
        combinations = np.flatnonzero(is_known)
        columns = np.append(combinations, len(matrix))

        # The prior of a combination: its own answer, and the answers of the validation part.
        overall = matrix.sum(axis=0) / matrix.sum()
        prior = np.tile((1 - _OWN_ANSWER) * overall, (len(matrix), 1))
        prior[:, : len(matrix)] += _OWN_ANSWER * np.eye(len(matrix))
        counts = matrix + _PRIOR_PHOTOS * prior

        kept = counts[np.ix_(combinations, np.append(columns, len(matrix) + 1))]
        return cls(combinations, columns, answers.counts[columns], kept)

    @classmethod
    def without_confusion(cls, answers: GroupAnswers) -> _AnswerModel:
        """Diagnosed photos alone, whose answers are taken for true."""
        columns = np.arange(len(answers.counts[:UNSURE]))
        return cls(columns, columns, answers.counts[:UNSURE], None)

    def draw_confusions(self, random: np.random.Generator, draws: int) -> Array:
        """Confusions [R, K, A + 1], drawn from the Dirichlet distributions of their rows."""
        if self.counts is None:
            return np.zeros((draws, 0, 0))
        weights = random.gamma(self.counts, size=(draws, *self.counts.shape))
        return np.asarray(weights / weights.sum(axis=2, keepdims=True))

    def draw_photos(
        self, random: np.random.Generator, has_label: NDArray[np.bool_], draws: int
    ) -> Array:
        """Shares of answers [R, A], drawn from their Dirichlet distribution.

        The prior has half a photo on the answers with a label, and half on those without, spread
        like the photos; with none on a side, evenly.

        Args:
            random: the generator.
            has_label: which combinations [C] have the label.
            draws: R.
        """
        answer_has_label = np.append(has_label, False)[self.answers]
        prior = np.zeros(len(self.photos))
        for side in (answer_has_label, ~answer_has_label):
            weights = self.photos * side
            if not weights.any():
                weights = side.astype(np.int64)
            prior += _PRIOR_PHOTOS / _HALVES * weights / max(weights.sum(), 1)

        drawn = random.gamma(self.photos + prior, size=(draws, len(prior)))
        return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))

    def solve_once(self) -> Array:
        """The likeliest shares [K] for the photos, by the confusion as it was counted."""
        photos = self.photos[None].astype(np.float64)
        if self.counts is None:
            return np.asarray(photos[0] / photos.sum())
        confusion = self.counts / self.counts.sum(axis=1, keepdims=True)
        even = np.full(len(confusion), 1 / len(confusion))
        return np.asarray(_maximise(photos, confusion[None], even, _ROUNDS)[0])

    def solve(self, photos: Array, confusions: Array, start: Array) -> Array:
        """The likeliest shares of the combinations [R, K] for answers [R, A].

        Args:
            photos: [R, A], which share of them got each answer.
            confusions: [R, K, A + 1], of which the last column is `not_a_leaf`.
            start: [K], shares near the solution.
        """
        if self.counts is None:
            return photos

        # In pieces, so that memory stays small for hundreds of combinations.
        even = np.full(len(start), 1 / len(start))
        mixed = (1 - _START_MIX) * start + _START_MIX * even
        size = max(_MAX_NUMBERS_AT_ONCE // confusions[0].size, 1)
        pieces = []
        for begin in range(0, len(photos), size):
            piece = slice(begin, begin + size)
            pieces.append(_maximise(photos[piece], confusions[piece], mixed, _DRAW_ROUNDS))
        return np.concatenate(pieces)


def _maximise(photos: Array, confusions: Array, start: Array, rounds: int) -> Array:
    """Expectation maximisation for answers [R, A] and confusions [R, K, A + 1]: shares [R, K]."""
    is_leaf = np.maximum(1 - confusions[:, :, NOT_A_LEAF], _LEAST)
    by_answer = confusions[:, :, :NOT_A_LEAF] / is_leaf[:, :, None]
    weights = photos / photos.sum(axis=1, keepdims=True)

    # Shares among the leaves that are taken for leaves.
    shares = np.broadcast_to(start, is_leaf.shape)
    for _ in range(rounds):
        expected = np.einsum("rk,rka->ra", shares, by_answer)
        ratio = weights / np.maximum(expected, _LEAST)
        shares = shares * np.einsum("ra,rka->rk", ratio, by_answer)

    # Among all leaves, also those that are not taken for leaves.
    all_leaves = shares / is_leaf
    return np.asarray(all_leaves / all_leaves.sum(axis=1, keepdims=True))
