"""Tables of benchmarks: targets, where the time goes, twelve hours, variants of the model."""

from __future__ import annotations

from typing import Any

from tools.markdown import Lines, Result, command_of, format_points, heading, row

__all__ = ["profile", "targets", "twelve_hours", "variants"]

_SHOWN_OPERATIONS = 6
_PAPER_EPOCH = 16_768  # photographs


def targets(result: Result) -> Lines:
    """What is to be reached, and what was measured."""
    lines = heading(("what", "to reach", "measured", "spread", ""))

    for target in result["targets"]:
        unit = f" {target['unit']}" if target["unit"] else ""
        sign = "≥" if target["at_least"] else "≤"
        cells = [
            target["what"],
            f"{sign} {target['limit']:g}{unit}",
            f"{target['value']:g}{unit}",
            _spread(target),
            "met" if target["met"] else "**missed**",
        ]
        lines.append(row(cells))

    machine = result["machine"]
    torch_version = machine["torch"].split("+")[0]
    footnote = (
        "Medians; the spread is between the quartiles of the rounds unless it says otherwise. "
        f"`{command_of(result)}` on {machine['cores']} cores of {machine['processor']}, "
        f"PyTorch {torch_version}, ONNX Runtime {machine['onnxruntime']}; "
        f"steps on {machine['steps_on']}."
    )
    return [*lines, "", footnote]


def profile(result: Result) -> Lines:
    """Where the time goes: the largest shares of each kind of step."""
    lines = heading(("what", "share of its time"))

    for what, shares in result["parts"]["where_time_goes"].items():
        # The commit and the duration stand beside the profiles.
        if not isinstance(shares, dict):
            continue

        largest = list(shares.items())[:_SHOWN_OPERATIONS]
        shown = [f"{name.removeprefix('aten::')} {share:g} %" for name, share in largest]
        lines.append(row([what, ", ".join(shown)]))

    return lines


def twelve_hours(result: Result) -> Lines:
    """How far a training comes in twelve hours, the shortest that the paper states."""
    pipeline = result["parts"]["pipeline"]
    lines = heading(
        (
            "recipe",
            "photographs a second through three scales",
            "epochs of 16,768 photographs in 12 hours",
        )
    )

    for name, recipe in (
        ("default", "`default`"),
        ("efficientnet_b0", "`default` with EfficientNet-B0, batch norms kept"),
    ):
        rate = pipeline[name]["photographs_a_second_consumed"]
        epochs = 12 * 3600 * rate / _PAPER_EPOCH
        lines.append(row([recipe, f"{rate:.1f}", f"{epochs:.0f}"]))

    return lines


def variants(result: Result) -> Lines:
    """What smaller and faster variants of the model lose and save."""
    lines = heading(
        (
            "variant",
            "MB",
            "exact match lost, in points (95 %)",
            "wrong now, right now",
            "logits move by",
            "photos a second, times (quartiles), batches of 16",
            "batches of 1",
        )
    )
    for name, figures in result["variants"].items():
        cells = [
            name,
            f"{figures['megabytes']:.1f}",
            _lost(figures),
            f"{figures['wrong_now']}, {figures['right_now']}",
            f"{figures['logits_moved']:.2f}",
            *(_speed(figures["time_over_the_shipped"][batch]) for batch in ("batch 16", "batch 1")),
        ]
        lines.append(row(cells))

    exported = result["exported"]
    footnote = (
        f"{result['note']}; `{command_of(result)}`, {result['threads']} thread. Logits: root mean "
        f"square of `fusion123`. `leafzoom export --int8` writes **{exported['variant']}**; "
        f"on all {exported['photographs']} photographs it loses "
        f"{_lost(exported)} points of exact match: "
        f"{exported['wrong_now']} answers are wrong now, {exported['right_now']} right now."
    )
    return [*lines, "", footnote]


def _lost(figures: dict[str, Any]) -> str:
    """A change of exact match as a loss, in points; zero without a sign of its own."""
    low, high = figures["interval"]
    return format_points(0.0 - figures["change"], [0.0 - high, 0.0 - low])


def _speed(time_ratios: list[float]) -> str:
    """How many times as many photos a second: median and quartiles."""
    low, median, high = (1 / ratio for ratio in reversed(time_ratios))
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _spread(target: dict[str, Any]) -> str:
    """A target's spread in the form in which it was measured."""
    if "p95" in target:
        return f"p95 {target['p95']:g}"
    if "lowest" in target:
        return f"{target['lowest']:g} to {target['highest']:g} (all of them)"
    if "low" in target:
        return f"{target['low']:g} to {target['high']:g}"
    return ""
