"""The table of how often intervals over a few seeds hold the truth."""

from __future__ import annotations

from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["interval_coverage"]


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
