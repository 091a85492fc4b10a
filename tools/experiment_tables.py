"""Tables of experiments: arms compared, zoom value, early exit, price."""

from __future__ import annotations

from typing import Any

from experiments.statistics import holm
from tools.markdown import (
    Lines,
    Result,
    command_of,
    format_p_value,
    format_points,
    heading,
    row,
)

Corrected = dict[int, float]
"""Corrected p-values, by the identity of the comparison."""

__all__ = [
    "cost_accuracy",
    "early_exit",
    "experiment",
    "few_photographs",
    "price",
    "zoom_value",
]

_ONE_SEED = " ¹"
_SIGNIFICANCE = 0.05
_INTERVALS = "¹ one seed: for new photographs alone"
_OTHER_BOXES = ("centre", "random", "response")
_LESION_SHARES = ("centre_on", "centre_on_chance", "holds", "holds_chance")
_FEW_PHOTOGRAPHS_ARMS = {
    "known": "known",
    "imagenet": "from ImageNet",
    "new": "new",
}
_SHOWN_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)


def experiment(result: Result) -> Lines:
    """The arms of a comparison: exact match of the heads (means over seeds), differences, boxes."""
    arms = result["arms"]
    heads = _shown_heads(arms)
    both_parts = result.get("both_parts", {"pairs": []})
    corrected = _corrected(result["pairs"] + both_parts["pairs"])
    lesion_boxes = sorted({_box(key) for arm in arms.values() for key in arm.get("lesions", {})})
    pairs = {pair["arm"]: pair for pair in result["pairs"]}

    # A column a head, the comparison, a column a box.
    lines = heading(
        [
            "arm",
            *(f"`{head}`" for head in heads),
            "what is compared, by seed",
            "against",
            "difference in points (95 %)",
            "p",
            "p, Holm",
            "boxes: side, spread",
            *(_lesion_column(box) for box in lesion_boxes),
        ]
    )
    for name, arm in arms.items():
        cells = [name, *_head_scores(arm["exact_match"], heads)]

        # What is compared.
        cells.append(_by_seed(arm["exact_match_by_seed"][_last_head(arm)]))
        cells += _comparison(pairs.get(name), corrected)

        # Where the boxes lie.
        cells.append(_box_shapes(arm["boxes"]))
        cells += [_lesion_shares(arm["lesions"], box) for box in lesion_boxes]
        lines.append(row(cells))

    lines += ["", _experiment_footnote(result, corrected)]
    if "both_parts" in result:
        lines += _both_parts(both_parts, corrected)
    return lines


def zoom_value(result: Result) -> Lines:
    """What an arm's boxes are worth to its classifiers: a row a scale and the last fusion."""
    lines = heading(
        (
            "arm",
            "seeds",
            "head",
            "exact match at 0.5",
            "more than at the centre",
            "than at random places",
            "than at the largest response",
        )
    )
    corrected = _corrected(_zoom_comparisons(result))
    for arm, heads in result["zoom_value"].items():
        last_head = list(heads)[-1]
        for head, values in heads.items():
            if head.startswith("fusion") and head != last_head:
                continue

            # The learned boxes against each other kind.
            cells = [arm, str(values["seeds"]), f"`{head}`", f"{values['exact_match']:.3f}"]
            cells += [_zoom_points(values[kind], corrected) for kind in _OTHER_BOXES]
            lines.append(row(cells))

    data = "LEAVES" if _is_of_leaves(result) else "DATA"
    runs = " ".join(f"RUNS/{arm}-?" for arm in result["zoom_value"])
    footnote = (
        f"Points, 95 % intervals; the same {result['photographs']} photographs. {_INTERVALS}. "
        f"{_number_of_comparisons(corrected)}, in bold. "
        f"`python -m experiments.zoom_value {data} {runs}`"
    )
    return [*lines, "", footnote]


def _zoom_comparisons(result: Result) -> list[dict[str, Any]]:
    """The comparisons that a table of zoom values shows."""
    comparisons = []
    for heads in result["zoom_value"].values():
        last_head = list(heads)[-1]
        for head, values in heads.items():
            if not head.startswith("fusion") or head == last_head:
                comparisons += [values[kind] for kind in _OTHER_BOXES]
    return comparisons


def _zoom_points(comparison: dict[str, Any], corrected: Corrected) -> str:
    """The cell of a comparison, in bold where it is significant among all."""
    points = format_points(comparison["difference"], comparison["interval"], digits=1)
    if len(comparison["by_seed"]) == 1:
        points += _ONE_SEED
    return f"**{points}**" if corrected[id(comparison)] < _SIGNIFICANCE else points


def price(result: Result) -> Lines:
    """What a diagnosis costs, a row a network."""
    lines = heading(
        (
            "network",
            "multiply-adds, millions",
            "ratio",
            "milliseconds",
            "ratio of the times (quartiles)",
        )
    )
    for name, network in result["networks"].items():
        low, high = network["time_ratio_quartiles"]
        cells = [
            name,
            f"{network['multiply_adds'] / 1e6:.0f}",
            f"{network['multiply_adds_ratio']:.2f}",
            f"{network['milliseconds']:.1f}",
            f"{network['time_ratio']:.2f} ({low:.2f} to {high:.2f})",
        ]
        lines.append(row(cells))

    torch_version = result["torch"].split("+")[0]
    footnote = (
        f"`{command_of(result)}`: batches of {result['batch']}, {result['rounds']} rounds, "
        f"{result['threads']} threads, PyTorch {torch_version}."
    )
    return [*lines, "", footnote]


def few_photographs(result: Result) -> Lines:
    """What trainings on few photographs reach: a row an arm and number of photographs a label."""
    lines = heading(
        (
            "arm",
            "photographs a label",
            "in all",
            "fused exact match, by seed",
            "best scale",
            "fused less best scale, in points (95 %)",
            "mean confidence",
            "greatest",
            "calibration error, by seed",
        )
    )
    for arm, title in _FEW_PHOTOGRAPHS_ARMS.items():
        for values in result["arms"].get(arm, []):
            lines.append(row([title, *_few_photographs_cells(values)]))

    shown = [values for arm in _FEW_PHOTOGRAPHS_ARMS for values in result["arms"].get(arm, [])]
    corrected = _corrected([values["against_best_scale"] for values in shown])
    judged = [
        f"{title} {result['arms'][arm][0]['judged']}"
        for arm, title in _FEW_PHOTOGRAPHS_ARMS.items()
        if arm in result["arms"]
    ]
    timed = result["whole_training"]
    footnote = (
        f"`{command_of(result)}`. Fitted decisions, on photographs drawn alike that nothing was "
        f"trained on ({', '.join(judged)}); means over seeds where not by seed. The best scale is "
        f"chosen on these photographs. {_INTERVALS}. {_number_of_comparisons(corrected)}. "
        "A whole training on "
        f"{timed['photographs']} photographs took {timed['processor_minutes']:.1f} minutes of the "
        f"processor, {timed['minutes']:.1f} by the clock while others used its "
        f"{result['machine']['cores']} cores too."
    )
    return [*lines, "", footnote]


def _few_photographs_cells(values: dict[str, Any]) -> Lines:
    """The cells of one number of photographs a label."""
    against = values["against_best_scale"]
    best_scale = values["best_scale"]
    return [
        str(values["photographs_a_label"]),
        _range(values["photographs"]),
        _by_seed(values["exact_match_by_seed"]),
        f"`{best_scale}` {values['exact_match'][best_scale]:.3f}",
        format_points(against["difference"], against["interval"], digits=1),
        f"{_mean(values['mean_confidence']):.3f}",
        f"{max(values['greatest_confidence']):.3f}",
        _by_seed(values["calibration_error"]),
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _range(values: list[int]) -> str:
    """The least and the greatest value, or the only one."""
    least = min(values)
    greatest = max(values)
    return str(least) if least == greatest else f"{least} to {greatest}"


def early_exit(result: Result) -> Lines:
    """What an early exit costs and saves: a row a threshold, the fitted one marked."""
    lines = heading(
        (
            "from a confidence of",
            "stop after one look",
            "cost of all looks",
            "the same if the first look were kept",
            "exact match",
            "change in points (95 %)",
            "right answers made wrong, at most (95 %)",
        )
    )
    fitted = result["fitted"]
    points = [point for point in result["curve"] if point["threshold"] in _SHOWN_THRESHOLDS]
    points.append(fitted)

    for point in sorted(points, key=lambda point: float(point["threshold"])):
        mark = " (the model's)" if point is fitted else ""
        cells = [
            f"{point['threshold']:.2f}{mark}",
            f"{point['exits']:.1%}",
            f"{point['cost']:.2f}",
            f"{point['cost_if_the_first_look_were_kept']:.2f}",
            f"{point['exact_match']:.3f}",
            format_points(point["change"], point["interval"]),
            f"{point['losses']}, {100 * point['greatest_loss']:.2f} points",
        ]
        lines.append(row(cells))

    return [*lines, "", _early_exit_footnote(result)]


def cost_accuracy(result: Result) -> Lines:
    """What is right for the cost: a row a network."""
    lines = heading(
        (
            "network",
            "multiply-adds, billions",
            "time (quartiles)",
            "exact match",
            "less plain Lite2 with mirror images, in points (95 %)",
        )
    )
    for name, point in result["points"].items():
        quartiles = point.get("time_ratio_quartiles")
        spread = "" if quartiles is None else f" ({quartiles[0]:.2f} to {quartiles[1]:.2f})"
        difference = ""
        if "interval" in point:
            difference = format_points(point["difference"], point["interval"])
        cells = [
            name,
            f"{point['multiply_adds'] / 1e9:.2f}",
            f"{point['time_ratio']:.2f}{spread}",
            f"{point['exact_match']:.3f}",
            difference,
        ]
        lines.append(row(cells))

    fewer = result["two_looks_less_the_shipped"]
    mirrors = "; ".join(
        f"to {name} {format_points(added['difference'], added['interval'])}"
        for name, added in result["mirror_images"].items()
    )
    footnote = (
        f"`{command_of(result)}`, {result['photographs']} photographs of `inner-validation`, "
        f"fusions and decisions out of fold. Times are PyTorch's, over plain Lite0's, in turns: "
        f"batches of {result['batch']}, {result['rounds']} rounds, {result['threads']} thread. "
        f"Mirror images add {mirrors} points. Two looks without them, less the model that ships "
        f"({result['shipped']}): {format_points(fewer['difference'], fewer['interval'])} points."
    )
    return [*lines, "", footnote]


def _shown_heads(arms: dict[str, Any]) -> list[str]:
    """Every scale's head and every arm's last one, fusions at the end."""
    heads = {head for arm in arms.values() for head in arm["exact_match"] if head != "backbone"}
    last_heads = {_last_head(arm) for arm in arms.values()}
    shown = [head for head in heads if head.startswith("scale") or head in last_heads]
    return sorted(shown, key=lambda head: (head.startswith("fusion"), head))


def _head_scores(exact_match: dict[str, float], heads: list[str]) -> Lines:
    """The cells of some heads, empty for those that an arm does not have."""
    return [f"{exact_match[head]:.3f}" if head in exact_match else "" for head in heads]


def _last_head(arm: dict[str, Any]) -> str:
    """The head that an arm is compared by."""
    heads: list[str] = [head for head in arm["exact_match"] if head != "backbone"]
    return heads[-1]


def _box(key: str) -> str:
    """The box that a figure such as `box2_side_mean` belongs to."""
    return key.split("_")[0]


def _by_seed(values: list[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)


def _comparison(pair: dict[str, Any] | None, corrected: Corrected) -> Lines:
    """The cells of an arm's comparison: against, difference, both p; empty where it has none."""
    if pair is None:
        return ["", "", "", ""]
    difference = format_points(pair["difference"], pair["interval"])
    if len(pair["by_seed"]) == 1:
        difference += _ONE_SEED
    p_values = [format_p_value(pair["p"]), format_p_value(corrected[id(pair)])]
    return [pair["against"], difference, *p_values]


def _corrected(pairs: list[dict[str, Any]]) -> Corrected:
    """The p-values of all comparisons of a section, corrected for their number."""
    p_values = holm([pair["p"] for pair in pairs])
    return {id(pair): p for pair, p in zip(pairs, p_values, strict=True)}


def _number_of_comparisons(corrected: Corrected) -> str:
    """How many comparisons there are, and how many are significant when that is corrected for."""
    significant = sum(p < _SIGNIFICANCE for p in corrected.values())
    count = len(corrected)
    comparisons = "1 comparison" if count == 1 else f"{count} comparisons"
    return f"{comparisons}, {significant} significant after Holm's correction"


def _box_shapes(boxes: dict[str, float]) -> str:
    """Mean side and spread of the centres, of each box."""
    names = sorted({_box(key) for key in boxes})
    shapes = [
        f"{boxes[f'{name}_side_mean']:.2f}, {boxes[f'{name}_centre_spread']:.3f}" for name in names
    ]
    return "; ".join(shapes)


def _lesion_column(box: str) -> str:
    scale = box.replace("box", "scale")
    return f"of `{scale}` on a lesion, with one inside, % (chance)"


def _lesion_shares(lesions: dict[str, float], box: str) -> str:
    """How many boxes have their centre on a lesion, and how many hold one, with chance, in %."""
    shares = [100 * lesions[f"{box}_{kind}"] for kind in _LESION_SHARES]
    return "{:.0f} ({:.0f}), {:.0f} ({:.0f})".format(*shares)


def _experiment_footnote(result: Result, corrected: Corrected) -> str:
    part = f"decisions fitted on `inner-validation`, of {result['photographs']} photographs"
    if _is_of_leaves(result):
        part = f"decisions fitted on 200 others, of {result['photographs']} rendered leaves"
    return (
        f"Exact match, {part} that nothing was trained on; "
        f"a difference is of the seeds that both have. {_INTERVALS}. "
        f"{_number_of_comparisons(corrected)}. `{command_of(result)}`"
    )


def _both_parts(comparison: dict[str, Any], corrected: Corrected) -> Lines:
    """The last fusions on `inner-test` and `inner-validation` together."""
    lines = heading(
        ("arm", "exact match by seed", "against", "difference in points (95 %)", "p", "p, Holm")
    )

    for pair in comparison["pairs"]:
        by_seed = _by_seed(comparison["exact_match_by_seed"][pair["arm"]])
        lines.append(row([pair["arm"], by_seed, *_comparison(pair, corrected)]))

    footnote = (
        f"The last fusion on the {comparison['photographs']} photographs of `inner-test` and "
        "`inner-validation` together, in the latter with fusions and decisions out of fold. The "
        "comparisons of both tables are corrected together."
    )
    return ["", *lines, "", footnote]


def _early_exit_footnote(result: Result) -> str:
    time = result["time"]
    lowest, *_, highest = time["ratios"]

    # One look comes first, all looks second.
    all_looks = list(result["exact_match"].values())[1]

    return (
        f"`{command_of(result)}`, {result['photographs']} photographs of `inner-validation`, "
        f"out of fold; all looks, always: {all_looks:.3f}. The threshold that is fitted by the "
        f"exact bound today: {result['refitted_threshold']}. "
        f"Time from {time['photographs']} of these files to diagnoses: "
        f"{time['ratio']:.2f} of that of all looks "
        f"({lowest:.2f} to {highest:.2f} in {len(time['ratios'])} rounds); "
        f"{time['one_look']:.0%} stop after one look, "
        f"{time['same_labels']:.1%} get the same labels."
    )


def _is_of_leaves(result: Result) -> bool:
    """Whether an experiment is on rendered leaves instead of photographs."""
    return result.get("data") == "leaves"
