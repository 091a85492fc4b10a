"""The share of leaves with each disease, corrected for what the model confuses.

The share of answers with a label is not the share of leaves with it. If π_k is the share of leaves
with the combination of labels k, and B_ka how often the model answers a to such a leaf, then a
photo gets the answer a with probability Σ_k π_k B_ka. For one disease and two answers, solving for
π is the estimator of Rogan and Gladen (1978).

Both π and B are drawn from their joint posterior distribution by data augmentation (Tanner and Wong
1987; for diagnostic tests Joseph, Gyorkos and Coupal 1995): the true combination of each photo is
drawn, then π and B given those, by turns. B has been counted on the validation part, so intervals
carry the uncertainty of the photos and that of the confusion. Priors weigh as much as one photo.

A bootstrap over photos and confusion holds the truth less often where combinations are hard to
tell apart (`experiments.orchard_coverage`).

Counting rules. `not_a_leaf`: the photo counts as no leaf. The leaves among such photos are made up
for: a combination that the model takes for no leaf more often counts more. `unsure` is an answer
like the others: it speaks for the combinations to which it is often given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leafzoom.labels import LabelSet
from leafzoom.model_file.confusion import NOT_A_LEAF, UNSURE, Confusion

__all__ = ["GroupAnswers", "Share", "confusion_prior", "estimate_shares"]

_PERCENTILES = (2.5, 97.5)
_CHAINS = 200
_FIRST_KEPT = 40  # rounds of a chain before the first draw that counts
_ROUNDS = 80
_KEPT_EVERY = 10
_UNCORRECTED_DRAWS = 4000
_JEFFREYS = 0.5
_OWN_ANSWER = 0.5  # of a prior of one photo, on the right answer; the rest is spread like all
_MANY_LEAVES = 4  # times as many leaves, of which the width is looked at
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

    @property
    def diagnosed(self) -> int:
        """How many photos were diagnosed."""
        return int(self.counts[:UNSURE].sum())


@dataclass(frozen=True)
class Share:
    """The share of a group's leaves that have a label.

    Attributes:
        label: its name.
        labelled: how many photos were diagnosed with it.
        value: in 0..1; None without a leaf.
        low: the lower bound of the 95 % interval.
        high: the upper bound.
        more_leaves: about how many more leaves would halve the interval; None if none would,
            because the confusion itself is not known well enough, or without a leaf.
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
    plan: bool = True,
    seed: int = 0,
) -> tuple[Share, ...]:
    """The share of leaves with each label.

    Args:
        answers: to the photos of a group.
        labels: with C combinations.
        confusion: of the model; None: shares are those of the diagnosed photos, uncorrected, and
            intervals carry the uncertainty of the photos alone.
        plan: whether to say how many more leaves would halve an interval.
        seed: of the draws.
    """
    has_label = np.array(labels.combinations, np.float64).reshape(-1, len(labels.names))
    labelled = np.rint(answers.counts[:UNSURE] @ has_label).astype(int)
    if not (answers.diagnosed if confusion is None else answers.leaves):
        return tuple(Share(name, 0, None, 0.0, 1.0, None) for name in labels.names)

    random = np.random.default_rng(seed)
    if confusion is None:
        return _uncorrected(answers.diagnosed, labelled, labels.names, random)

    draws = _draw_shares(answers, confusion, random) @ has_label
    low, high = np.percentile(draws, _PERCENTILES, axis=0)
    more: list[int | None] = [None] * len(labels.names)
    if plan:
        many = replace(answers, counts=_MANY_LEAVES * answers.counts)
        draws_of_many = _draw_shares(many, confusion, random) @ has_label
        low_of_many, high_of_many = np.percentile(draws_of_many, _PERCENTILES, axis=0)
        widths = zip((high - low).tolist(), (high_of_many - low_of_many).tolist(), strict=True)
        more = [_more_leaves(answers.leaves, width, later) for width, later in widths]

    values = draws.mean(axis=0).tolist()
    return tuple(
        Share(name, int(labelled[column]), values[column], low[column], high[column], more[column])
        for column, name in enumerate(labels.names)
    )


def _uncorrected(
    diagnosed: int,
    labelled: NDArray[np.int64],
    names: Sequence[str],
    random: np.random.Generator,
) -> tuple[Share, ...]:
    """Shares of the diagnosed photos, with Jeffreys' intervals."""
    shares = []
    for name, count in zip(names, labelled.tolist(), strict=True):
        others = diagnosed - count
        draws = random.beta(count + _JEFFREYS, others + _JEFFREYS, _UNCORRECTED_DRAWS)
        low, high = np.percentile(draws, _PERCENTILES)
        value = count / diagnosed
        shares.append(
            Share(
                name, count, value, min(float(low), value), max(float(high), value), 3 * diagnosed
            )
        )
    return tuple(shares)


def _more_leaves(leaves: int, width: float, later_width: float) -> int | None:
    """About how many more leaves halve an interval whose squared width is a / leaves + b.

    `later_width` is that of four times as many leaves; b is what the confusion gives.

    >>> _more_leaves(100, 0.2, 0.1)
    300
    >>> _more_leaves(100, 0.2, 0.15) is None
    True
    """
    from_confusion = (_MANY_LEAVES * later_width**2 - width**2) / (_MANY_LEAVES - 1)
    from_confusion = max(from_confusion, 0.0)
    from_photos = max(width**2 - from_confusion, 0.0)
    left_for_photos = width**2 / 4 - from_confusion
    if left_for_photos <= 0 or from_photos <= 0:
        return None
    return int(np.ceil(leaves * from_photos / left_for_photos - leaves - 1e-6))


def confusion_prior(matrix: NDArray[np.int64]) -> Array:
    """What a confusion [C, C + 2] is before it is counted: a photo a row.

    Half of it is on the right answer, half is spread like the answers to all photographs.
    """
    rows, columns = matrix.shape
    overall = (matrix.sum(axis=0) + 1 / columns) / (matrix.sum() + 1)
    prior = np.tile((1 - _OWN_ANSWER) * overall, (rows, 1))
    prior[:, :rows] += _OWN_ANSWER * np.eye(rows)
    return prior


def _draw_shares(answers: GroupAnswers, confusion: Confusion, random: np.random.Generator) -> Array:
    """Shares of the combinations [draws, C] from their posterior distribution."""
    matrix = confusion.matrix()
    counts = matrix + confusion_prior(matrix)

    # Combinations that neither the validation part nor the group has stay at 0.
    known = np.flatnonzero(matrix.any(axis=1) | (answers.counts[:UNSURE] > 0))
    given = np.flatnonzero(answers.counts[:NOT_A_LEAF])
    photos = answers.counts[given]
    chains = _Chains.start(counts[known], random)

    draws = []
    for number in range(1, _ROUNDS + 1):
        chains = chains.next(given, photos, random)
        if number > _FIRST_KEPT and number % _KEPT_EVERY == 0:
            draws.append(chains.shares)
    shares = np.zeros((len(draws) * _CHAINS, len(matrix)))
    shares[:, known] = np.concatenate(draws)
    return shares


@dataclass(frozen=True)
class _Chains:
    """The states of R chains.

    `counts`: the confusion's, with its prior, [K, A]; the last answer is `not_a_leaf`. `shares`:
    of the K combinations, [R, K]. `confusions`: [R, K, A].
    """

    counts: Array
    shares: Array
    confusions: Array

    @classmethod
    def start(cls, counts: Array, random: np.random.Generator) -> _Chains:
        """Chains from anywhere, with the confusion as it was counted."""
        shares = _dirichlet(np.ones((_CHAINS, len(counts))), random)
        confusions = _dirichlet(np.broadcast_to(counts, (_CHAINS, *counts.shape)), random)
        return cls(counts, shares, confusions)

    def next(
        self, given: NDArray[np.intp], photos: NDArray[np.int64], random: np.random.Generator
    ) -> _Chains:
        """The next states: true combinations of all photos, then shares and confusions of those.

        Args:
            given: the answers [G] that the group has.
            photos: how many got each, [G].
            random: the generator.
        """
        # How many photos with each answer are of each combination, [R, G, K].
        joint = self.shares[:, None, :] * np.swapaxes(self.confusions[:, :, given], 1, 2)
        joint = np.maximum(joint, _LEAST)
        truths = random.multinomial(photos, joint / joint.sum(axis=2, keepdims=True))

        # Leaves that were not taken for leaves are missing, as many as is likely.
        missing_shares = self.shares * self.confusions[:, :, NOT_A_LEAF]
        is_missing = np.clip(missing_shares.sum(axis=1), _LEAST, 0.99)
        total = random.negative_binomial(photos.sum(), 1 - is_missing)
        by_combination = np.maximum(missing_shares, _LEAST)
        by_combination /= by_combination.sum(axis=1, keepdims=True)
        missing = random.multinomial(total, by_combination)

        leaves = truths.sum(axis=1) + missing
        shares = _dirichlet(leaves + 1 / leaves.shape[1], random)

        confusion_counts = np.tile(self.counts, (len(shares), 1, 1))
        confusion_counts[:, :, given] += np.swapaxes(truths, 1, 2)
        confusion_counts[:, :, NOT_A_LEAF] += missing
        return replace(self, shares=shares, confusions=_dirichlet(confusion_counts, random))


def _dirichlet(counts: Array, random: np.random.Generator) -> Array:
    """Draws from the Dirichlet distributions of the last axis."""
    weights = np.maximum(random.standard_gamma(counts), _LEAST)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
