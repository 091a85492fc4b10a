"""Tables of docs/scale.md: devices, Ray beside the local engine, a million photos."""

from __future__ import annotations

from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["devices", "million", "ray"]

_PHOTOS = 1_000_000
_CORES = (1, 16, 64)
_HOUR_MS = 3_600_000
_NETWORK_MB = 125  # a second: one gigabit
_GPU_CORES = 16


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


def ray(result: Result) -> Lines:
    """Ray beside the local engine on one machine, at two sizes."""
    columns = (
        "photos",
        "throughput, as a multiple of the local engine's",
        "memory of the local engine",
        "of Ray's driver",
        "of a worker",
    )
    lines = heading(columns)
    for size in result["sizes"].values():
        cells = [
            f"{size['photos']:,}",
            f"{size['throughput_ratio']:.2f}",
            *(f"{size[key]} MB" for key in ("local_mb", "ray_driver_mb", "ray_worker_mb")),
        ]
        lines.append(row(cells))

    killed = result["killed_worker"]
    footnote = (
        f"With a worker killed in the middle, {killed['rows']:,} rows of {killed['photos']:,} "
        f"photos: {killed['lost']} lost, {killed['doubled']} doubled. Leaves of "
        f"{result['photo_px']} px, {result['machine']['cores']} cores, with other work beside; "
        f"`{command_of(result)}`."
    )
    return [*lines, "", footnote]


def million(result: Result) -> Lines:
    """What a million photos cost, from the measured parts, with the arithmetic."""
    cpu = result["cpu"]
    decode = cpu["decode_ms"]
    ways = {"all looks": decode + cpu["all_looks_ms"]}
    if "first_look_ms" in cpu:
        later = (1 - cpu["stop_share"]) * cpu["all_looks_ms"]
        ways["`--early-exit`"] = decode + cpu["first_look_ms"] + later

    megabytes = cpu["mean_bytes"] / 1e6
    lines = heading(
        ["", "ms a photo and core", *(f"{n} cores" for n in _CORES), "1 Gbit/s is full at"]
    )
    for name, milliseconds in ways.items():
        hours = [f"{_PHOTOS * milliseconds / _HOUR_MS / cores:,.1f} h" for cores in _CORES]
        full_at = _NETWORK_MB * milliseconds / 1000 / megabytes
        lines.append(row([name, f"{milliseconds:.1f}", *hours, f"{full_at:,.0f} cores"]))
    if "cuda" in result:
        milliseconds = max(decode / _GPU_CORES, result["cuda"]["all_looks_ms"])
        hours = f"{_PHOTOS * milliseconds / _HOUR_MS:,.1f} h"
        lines.append(
            row([f"one GPU, {_GPU_CORES} cores", f"{milliseconds:.2f}", hours, "", "", ""])
        )

    return [*lines, "", *_arithmetic(result, megabytes)]


def _arithmetic(result: Result, megabytes: float) -> Lines:
    """Where the table's figures come from, and what they leave out."""
    cpu = result["cpu"]
    decode = cpu["decode_ms"]
    parts = f"{decode} ms decoding and {cpu['all_looks_ms']} ms for all looks"
    if "first_look_ms" in cpu:
        parts += (
            f"; early exit pays {cpu['first_look_ms']} ms for the first look, and all looks for "
            f"the {1 - cpu['stop_share']:.0%} that do not stop there"
        )

    gpu = ""
    if "cuda" not in result:
        gpu = (
            " A GPU is not measured. Its cores decode, so one GPU with "
            f"{_GPU_CORES} cores takes at least "
            f"{_PHOTOS * decode / _HOUR_MS / _GPU_CORES:.1f} h, and is idle in part where a photo "
            f"costs it less than {decode / _GPU_CORES:.2f} ms."
        )
    return [
        f"Hours are a million times the milliseconds of one core ({parts}), divided by the "
        f"cores: blocks are independent. Photos of {cpu['mean_megapixels']} megapixels and "
        f"{megabytes:.2f} MB come over a network of 1 Gbit/s, which is full at the cores in the "
        f"last column: from there on, more cores gain nothing.{gpu} Processor time of one "
        f"thread; `{cpu['command']}`.",
    ]
