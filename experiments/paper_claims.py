"""The paper's sentences that a reproduction can test, and whether they hold in it.

A difference holds if its interval (see `statistics.paired_difference`) is on the claimed side of 0;
where it includes 0 it is not significant. Other claims have a bound, which is written beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.reproduced_runs import HEADS, ReproducedArm
from experiments.statistics import PairedDifference, paired_difference

__all__ = ["Claim", "judge_claims"]

_WIDE = "wide-sigmoid"
_NARROW = "narrow-sigmoid"
_RELU = "narrow-relu"
_NO_BOUND = "no-upper-bound"
_NO_FINE_TUNING = "no-fine-tuning"
_SHARED = "shared-losses"
_COMPLEX = "complex"

_HOLDS = "holds"
_FAILS = "does not hold"
_UNCLEAR = "not significant"

_SMALL = 0.01  # of exact match or F1: "similar", "not much"
_NEAR_ZERO = 0.1  # of exact match: "tending to 0"
_WHOLE_SIDE = 0.9  # of the view: "didn't zoom at all"

Arms = Mapping[str, ReproducedArm]


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper and what the trainings say.

    `section`, `sentence`: of the paper. `verdict`: `holds`, `does not hold` or `not significant`.
    `evidence`: the figures behind it. `rule`: when it holds.
    """

    section: str
    sentence: str
    rule: str
    verdict: str
    evidence: str

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Test:
    """A sentence, the arms that it needs, and the judge, which returns verdict and evidence."""

    section: str
    sentence: str
    rule: str
    needs: tuple[str, ...]
    judge: Callable[[Arms], tuple[str, str]]


def judge_claims(arms: Arms) -> list[Claim]:
    """Every claim whose arms have been trained, in the paper's order."""
    claims = []
    for test in _TESTS:
        if all(name in arms for name in test.needs):
            verdict, evidence = test.judge(arms)
            claims.append(Claim(test.section, test.sentence, test.rule, verdict, evidence))
    return claims


# The judges.


def _no_zoom_without_bound(arms: Arms) -> tuple[str, str]:
    sides = [2 * arms[_NO_BOUND].curve(f"box{scale}_half_side_mean") for scale in (2, 3)]
    greatest = [float(side.max(axis=1).mean()) for side in sides]
    last = [float(side[:, -1].mean()) for side in sides]
    verdict = _HOLDS if min(greatest) >= _WHOLE_SIDE else _FAILS
    return verdict, (
        f"greatest sides of scales 2 and 3: {greatest[0]:.2f} and {greatest[1]:.2f} of the source; "
        f"last: {last[0]:.2f} and {last[1]:.2f}"
    )


def _fine_tuning_matters_little(arms: Arms) -> tuple[str, str]:
    difference = _difference(arms[_NO_FINE_TUNING], arms[_WIDE], "fusion123")
    low, high = difference.interval
    if max(-low, high) < _SMALL:
        verdict = _HOLDS
    else:
        verdict = _FAILS if abs(difference.difference) >= _SMALL else _UNCLEAR
    return verdict, f"fusion123 without it: {_points(difference)}"


def _shared_losses_collapse(arms: Arms) -> tuple[str, str]:
    curves = {scale: arms[_SHARED].curve(f"exact_match_scale{scale}") for scale in (1, 2, 3)}
    first = float(curves[1][:, -1].mean())
    finer_rise = all(float((curve[:, -1] - curve[:, 0]).mean()) > 0 for curve in _finer(curves))
    verdict = _HOLDS if first < _NEAR_ZERO and finer_rise else _FAILS
    courses = [
        f"scale {scale} {curve[:, 0].mean():.2f} to {curve[:, -1].mean():.2f}"
        for scale, curve in curves.items()
    ]
    return verdict, f"exact match from the first to the last epoch: {', '.join(courses)}"


def _sigmoid_converges_faster(arms: Arms) -> tuple[str, str]:
    return _lower_losses(arms[_NARROW], arms[_RELU], "sigmoid", "ReLU")


def _wide_converges_faster(arms: Arms) -> tuple[str, str]:
    return _lower_losses(arms[_WIDE], arms[_NARROW], "wide", "narrow")


def _relu_better_at_scale_2(arms: Arms) -> tuple[str, str]:
    difference = _difference(arms[_RELU], arms[_NARROW], "scale2")
    return _side(difference), f"ReLU against sigmoid: {_points(difference)}"


def _sigmoid_better_at_scale_3(arms: Arms) -> tuple[str, str]:
    difference = _difference(arms[_NARROW], arms[_RELU], "scale3")
    return _side(difference), f"sigmoid against ReLU: {_points(difference)}"


def _wide_better_at_each_scale(arms: Arms) -> tuple[str, str]:
    heads = ("scale1", "scale2", "scale3")
    differences = [_difference(arms[_WIDE], arms[_NARROW], head) for head in heads]
    verdicts = [_side(difference) for difference in differences]
    evidence = [
        f"{head} {_points(difference)}" for head, difference in zip(heads, differences, strict=True)
    ]
    return _worst(verdicts), ", ".join(evidence)


def _scale_1_is_the_plain_network(arms: Arms) -> tuple[str, str]:
    plain = _mean_f1(arms[_WIDE], "backbone")
    scale_1 = _mean_f1(arms[_WIDE], "scale1")
    verdict = _HOLDS if abs(scale_1 - plain) <= _SMALL else _FAILS
    return verdict, f"micro F1 {plain:.3f} and {scale_1:.3f}"


def _all_labels_but_complex(arms: Arms) -> tuple[str, str]:
    found = []
    lowest = []
    for head in ("backbone", "scale1"):
        f1s = _label_f1s(arms[_WIDE], head)
        found.append(f"{head} {f1s[_COMPLEX]:.2f}, the next {sorted(f1s.values())[1]:.2f}")
        lowest.append(min(f1s, key=lambda name: f1s[name]) == _COMPLEX)
    return (_HOLDS if all(lowest) else _FAILS), f"F1 of complex: {'; '.join(found)}"


def _scales_degrade(arms: Arms) -> tuple[str, str]:
    arm = arms[_WIDE]
    first = _own_difference(arm, "scale1", "scale2")
    second = _own_difference(arm, "scale2", "scale3")
    f1s = ", ".join(f"{_mean_f1(arm, f'scale{scale}'):.3f}" for scale in (1, 2, 3))
    evidence = f"micro F1 {f1s}; exact match {_points(first)} and {_points(second)}"
    return _worst([_side(first), _side(second)]), evidence


def _fusions_are_best(arms: Arms) -> tuple[str, str]:
    arm = arms[_WIDE]
    f1s = {head: _mean_f1(arm, head) for head in HEADS}
    fused = min(f1s["fusion12"], f1s["fusion123"])
    others = max(value for head, value in f1s.items() if not head.startswith("fusion"))
    best = max(("backbone", "scale1", "scale2", "scale3"), key=lambda head: f1s[head])
    difference = _own_difference(arm, "fusion123", best)
    verdict = _side(difference) if fused >= others else _FAILS
    listed = ", ".join(f"{head} {value:.3f}" for head, value in f1s.items())
    return verdict, f"micro F1: {listed}; exact match of fusion123 against {best}: " + _points(
        difference
    )


def _third_look_helps_complex(arms: Arms) -> tuple[str, str]:
    two = _label_f1s(arms[_WIDE], "fusion12")[_COMPLEX]
    three = _label_f1s(arms[_WIDE], "fusion123")[_COMPLEX]
    return (_HOLDS if three > two else _FAILS), f"F1 of complex {two:.3f} and {three:.3f}"


_EXCLUDES_ZERO = "the interval of the difference in exact match excludes 0"

_TESTS = (
    _Test(
        "§3.3.2",
        "fine-tuning first does not affect the ending results much",
        f"the interval of the difference is within {100 * _SMALL:.0f} point",
        (_WIDE, _NO_FINE_TUNING),
        _fine_tuning_matters_little,
    ),
    _Test(
        "§3.3.3",
        "with shared losses scale 1 tends to 0 and the others keep getting better",
        f"scale 1 ends below {_NEAR_ZERO:.1f}, the others rise",
        (_SHARED,),
        _shared_losses_collapse,
    ),
    _Test(
        "§4",
        "the sigmoid's losses converge faster than the ReLU's",
        "a lower validation loss, mean over the epochs, with every seed",
        (_NARROW, _RELU),
        _sigmoid_converges_faster,
    ),
    _Test(
        "§4",
        "ReLU performs better at scale 2",
        _EXCLUDES_ZERO,
        (_NARROW, _RELU),
        _relu_better_at_scale_2,
    ),
    _Test(
        "§4",
        "sigmoid performs better at scale 3",
        _EXCLUDES_ZERO,
        (_NARROW, _RELU),
        _sigmoid_better_at_scale_3,
    ),
    _Test(
        "§4",
        "wide bounds improve the accuracy of each scale by a lot",
        _EXCLUDES_ZERO + " at each scale",
        (_WIDE, _NARROW),
        _wide_better_at_each_scale,
    ),
    _Test(
        "§4",
        "wide bounds make the losses converge faster",
        "a lower validation loss, mean over the epochs, with every seed",
        (_WIDE, _NARROW),
        _wide_converges_faster,
    ),
    _Test(
        "§4.0.1",
        "without an upper bound the network does not zoom at all",
        f"the boxes reach {_WHOLE_SIDE:.1f} of the source's side",
        (_NO_BOUND,),
        _no_zoom_without_bound,
    ),
    _Test(
        "§5",
        "scale 1 is similar to the plain network",
        f"micro F1 within {100 * _SMALL:.0f} point",
        (_WIDE,),
        _scale_1_is_the_plain_network,
    ),
    _Test(
        "§5",
        "both perform well at each label but complex",
        "complex has the lowest F1",
        (_WIDE,),
        _all_labels_but_complex,
    ),
    _Test(
        "§5",
        "scale 2 and then scale 3 degrade progressively",
        _EXCLUDES_ZERO + " from each to the next",
        (_WIDE,),
        _scales_degrade,
    ),
    _Test(
        "§5",
        "the fusions have the highest F1 of all",
        "they have, and " + _EXCLUDES_ZERO,
        (_WIDE,),
        _fusions_are_best,
    ),
    _Test(
        "§5",
        "scales 1, 2 and 3 together are slightly better at complex than 1 and 2",
        "a higher F1 of complex",
        (_WIDE,),
        _third_look_helps_complex,
    ),
)


# What the judges compute.


def _difference(arm: ReproducedArm, control: ReproducedArm, head: str) -> PairedDifference:
    """The exact match of a head in two arms."""
    return paired_difference(arm.correct(head), control.correct(head))


def _own_difference(arm: ReproducedArm, head: str, other: str) -> PairedDifference:
    """The exact match of two heads of the same trainings."""
    return paired_difference(arm.correct(head), arm.correct(other))


def _side(difference: PairedDifference) -> str:
    """Whether a difference is above 0."""
    if not difference.is_significant:
        return _UNCLEAR
    return _HOLDS if difference.difference > 0 else _FAILS


def _worst(verdicts: list[str]) -> str:
    """A claim about several differences is as good as the worst of them."""
    return max(verdicts, key=(_HOLDS, _UNCLEAR, _FAILS).index)


def _lower_losses(
    arm: ReproducedArm, control: ReproducedArm, name: str, other: str
) -> tuple[str, str]:
    """Whether an arm's losses are lower than the other's, mean over scales and epochs."""
    losses = _mean_losses(arm)
    control_losses = _mean_losses(control)
    seeds = min(len(losses), len(control_losses))
    lower = losses[:seeds] < control_losses[:seeds]
    verdict = _HOLDS if lower.all() else _FAILS
    return verdict, (
        f"mean loss {name} {losses.mean():.3f}, {other} {control_losses.mean():.3f}; "
        f"lower with {int(lower.sum())} of {seeds} seeds"
    )


def _mean_losses(arm: ReproducedArm) -> NDArray[np.float64]:
    """The classification loss, mean over scales and epochs, [seeds]."""
    by_scale = [arm.curve(f"loss_scale{scale}").mean(axis=1) for scale in (1, 2, 3)]
    return np.asarray(np.mean(by_scale, axis=0))


def _mean_f1(arm: ReproducedArm, head: str) -> float:
    """Micro F1, mean over seeds."""
    return float(np.mean([metrics.micro.f1 for metrics in arm.metrics(head)]))


def _label_f1s(arm: ReproducedArm, head: str) -> dict[str, float]:
    """The F1 of every label, mean over seeds."""
    by_label: dict[str, list[float]] = {}
    for metrics in arm.metrics(head):
        for name, scores in metrics.per_label.items():
            by_label.setdefault(name, []).append(scores.f1)
    return {name: float(np.mean(values)) for name, values in by_label.items()}


def _points(difference: PairedDifference) -> str:
    """A difference in percentage points, with its interval."""
    low, high = difference.interval
    value = 100 * difference.difference
    return f"{value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def _finer(curves: Mapping[int, Any]) -> list[NDArray[np.float64]]:
    """The curves of scales 2 and 3."""
    return [curve for scale, curve in curves.items() if scale > 1]
