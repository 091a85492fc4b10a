"""The share of leaves with each disease, corrected for what the model confuses.

The share of answers with a label is not the share of leaves with it. If π_k is the share of leaves
with the combination of labels k, and B_ka how often the model answers a to such a leaf, then a
photo gets the answer a with probability Σ_k π_k B_ka. B is known from the validation part. The π
under which a group's answers are likeliest are found by expectation maximisation, as for any
mixture of known parts (Dempster, Laird and Rubin 1977). For one disease and two answers that is the
estimator of Rogan and Gladen (1978), kept within 0 and 1; with a classifier's confusion matrix, see
Saerens, Latinne and Decaestecker (2002). One more leaf, with the shares of the validation part, is
counted with the group's: what a few leaves leave open is answered by what leaves usually have.

Intervals are of a bootstrap over both the group's photos and the confusion (the Bayesian bootstrap,
Rubin 1981): each count is drawn anew from its Dirichlet distribution. With few counts that needs
priors. For the photos it has the weight of one, half of it on each side of the question (Jeffreys).
For each row of the confusion it has the weight of four, half of it on the right answer: the rarest
combinations have eight validation photographs, of which none got its own answer.

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

__all__ = ["DRAWS", "MIN_PLANNED_LEAVES", "GroupAnswers", "Share", "estimate_shares"]

DRAWS = 400
"""Of the bootstrap."""

MIN_PLANNED_LEAVES = 30
"""With fewer, no number of further leaves is given: widths do not yet fall as 1 / √n."""

_PERCENTILES = (2.5, 97.5)
_ROUNDS = 200  # of expectation maximisation
# The same for a draw, which starts near the solution. After 40 the draws are still so near it that
# intervals of 300 leaves hold the share of `complex` in 86 of 100 orchards only.
_DRAW_ROUNDS = 160
_START_MIX = 0.05  # how much of a start is even, so that no share starts at 0
_PRIOR_PHOTOS = 1.0  # the weight of the photos' prior, in photographs
_PRIOR_ROW = 4.0  # of the prior of a row of the confusion
_PRIOR_LEAVES = 1.0  # the weight of the validation part's shares, in leaves
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
            confusion itself is not known well enough, or with fewer than `MIN_PLANNED_LEAVES`.
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
    priors = model.draw_priors(random, draws)
    plan = plan and model.leaves >= MIN_PLANNED_LEAVES

    shares = []
    for column, name in enumerate(labels.names):
        with_label = has_label[model.combinations, column].astype(np.float64)
        photos = model.draw_photos(random, has_label[:, column], draws)
        interval = _Interval.of(model.solve(photos, confusions, priors, best) @ with_label)

        # The part of the interval that no leaf removes is that of the confusion.
        more_leaves = None
        if plan:
            same_photos = np.broadcast_to(photos.mean(axis=0), photos.shape)
            same_priors = np.broadcast_to(model.shares, priors.shape)
            solved = model.solve(same_photos, confusions, same_priors, best)
            alone = _Interval.of(solved @ with_label)
            more_leaves = _more_leaves(model.leaves, interval.width, alone.width)

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
    `shares`: [K], of the combinations in the validation part.
    """

    combinations: NDArray[np.intp]
    answers: NDArray[np.intp]
    photos: NDArray[np.int64]
    counts: Array | None
    shares: Array

    @property
    def leaves(self) -> int:
        """How many photos of the group count."""
        return int(self.photos.sum())

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
        counts = matrix + _PRIOR_ROW * prior

        kept = counts[np.ix_(combinations, np.append(columns, len(matrix) + 1))]
        shares = matrix.sum(axis=1)[combinations] / matrix.sum()
        return cls(combinations, columns, answers.counts[columns], kept, shares)

    @classmethod
    def without_confusion(cls, answers: GroupAnswers) -> _AnswerModel:
        """Diagnosed photos alone, whose answers are taken for true."""
        columns = np.arange(len(answers.counts[:UNSURE]))
        photos = answers.counts[:UNSURE]
        return cls(columns, columns, photos, None, np.zeros(len(columns)))

    def draw_confusions(self, random: np.random.Generator, draws: int) -> Array:
        """Confusions [R, K, A + 1], drawn from the Dirichlet distributions of their rows."""
        if self.counts is None:
            return np.zeros((draws, 0, 0))
        weights = random.gamma(self.counts, size=(draws, *self.counts.shape))
        return np.asarray(weights / weights.sum(axis=2, keepdims=True))

    def draw_priors(self, random: np.random.Generator, draws: int) -> Array:
        """Shares [R, K] of the leaf that is counted with the group's."""
        if self.counts is None:
            return np.zeros((draws, len(self.shares)))
        drawn = random.gamma(_PRIOR_LEAVES * self.shares, size=(draws, len(self.shares)))
        return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))

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
        weight = self._prior_weight
        return np.asarray(
            _maximise(photos, confusion[None], self.shares[None], weight, even, _ROUNDS)[0]
        )

    @property
    def _prior_weight(self) -> float:
        """That of the counted leaf among all, in 0..1."""
        return _PRIOR_LEAVES / (_PRIOR_LEAVES + self.leaves)

    def solve(self, photos: Array, confusions: Array, priors: Array, start: Array) -> Array:
        """The likeliest shares of the combinations [R, K] for answers [R, A].

        Args:
            photos: [R, A], which share of them got each answer.
            confusions: [R, K, A + 1], of which the last column is `not_a_leaf`.
            priors: [R, K], of the leaf that is counted with the group's.
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
            drawn = (photos[piece], confusions[piece], priors[piece])
            pieces.append(_maximise(*drawn, self._prior_weight, mixed, _DRAW_ROUNDS))
        return np.concatenate(pieces)


def _maximise(
    photos: Array,
    confusions: Array,
    priors: Array,
    prior_weight: float,
    start: Array,
    rounds: int,
) -> Array:
    """Expectation maximisation: the shares [R, K].

    Args:
        photos: [R, A], how many of them, or which share, got each answer.
        confusions: [R, K, A + 1].
        priors: [R, K], shares that count like those of photos.
        prior_weight: of them, in 0..1.
        start: [K].
        rounds: how many.
    """
    is_leaf = np.maximum(1 - confusions[:, :, NOT_A_LEAF], _LEAST)
    by_answer = confusions[:, :, :NOT_A_LEAF] / is_leaf[:, :, None]
    weights = photos / photos.sum(axis=1, keepdims=True)

    # Shares among the leaves that are taken for leaves.
    seen = priors * is_leaf
    seen = prior_weight * seen / seen.sum(axis=1, keepdims=True)
    shares = np.broadcast_to(start, is_leaf.shape)
    for _ in range(rounds):
        expected = np.einsum("rk,rka->ra", shares, by_answer)
        ratio = weights / np.maximum(expected, _LEAST)
        of_photos = shares * np.einsum("ra,rka->rk", ratio, by_answer)
        shares = (1 - prior_weight) * of_photos + seen

    # Among all leaves, also those that are not taken for leaves.
    all_leaves = shares / is_leaf
    return np.asarray(all_leaves / all_leaves.sum(axis=1, keepdims=True))
