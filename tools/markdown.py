"""Pieces of the Markdown tables that `tools.tables` writes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = [
    "Lines",
    "Result",
    "command_of",
    "format_interval",
    "format_p_value",
    "format_points",
    "heading",
    "row",
    "with_present_part_names",
]

Result = dict[str, Any]
"""The content of a file in `results/`."""

Lines = list[str]

_PRESENT_PART_NAMES = {"inner-select": "inner-validation", "inner-report": "inner-test"}
_OLD_PROGRAM = re.compile(r"^(benchmarks|experiments)/([\w-]+)")


def heading(columns: Iterable[str]) -> Lines:
    """A table's first two lines."""
    names = list(columns)
    titles = "".join(f" {name} |" if name else " |" for name in names)
    return [f"|{titles}", "|" + "---|" * len(names)]


def row(cells: Iterable[str]) -> str:
    """A table's line."""
    return f"| {' | '.join(cells)} |"


def format_interval(bounds: list[float], sign: str = "") -> str:
    """An interval of shares: `0.812 to 0.845`; with `sign="+"` both bounds carry their sign."""
    return " to ".join(f"{bound:{sign}.3f}" for bound in bounds)


def format_points(difference: float, interval: list[float], digits: int = 2) -> str:
    """A difference of shares with its interval, in percentage points: `+1.20 (+0.40 to +2.01)`."""
    low, high = interval
    value, least, greatest = (f"{100 * share:+.{digits}f}" for share in (difference, low, high))
    return f"{value} ({least} to {greatest})"


def format_p_value(p: float) -> str:
    """A p-value with three decimals."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def command_of(result: Result) -> str:
    """The command that made a result.

    Results from before the programs were modules store them as paths: `experiments/early-exit` is
    `python -m experiments.early_exit` today.
    """
    command = str(result["command"])
    program = _OLD_PROGRAM.match(command)
    if program is None:
        return command

    module = program[2].replace("-", "_")
    return f"python -m {program[1]}.{module}{command[program.end() :]}"


def with_present_part_names(text: str) -> str:
    """A text with the parts of the split under their present names; older results have others."""
    for former, present in _PRESENT_PART_NAMES.items():
        text = text.replace(former, present)
    return text
