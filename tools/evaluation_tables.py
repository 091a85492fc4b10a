"""Tables of evaluations: heads, labels, a training's cost, the demo, verdicts."""

from __future__ import annotations

from tools.markdown import Lines, Result, format_interval, heading, row

__all__ = ["cost", "demo", "differences", "heads", "labels", "outliers", "verdicts"]

_PAIRS = (
    "fusion123 - backbone",
    "fusion123 - scale1",
    "fusion12 - scale1",
    "scale2 - scale1",
    "scale3 - scale1",
)


def heads(result: Result) -> Lines:
    """The scores of every head, at threshold 0.5 and as fitted."""
    metrics = result["metrics"]
    lines = heading(
        (
            "head",
            "exact match",
            "micro F1",
            "macro F1",
            "mAP",
            "exact match, fitted",
            "micro F1, fitted",
            "macro F1, fitted",
        )
    )

    for head, plain in metrics["heads"].items():
        fitted = metrics["heads_fitted"][head]
        scores = (
            plain["exact_match"],
            plain["micro"]["f1"],
            plain["macro"]["f1"],
            plain["map"],
            fitted["exact_match"],
            fitted["micro"]["f1"],
            fitted["macro"]["f1"],
        )
        lines.append(row([f"`{head}`", *(f"{score:.3f}" for score in scores)]))

    return [*lines, "", _provenance(result)]


def labels(result: Result) -> Lines:
    """Precision, recall and F1 of each label, with 95 % intervals, of the last head as fitted."""
    metrics = result["metrics"]
    head = list(metrics["heads_fitted"])[-1]
    scores = metrics["heads_fitted"][head]
    intervals = metrics["intervals"]["heads_fitted"][head]

    lines = heading(
        ("label", "precision", "recall", "F1", "95 % interval of F1", "photographs"),
    )

    for label, values in scores["per_label"].items():
        cells = [f"`{label}`"]
        cells += [f"{values[score]:.3f}" for score in ("precision", "recall", "f1")]
        cells += [format_interval(intervals["per_label_f1"][label]), str(values["support"])]
        lines.append(row(cells))

    # Overall scores have no precision and recall.
    photographs = metrics["dataset"]["photographs"]
    for name, key, score in (
        ("micro F1", "micro_f1", scores["micro"]["f1"]),
        ("macro F1", "macro_f1", scores["macro"]["f1"]),
        ("exact match", "exact_match", scores["exact_match"]),
    ):
        interval = format_interval(intervals[key])
        lines.append(f"| {name} | | | {score:.3f} | {interval} | {photographs} |")

    return [*lines, "", f"`{head}`, fitted. {_provenance(result)}"]


def differences(result: Result) -> Lines:
    """Paired bootstrap differences of exact match between heads."""
    by_decision = result["metrics"]["differences"]
    lines = heading(("exact match", "at threshold 0.5", "fitted"))

    for pair in _PAIRS:
        if pair not in by_decision["heads"]:
            continue

        cells = [pair.replace(" - ", " \u2212 ")]
        for decision in ("heads", "heads_fitted"):
            exact_match = by_decision[decision][pair]["exact_match"]
            interval = format_interval(exact_match["interval"], "+")
            cells.append(f"{exact_match['difference']:+.3f} ({interval})")
        lines.append(row(cells))

    return [*lines, "", f"95 % paired bootstrap intervals. {_provenance(result)}"]


def cost(result: Result) -> Lines:
    """Time and memory of each stage of a training."""
    memory = result.get("memory") or {}
    lines = heading(("stage", "minutes", "most memory, MB"))

    for stage, seconds in result["seconds"].items():
        megabytes = (memory.get(stage) or {}).get("process_mb")
        shown = f"{megabytes:.0f}" if megabytes else "not measured"
        lines.append(row([stage, f"{seconds / 60:.1f}", shown]))

    return lines


def demo(result: Result) -> Lines:
    """What zooming is worth on rendered leaves: a row a figure, a column a seed, and the mean."""
    runs = result["runs"]
    lines = heading(["", *(f"seed {run['seed']}" for run in runs), "mean"])

    for name, values in _demo_figures(runs).items():
        cells = [*values, _mean(values)]
        lines.append(row([name, *(f"{value:.2f}" for value in cells)]))

    minutes = [run["seconds"] / 60 for run in runs]
    lines.append(row(["minutes", *(f"{value:.1f}" for value in [*minutes, _mean(minutes)])]))

    photographs = min(run["photographs"] for run in runs)
    part = f"Exact match at threshold 0.5 on {photographs} leaves a seed that were not trained on"
    return [*lines, "", f"{part}; {result['note']}"]


def verdicts(result: Result) -> Lines:
    """What the model answers to leaves and to other pictures: a row a kind."""
    lines = heading(
        (
            "pictures",
            "how many",
            "not a leaf",
            "unsure",
            "diagnosed",
            "of these right",
            "diseased, called healthy",
        )
    )

    for name, shares in result["leaves"].items():
        diagnosed = 1 - shares["not_a_leaf"] - shares["unsure"]
        correct = shares["exact_match_of_diagnoses"]
        cells = [
            f"leaves, {name}",
            str(shares["photographs"]),
            f"{shares['not_a_leaf']:.1%}",
            f"{shares['unsure']:.1%}",
            f"{diagnosed:.1%}",
            "" if correct is None else f"{correct:.1%}",
            f"{shares['diseased_called_healthy']} of {shares['diseased']}",
        ]
        lines.append(row(cells))

    for name, shares in result["other"].items():
        diagnosed = 1 - shares["no_diagnosis"]
        rejected = shares["not_a_leaf"]
        unsure = 1 - rejected - diagnosed
        verdict_cells = [f"{share:.1%}" for share in (rejected, unsure, diagnosed)]
        lines.append(row([name, str(shares["pictures"]), *verdict_cells, "", ""]))

    return [*lines, "", f"{result['note']}."]


def outliers(result: Result) -> Lines:
    """The verdicts on pictures of each kind, by detectors that saw no picture of the kind."""
    names = ("pictures", "how many", "not a leaf", "unsure", "diagnosed")
    lines = heading(names)
    for kind, shares in result["kinds"].items():
        cells = [kind if shares["left_out"] else f"leaves: {kind}", str(shares["pictures"])]
        cells += [f"{shares[verdict]:.1%}" for verdict in ("not_a_leaf", "unsure", "diagnosed")]
        lines.append(row(cells))

    return [*lines, "", f"{result['note']}. `{result['command']}`"]


def _demo_figures(runs: list[Result]) -> dict[str, list[float]]:
    """The demo's figures by their name in the table, a value a run."""
    figures = {
        "first look alone (`scale1`)": [run["exact_match"]["scale1"] for run in runs],
        "plain backbone": [run["exact_match"]["backbone"] for run in runs],
        "**three looks fused (`fusion123`)**": [run["exact_match"]["fusion123"] for run in runs],
    }

    # The same network with other boxes.
    for kind, name in (
        ("centre", "the same with boxes at the centre"),
        ("random", "… at random places"),
        ("response", "… where the feature map responds most"),
    ):
        figures[name] = [run["zoom_value"][kind]["fusion123"] for run in runs]

    # The pointing game of the second zoom.
    for kind, name in (
        ("learned", "**share of second zooms whose centre is on a lesion**"),
        ("centre", "… of boxes at the centre"),
        ("random", "… of random boxes"),
        ("response", "… of boxes at the largest response"),
    ):
        figures[name] = [run["pointing"][kind]["scale3"] for run in runs]

    return figures


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _provenance(result: Result) -> str:
    """The photographs that a model was evaluated on, and the result's note."""
    dataset = result["metrics"]["dataset"]
    return f"`{dataset['split']}`, {dataset['photographs']} photographs; {result['note']}"
