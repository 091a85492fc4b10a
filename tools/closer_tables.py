"""Tables of larger sources and of lesions in boxes."""

from __future__ import annotations

from typing import Any

from tools.markdown import Lines, Result, command_of, format_interval, format_points, heading, row

__all__ = ["detail", "lesions_held", "source_sizes"]


def source_sizes(result: Result) -> Lines:
    """What larger sources are worth: a row a set of photographs and side."""
    lines = heading(
        ("photographs", "source", "exact match (95 %)", "less the sharp one at 256 px, in points")
    )
    for name, entry in result["sets"].items():
        counts = {"all": entry["photographs"], "unseen_rows": entry["unseen"]}
        for part, count in counts.items():
            title = f"`{name}`, {count}" + (" not trained on" if part == "unseen_rows" else "")
            for side, values in entry[part].items():
                lines.append(row([title, *_source_size_cells(side, values)]))
    return [*lines, "", f"`{command_of(result)}`. `predict`'s answers, all scales fused."]


def _source_size_cells(side: str, values: dict[str, Any]) -> Lines:
    """The cells of one side of the source."""
    (key,) = [key for key in values if key.startswith("less ")]
    difference = values[key]
    source = f"sharp, {side} px" if side.isdigit() else f"{side}, 256 px"
    return [
        source,
        f"{values['exact_match']:.4f} {format_interval(values['interval'])}",
        format_points(difference["difference"], difference["interval"], digits=1),
    ]


def detail(result: Result) -> Lines:
    """What larger sources are worth to runs that saw none of the photographs: a row an arm."""
    lines = heading(
        (
            "arm",
            "seeds",
            "competition's copy",
            "sharp, 256 px",
            "sharp, largest",
            "largest less 256 px, in points (95 %)",
        )
    )
    photographs = set()
    for name, arm in result["arms"].items():
        difference = arm["largest less 256"]
        scores = [f"{score:.4f}" for score in arm["exact_match"].values()]
        points = format_points(difference["difference"], difference["interval"], digits=1)
        lines.append(row([name, str(arm["seeds"]), *scores, points]))
        photographs.add(arm["photographs"])

    (count,) = photographs
    note = f"Exact match of {count} photographs that nothing was trained on or chosen by"
    return [*lines, "", f"{note}. `{command_of(result)}`"]


def lesions_held(result: Result) -> Lines:
    """What boxes hold of lesions with the largest source: a row a look and kind of box."""
    lines = heading(
        ("set", "look", "box", "area", "photographs with a lesion inside", "centre on one")
    )
    for name, entry in result["sets"].items():
        side = list(entry["lesions"])[-1]
        measured = entry["lesions"][side]
        for look, kinds in measured["looks"].items():
            for kind, held in kinds.items():
                lines.append(row([f"`{name}`, {side} px", look, kind, *_held_cells(held)]))
        for label, looks in measured["by_label"].items():
            title = f"learned, {label.replace('_', ' ')}"
            cells = _held_cells(looks["closest"])
            lines.append(row([f"`{name}`, {side} px", "closest", title, *cells]))
    return lines


def _held_cells(held: dict[str, Any]) -> Lines:
    """The cells of one kind of box."""
    return [
        f"{held['area']:.1%}",
        f"{held['any_inside']:.3f} {format_interval(held['any_inside_interval'])}",
        f"{held['centre_hits']:.3f} {format_interval(held['centre_hits_interval'])}",
    ]
