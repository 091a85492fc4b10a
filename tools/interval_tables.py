"""Tables of how often intervals hold the truth: over a few seeds, and of an orchard report."""

from __future__ import annotations

from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["interval_coverage", "orchard_coverage"]


def interval_coverage(result: Result) -> Lines:
    """How often 95 % intervals hold the truth: a row a number of seeds and variance."""
    lines = heading(
        (
            "seeds",
            "their spread over the photographs' standard error",
            "bootstrap over photographs and seeds holds 0",
            "intervals of this page hold 0",
        )
    )
    for case in result["cases"]:
        cells = [
            str(case["seeds"]),
            f"{case['seeds_to_photographs']:g}",
            f"{case['bootstrap']:.1%}",
            f"{case['interval']:.1%}",
        ]
        lines.append(row(cells))

    footnote = (
        f"Of {result['experiments']} simulated experiments each, without a difference. "
        f"`{command_of(result)}`"
    )
    return [*lines, "", footnote]


def orchard_coverage(result: Result) -> Lines:
    """How often intervals of an orchard report hold the true share: a row a size and tilt."""
    lines = heading(
        (
            "leaves",
            "tilt",
            "corrected: holds the share",
            "of the labels, from … to …",
            "width in points",
            "error in points",
            "uncorrected: holds it",
            "width",
            "error",
        )
    )
    for case in result["cases"]:
        by_label = case["covered_by_label"].values()
        cells = [
            str(case["leaves"]),
            f"{case['tilt']:g}",
            f"{case['covered']:.1%}",
            f"{min(by_label):.1%} to {max(by_label):.1%}",
            f"{100 * case['width']:.1f}",
            f"{100 * case['error']:.1f}",
            f"{case['plain_covered']:.1%}",
            f"{100 * case['plain_width']:.1f}",
            f"{100 * case['plain_error']:.1f}",
        ]
        lines.append(row(cells))

    footnote = (
        f"Of {result['orchards']} simulated orchards each, from the confusion of "
        f"{result['model']} on {result['validation_photographs']} validation photographs; means "
        f"over the labels. Tilt: the standard deviation of the logarithm of the factors by which "
        f"shares of combinations differ from the validation part. `{command_of(result)}`"
    )
    return [*lines, "", footnote]
