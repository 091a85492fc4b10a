"""Tables of the labels' noise: the estimates, and the combinations where it is."""

from __future__ import annotations

from typing import Any

from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["noise_by_combination", "noise_estimates"]


def noise_estimates(result: Result) -> Lines:
    """Every estimate of the noise, and the exact match that it leaves."""
    lines = heading(("estimate", "of", "noise in % (95 %)", "exact match left, in %"))
    for model, values in result["models"].items():
        lines.append(_estimate_row("cleanlab", f"`{model}`", values["issues"]["share"]))
    lines.append(_estimate_row("cleanlab", "all models at once", result["flagged_by_all"]))
    for kind in ("contradicted", "triplet"):
        for pair, values in result["agreement"].items():
            lines.append(_estimate_row(kind, _names(pair), values[kind]))

    contradiction = result["confident_contradiction"]
    confidence = contradiction["confidence"]
    of = f"all models at once, each {confidence:.0%} sure, of all photographs"
    lines.append(_estimate_row("contradicted", of, contradiction["of_all"]))

    for kind, title in (("identical", "copies of one file"), ("other_shots", "other shots")):
        pairs = result["duplicates"][kind]
        if pairs:
            of = f"{title}: {pairs['differing_pairs']} of {pairs['pairs']} pairs differ"
            lines.append(_estimate_row("near-duplicates", of, pairs["never_alike"]))
    for name, boxes in result["boxes"].items():
        of = f"`{name}`: other diseases in {boxes['extra']} of {boxes['photographs']}"
        lines.append(_estimate_row("boxes", of, boxes["never_alike"]))
    return [*lines, "", _footnote(result)]


def noise_by_combination(result: Result) -> Lines:
    """How often all models agree on something else than the given combination."""
    lines = heading(
        (
            "given",
            "photographs",
            "all models agree on another",
            "in % (95 %)",
            "cleanlab, with all models",
            "which others",
        )
    )
    for entry in result["by_combination"]:
        instead = [f"{name} {count}" for name, count in entry["instead"].items()]
        cells = [
            entry["combination"],
            str(entry["photographs"]),
            str(entry["contradicted"]),
            _percent(entry["contradicted_share"]),
            str(entry["flagged_by_all"]),
            ", ".join(instead),
        ]
        lines.append(row(cells))
    return lines


def _estimate_row(kind: str, of: str, estimate: dict[str, Any]) -> str:
    low, high = estimate["interval"]
    left = f"{100 * (1 - estimate['value']):.1f} ({100 * (1 - high):.1f} to {100 * (1 - low):.1f})"
    return row([kind, of, _percent(estimate), left])


def _percent(estimate: dict[str, Any]) -> str:
    """A share with its interval, in percent."""
    low, high = (100 * bound for bound in estimate["interval"])
    return f"{100 * estimate['value']:.1f} ({low:.1f} to {high:.1f})"


def _names(pair: str) -> str:
    """Two models, each as code."""
    return ", ".join(f"`{name}`" for name in pair.split(", "))


def _footnote(result: Result) -> str:
    ceiling = result["ceiling"]
    reached = [
        f"`{model}` {_percent(values['exact_match'])}" for model, values in result["models"].items()
    ]
    return (
        f"`{command_of(result)}`, {result['photographs']} photographs of `inner-validation`, "
        f"pairs among all {result['duplicates']['photographs']}. Reached there, out of fold: "
        f"{', '.join(reached)}. The ceiling: {100 * ceiling['low_value']:.1f} to "
        f"{100 * ceiling['high_value']:.1f} % by these values, {100 * ceiling['low']:.1f} to "
        f"{100 * ceiling['high']:.1f} % by the bounds of their intervals and what is reached."
    )
