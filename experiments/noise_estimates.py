"""How many labels are wrong: estimates from photographs labelled twice, and from two models.

Convention: a photograph's labels are one combination, right or wrong as a whole, as exact match
counts it. The right one is what annotators would give most often. The noise is the share of
photographs with another one, so that 1 - noise is the greatest exact match that can be expected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from leafzoom.evaluation.bootstrap import percentile_interval, resample_means

__all__ = [
    "AgreementNoise",
    "DuplicateNoise",
    "Estimate",
    "agreement_noise",
    "clopper_pearson",
    "duplicate_noise",
    "share_estimate",
]

_LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A share with its 95 % interval."""

    value: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"value": self.value, "interval": list(self.interval)}


@dataclass(frozen=True)
class DuplicateNoise:
    """The noise if photographs labelled twice were like all others.

    `differing`: the share of pairs whose labels differ. `never_alike`: the noise if two wrong
    labels of a photograph are never alike. `always_alike`: if they always are; None where more than
    half of the pairs differ, which no noise explains then.
    """

    differing: Estimate
    never_alike: Estimate
    always_alike: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def clopper_pearson(successes: int, trials: int) -> Estimate:
    """A share of independent trials with its exact 95 % interval.

    >>> clopper_pearson(0, 10).interval[0]
    0.0
    """
    tail = (1 - _LEVEL) / 2
    low = beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return Estimate(successes / trials, (float(low), float(high)))


def duplicate_noise(differing: int, pairs: int) -> DuplicateNoise:
    """The noise e from pairs of near-duplicates, each labelled twice independently.

    A pair agrees if both labels are right, (1 - e)², and if both are wrong and alike. Without the
    latter, pairs differ with probability 1 - (1 - e)². If wrong labels are always alike, as with
    two classes, they differ with probability 2 e (1 - e), which is never above a half.

    Args:
        differing: how many pairs have different labels.
        pairs: of near-duplicates.

    >>> round(duplicate_noise(36, 100).never_alike.value, 3)
    0.2
    """
    share = clopper_pearson(differing, pairs)
    never_alike = _transformed(share, lambda d: 1 - np.sqrt(1 - d))

    # Above a half the equation has no solution; a bound there is at most a half.
    always_alike = None
    if share.value <= 0.5:
        always_alike = _transformed(share, lambda d: (1 - np.sqrt(1 - 2 * min(d, 0.5))) / 2)
    return DuplicateNoise(share, never_alike, always_alike)


@dataclass(frozen=True)
class AgreementNoise:
    """The noise by two models' answers.

    `shares`: of photographs by who gives the given labels, see `agreement_noise`. `contradicted`:
    the share of given labels that differ from the models' answer where the two agree. `triplet`:
    the noise by the three agreements.
    """

    shares: dict[str, float]
    contradicted: Estimate
    triplet: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def agreement_noise(
    first: NDArray[np.intp], second: NDArray[np.intp], given: NDArray[np.intp]
) -> AgreementNoise:
    """The noise of given labels by the answers of two models, with bootstrap intervals.

    Let the given label be right with probability y, the models with a and b, independently given
    the truth, and let wrong ones never be alike. Then the models give the given labels both with
    probability a b y, and both alike but other ones with a b (1 - y): the second share of the
    sum of the two is the noise, `contradicted`. The three agreements are a y, b y and a b, so that
    y² = (a y) (b y) / (a b): `triplet`.

    How the estimates err: errors that the models share count as noise, which makes both too high.
    If labels are wrong more often where the models err, as on difficult photographs, both are too
    low: `contradicted` does not see those photographs, and a model then agrees with the label more
    often than a y. Wrong answers alike by chance count as agreement, which is little with twelve
    combinations.

    Args:
        first, second: the models' answers [n], as indices of combinations.
        given: the labels [n], likewise.
    """
    first_right = first == given
    second_right = second == given
    alike = first == second

    kinds = {
        "both_right": first_right & second_right,
        "only_first": first_right & ~second_right,
        "only_second": second_right & ~first_right,
        "both_wrong_alike": alike & ~first_right,
        "both_wrong_otherwise": ~alike & ~first_right & ~second_right,
    }
    flags = {name: kind.astype(np.float64) for name, kind in kinds.items()}
    shares = {name: float(flag.mean()) for name, flag in flags.items()}

    resampled = resample_means(flags)
    all_photographs = {name: np.array([share]) for name, share in shares.items()}
    return AgreementNoise(
        shares=shares,
        contradicted=_estimate(_contradicted(all_photographs), _contradicted(resampled)),
        triplet=_estimate(_triplet(all_photographs), _triplet(resampled)),
    )


def share_estimate(flags: NDArray[np.bool_]) -> Estimate:
    """The share of photographs with a flag, with its bootstrap interval."""
    values = flags.astype(np.float64)
    return _estimate(values.mean(keepdims=True), resample_means({"share": values})["share"])


def _transformed(share: Estimate, change: Callable[[float], float]) -> Estimate:
    """A rising function of a share, with that of its bounds."""
    low, high = share.interval
    return Estimate(float(change(share.value)), (float(change(low)), float(change(high))))


def _contradicted(shares: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The estimates [R] of shares [R]."""
    agreed = shares["both_right"] + shares["both_wrong_alike"]
    return np.asarray(shares["both_wrong_alike"] / agreed)


def _triplet(shares: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The estimates [R] of shares [R]; not below 0."""
    first = shares["both_right"] + shares["only_first"]
    second = shares["both_right"] + shares["only_second"]
    between = shares["both_right"] + shares["both_wrong_alike"]
    return np.asarray(np.maximum(1 - np.sqrt(first * second / between), 0.0))


def _estimate(value: NDArray[np.float64], resampled: NDArray[np.float64]) -> Estimate:
    interval = percentile_interval(resampled)
    return Estimate(float(value[0]), (interval.low, interval.high))
