"""Tables of docs/offline.md: the app's answers, its speed, and the browsers that run it."""

from __future__ import annotations

from typing import Any

from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["browsers", "web_agreement", "web_speed"]

_BYTES_PER_MB = 1e6


def web_agreement(result: Result) -> Lines:
    """How far the app's answers are from Python's, a set of photographs a row."""
    columns = (
        "photos",
        "number",
        "same labels",
        "same verdict",
        "same pixels",
        "largest difference of a probability",
    )
    lines = heading(columns)
    for name, figures in result["sets"].items():
        cells = [name, str(figures["photographs"])]
        cells += [f"{figures[key]:.1%}" for key in ("same_labels", "same_verdict", "same_pixels")]
        cells.append(f"{figures['probability_difference']['greatest']:.4f}")
        lines.append(row(cells))
    return [*lines, "", f"`{command_of(result)}`, in Chromium."]


def web_speed(result: Result) -> Lines:
    """Seconds and memory of each mode, unthrottled and throttled."""
    columns = (
        "mode",
        "processor",
        "page usable after",
        "first diagnosis",
        "next ones, median",
        "slowest",
        "memory",
    )
    lines = heading(columns)
    for run in result["runs"]:
        lines.append(row(_speed_cells(run)))
    megabytes = {name: size / _BYTES_PER_MB for name, size in result["first_visit"].items()}
    footnote = (
        f"`{command_of(result)}`, {result['machine']['cores']} cores, without a network, "
        f"{len(result['photos'])} photos of a camera. The first visit loads "
        f"{megabytes['plain']:.1f} MB, {megabytes['gzip']:.1f} MB compressed."
    )
    return [*lines, "", footnote]


def _speed_cells(run: dict[str, Any]) -> list[str]:
    slower = run["throttled"]
    return [
        run["mode"],
        f"slowed {slower} times" if slower > 1 else "as it is",
        f"{run['usable_s']:.1f} s",
        f"{run['first_diagnosis_s']:.1f} s",
        f"{run['next_s']['median']:.1f} s",
        f"{run['next_s']['greatest']:.1f} s",
        f"{run['memory_mb']:.0f} MB",
    ]


def browsers(result: Result) -> Lines:
    """What works in which browser."""
    columns = (
        "browser",
        "version",
        "answers as Python's",
        "largest difference of a probability",
        "keeps results and pictures",
        "starts and diagnoses without a network",
    )
    lines = heading(columns)
    for name, figures in result["browsers"].items():
        kept = figures["kept_pictures"] > 0
        offline = figures["starts_offline"] and figures["pictures_offline"] > 0
        cells = [
            name.replace("-", ", "),
            figures["version"],
            f"{figures['same_answer']} of {figures['photos']}",
            f"{figures['greatest_probability_difference']:.6f}",
            "yes" if kept else "no",
            "yes" if offline else "no",
        ]
        lines.append(row(cells))
    return [*lines, "", f"`{command_of(result)}`"]
