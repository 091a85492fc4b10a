"""The comparison of a season's answers with the reference, as a table and in words."""

from __future__ import annotations

from collections.abc import Iterator

from leafzoom.evaluation.drift import MIN_ANSWERS, DriftReport, LabelShare, Shift

__all__ = ["conclusion", "drift_lines", "shift_name"]

_NAMES = {"ood_score": "out-of-distribution score", "confidence": "confidence"}
_DIRECTIONS = {"ood_score": "above", "confidence": "up to"}
_FINDINGS = {
    "ood_score": "more of the pictures than expected are unlike the leaves that the model knows",
    "confidence": "the model is less sure than it is on leaves like those of its training",
}
_OTHER_SHARE = 0.1  # a label's share that differs by more is worth a sentence
_MIN_P_VALUE = 0.001
_WIDTH = 44


def drift_lines(report: DriftReport, failed: int, model: str) -> Iterator[str]:
    """The table, a line at a time, and the conclusion below it.

    Args:
        report: of the comparison.
        failed: how many photos could not be read.
        model: its name.
    """
    unread = f" ({failed} photos could not be read)" if failed else ""
    yield (
        f"{report.answers} answers{unread}, beside {report.reference} photographs that the model "
        f"{model} was judged on"
    )
    yield ""

    # What the judgement rests on.
    yield f"{'':{_WIDTH}}{'expected':>10}{'here':>10}{'more':>10}{'p':>10}"
    for shift in report.shifts:
        yield _shift_line(shift)

    # What it does not rest on.
    yield "label among the best answers:"
    for share in report.labels:
        yield _share_line(share)
    yield ""
    yield conclusion(report)


def conclusion(report: DriftReport) -> str:
    """Whether to trust the model on these photos, in words."""
    judgement = report.judgement
    if judgement == "too_few":
        compared = min((shift.answers for shift in report.shifts), default=report.answers)
        return (
            f"Too few answers to judge by: {compared}, and it takes {MIN_ANSWERS}. Nothing is said "
            "about the model."
        )
    if judgement == "trust":
        smallest = max(shift.detectable for shift in report.shifts)
        return (
            "Nothing speaks against trusting the model on these photos as on those of its "
            f"training. So many answers would show a shift of {100 * smallest:.0f} points."
            + _about_labels(report)
        )

    worst = [shift for shift in report.shifts if shift.judgement != "trust"]
    findings = " and ".join(_FINDINGS[shift.name] for shift in worst)
    if judgement == "check":
        return (
            f"Check the model on these photos: {findings}. Look at a few dozen answers yourself "
            "before you rely on the others." + _about_labels(report)
        )
    return (
        f"Do not trust the model on these photos: {findings}. Its figures do not hold for them. "
        "Look at the photos (sharpness, light, distance, another crop), or label some and train."
        + _about_labels(report)
    )


def shift_name(shift: Shift) -> str:
    """The part of a quantity's range in which there are more answers than expected."""
    return f"{_NAMES[shift.name]} {_DIRECTIONS[shift.name]} {shift.edge:.2f}"


def _about_labels(report: DriftReport) -> str:
    """A sentence about other shares of the labels; empty if they are about the same."""
    others = [
        share.label.replace("_", " ")
        for share in report.labels
        if abs(share.observed - share.expected) > _OTHER_SHARE
    ]
    if not others:
        return ""
    return (
        f" The shares of {', '.join(others)} differ from the training's. By itself that is no "
        "reason for distrust: fields differ, and the comparison above allows for it."
    )


def _shift_line(shift: Shift) -> str:
    expected, observed = _shares_beyond(shift)
    p_value = f"{shift.p_value:.3f}" if shift.p_value >= _MIN_P_VALUE else "< 0.001"
    mark = "" if shift.judgement == "trust" else " *"
    return (
        f"{shift_name(shift):{_WIDTH}}{expected:>10.1%}{observed:>10.1%}"
        f"{_points(observed - expected):>10}{p_value:>10}{mark}"
    )


def _shares_beyond(shift: Shift) -> tuple[float, float]:
    """The expected and the observed share of answers beyond the shift's edge."""
    bins = shift.edges.index(shift.edge) + 1
    if shift.name == "ood_score":
        return sum(shift.expected[bins:]), sum(shift.observed[bins:])
    return sum(shift.expected[:bins]), sum(shift.observed[:bins])


def _share_line(share: LabelShare) -> str:
    name = f"  {share.label.replace('_', ' ')}"
    difference = _points(share.observed - share.expected)
    return f"{name:{_WIDTH}}{share.expected:>10.1%}{share.observed:>10.1%}{difference:>10}"


def _points(difference: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * difference:+.1f}"
