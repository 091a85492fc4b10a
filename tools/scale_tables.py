"""Tables of docs/scale.md: devices, Ray beside the local engine, a million photos."""

from __future__ import annotations

from leafzoom.inference.devices import DEVICES
from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["devices", "million", "ray"]

_PHOTOS = 1_000_000
_CORES = (1, 16, 64)
_HOUR_MS = 3_600_000
_NETWORK_MB = 125  # a second: one gigabit
_GPU_CORES = 16


def devices(result: Result) -> Lines:
    """How near each measured device is to the CPU."""
    entries = {name: entry for name, entry in result.items() if name in DEVICES}
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
        f"Without the start of either, further photos go through at "
        f"{result['further_photos_ratio']:.2f} of the local engine's rate. With a worker killed "
        f"in the middle, {killed['rows']:,} rows of {killed['photos']:,} photos: "
        f"{killed['lost']} lost, {killed['doubled']} doubled. Leaves of {result['photo_px']} px, "
        f"{result['machine']['cores']} cores, with other work beside; `{command_of(result)}`."
    )
    return [*lines, "", footnote]


def million(result: Result) -> Lines:
    """What a million photos cost, from the measured parts, with the arithmetic."""
    cores = [f"{count} core{'s' if count > 1 else ''}" for count in _CORES]
    lines = heading(["photos", "looks", "ms a photo and core", *cores, "over 1 Gbit/s at least"])
    for folder in result["cpu"]["folders"]:
        megabytes = folder["mean_bytes"] / 1e6
        name = f"{folder['mean_megapixels']:.1f} megapixels, {megabytes:.2f} MB"
        for looks, milliseconds in _ways(folder, result["cpu"].get("stop_share")).items():
            hours = [_hours(milliseconds / count) for count in _CORES]
            network_ms = 1000 * megabytes / _NETWORK_MB
            least = f"{_hours(network_ms)}, from {milliseconds / network_ms:,.0f} cores on"
            lines.append(row([name, looks, f"{milliseconds:.1f}", *hours, least]))

    return [*lines, "", _arithmetic(result)]


def _ways(folder: Result, stop_share: float | None) -> dict[str, float]:
    """Milliseconds a photo of one core, with all looks and with an early exit."""
    decode = folder["decode_ms"]
    ways = {"all": decode + folder["all_looks_ms"]}
    if stop_share is not None:
        later = (1 - stop_share) * folder["all_looks_ms"]
        ways["`--early-exit`"] = decode + folder["first_look_ms"] + later
    return ways


def _hours(milliseconds: float) -> str:
    """How long a million photos take."""
    return f"{_PHOTOS * milliseconds / _HOUR_MS:,.1f} h"


def _arithmetic(result: Result) -> str:
    """Where the table's figures come from, and where they end."""
    cpu = result["cpu"]
    parts = "; ".join(
        f"{folder['mean_megapixels']:.1f} megapixels: {folder['decode_ms']} ms decoding and "
        f"{folder['all_looks_ms']} ms for all looks"
        for folder in cpu["folders"]
    )
    early_exit = ""
    if "stop_share" in cpu:
        firsts = " and ".join(f"{folder['first_look_ms']}" for folder in cpu["folders"])
        early_exit = (
            f" An early exit pays {firsts} ms for the first look, and all looks for the "
            f"{1 - cpu['stop_share']:.0%} of the photos that do not stop there."
        )
    return (
        f"Hours are a million times the milliseconds of one core ({parts}), divided by the cores, "
        f"because blocks are independent.{early_exit} The last column is the time in which a "
        "network of 1 Gbit/s brings the photos, and the cores that keep up with it: more gain "
        "nothing. "
        f"{_gpu_words(result)} Processor time of one thread; `{cpu['command']}`."
    )


def _gpu_words(result: Result) -> str:
    """What one GPU takes, or at least takes where none was measured."""
    folder = result["cpu"]["folders"][-1]
    decode = folder["decode_ms"] / _GPU_CORES
    if "cuda" not in result:
        return (
            f"A GPU was not measured: the {_GPU_CORES} cores beside it decode, so a million photos "
            f"of {folder['mean_megapixels']:.1f} megapixels take at least {_hours(decode)}, and it "
            f"waits for them where its looks take less than {decode:.2f} ms."
        )
    looks = result["cuda"]["folders"][-1]["all_looks_ms"]
    return (
        f"One GPU takes {looks} ms for all looks, and the {_GPU_CORES} cores beside it "
        f"{decode:.2f} ms for decoding: a million photos of {folder['mean_megapixels']:.1f} "
        f"megapixels take {_hours(max(decode, looks))}."
    )
