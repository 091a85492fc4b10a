"""Tables of docs/scale.md: devices beside the CPU."""

from __future__ import annotations

from tools.markdown import Lines, Result, heading, row

__all__ = ["devices"]


def devices(result: Result) -> Lines:
    """How near each measured device is to the CPU."""
    entries = {name: entry for name, entry in result.items() if isinstance(entry, dict)}
    columns = (
        "device",
        "ONNX Runtime",
        "same answers",
        "largest difference of a probability",
        "of a box",
        "time, as a multiple of the CPU's",
    )
    lines = heading(columns)
    for name, entry in entries.items():
        cells = [
            f"`{name}`",
            entry["onnxruntime"],
            f"{entry['same_answers']} of {entry['photos']}",
            f"{entry['max_probability_difference']:.6f}",
            f"{entry['max_box_difference_px']} px",
            f"{entry['time_ratio']:.2f}",
        ]
        lines.append(row(cells))

    commands = " and ".join(f"`{entry['command']}`" for entry in entries.values())
    return [*lines, "", f"Measured by {commands}."]
