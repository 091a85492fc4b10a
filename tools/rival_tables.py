"""The table of rival networks: exact match and cost, against the plain network and ours."""

from __future__ import annotations

from typing import Any

from tools.markdown import Lines, Result, command_of, format_points, heading, row

__all__ = ["rivals"]

_MILLION = 1e6


def rivals(result: Result) -> Lines:
    """A network a row."""
    lines = heading(
        (
            "network",
            "exact match",
            "by seed",
            "multiply-adds, millions",
            "time",
            "against the plain network",
            "against our RA-CNN",
        )
    )
    for entry in result["networks"].values():
        by_seed = [f"{value:.3f}" for value in entry["by_seed"]]
        cells = [
            entry["title"],
            f"{entry['exact_match']:.3f}",
            ", ".join(by_seed),
            f"{entry['multiply_adds'] / _MILLION:.0f}",
            f"{entry['time_ratio']:.2f}",
            _difference(entry.get("against_plain")),
            _difference(entry.get("against_ours")),
        ]
        lines.append(row(cells))
    return [*lines, "", _footnote(result)]


def _difference(difference: dict[str, Any] | None) -> str:
    """In points, with its interval; nothing for a network against itself."""
    if difference is None:
        return ""
    return format_points(difference["difference"], difference["interval"], 1)


def _footnote(result: Result) -> str:
    return (
        f"`{command_of(result)}`, {result['photographs']} photographs that nothing was trained or "
        f"fitted on; decisions as of `predict`. Differences in points (95 %). Time a photograph in "
        f"batches of {result['batch']} on {result['threads']} core, 1 for the plain network."
    )
