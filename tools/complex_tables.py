"""Tables of the errors of `complex`: by head, by way to decide, and what they are."""

from __future__ import annotations

from typing import Any

from tools.markdown import Lines, Result, command_of, format_points, heading, row

__all__ = ["averages", "complex_confusions", "complex_decisions", "complex_folds", "complex_heads"]

_SCORES = ("exact_match", "micro_f1", "macro_f1", "label_f1")
_LEAST_PHOTOGRAPHS = 3  # of a confusion that the table shows


def complex_heads(result: Result) -> Lines:
    """The scores of every head, decided as `predict` does."""
    names = {name: _head_title(name) for name in result["heads"]}
    return [
        *_score_table("head", result, result["heads"], names),
        "",
        _footnote(result),
    ]


def complex_decisions(result: Result) -> Lines:
    """The scores of the last fusion under other decisions."""
    names = {name: name for name in result["decisions"]}
    return _score_table("decision", result, result["decisions"], names)


def complex_confusions(result: Result) -> Lines:
    """Wrong answers in which the label is missing or too many."""
    lines = heading(("given", "answered", "photographs"))
    rest = 0
    for entry in result["confusions"]:
        if entry["photographs"] < _LEAST_PHOTOGRAPHS:
            rest += entry["photographs"]
            continue
        cells = [entry["given"], entry["answered"], str(entry["photographs"])]
        lines.append(row(cell.replace("_", " ") for cell in cells))
    return [*lines, row(["others", "", str(rest)])]


def complex_folds(result: Result) -> Lines:
    """The scores of all ways to decide over all folds, with one label's F1 in each fold."""
    label = result["label"]
    lines = heading(
        (
            "decision",
            "exact match",
            "micro F1",
            "macro F1",
            f"F1 of `{label}`",
            "fold by fold",
            "exact match against the first row",
            f"F1 of `{label}` against the first row",
        )
    )
    for name, scores in result["decisions"].items():
        cells = [name]
        cells += [f"{scores[score]['value']:.3f}" for score in _SCORES]
        by_fold = scores["label_f1"]["by_fold"]
        cells.append(f"{min(by_fold):.3f} to {max(by_fold):.3f}")
        is_first = name == next(iter(result["decisions"]))
        cells += ["", ""] if is_first else _differences(scores)
        lines.append(row(cells))
    footnote = (
        f"`{command_of(result)}`, {result['photographs']} photographs, each answered by a network "
        f"that was trained on other folds; {result['with_the_label']} of them with `{label}`. "
        "Differences in points (95 %, photographs drawn again). A plain EfficientNet-Lite0 at "
        "128 px, one training a fold."
    )
    return [*lines, "", footnote]


def averages(result: Result) -> Lines:
    """The scores of networks and of averages of their logits."""
    names = {name: name for name in result["averages"]}
    footnote = (
        f"`{command_of(result)}`, {result['photographs']} photographs of `inner-validation`. The "
        "plain networks of 224 px look at each photograph and its mirror image. Fusions and "
        "decisions out of fold; differences in points (95 %)."
    )
    return [*_score_table("network", result, result["averages"], names), "", footnote]


def _score_table(
    title: str, result: Result, entries: dict[str, Any], names: dict[str, str]
) -> Lines:
    label = result["label"]
    lines = heading(
        (
            title,
            "exact match",
            "micro F1",
            "macro F1",
            f"F1 of `{label}`",
            "exact match against the shipped",
            f"F1 of `{label}` against the shipped",
        )
    )
    for name, scores in entries.items():
        cells = [names[name]]
        cells += [f"{scores[score]['value']:.3f}" for score in _SCORES]
        lines.append(row([*cells, *_differences(scores)]))
    return lines


def _differences(scores: dict[str, Any]) -> list[str]:
    """Of exact match and of the label's F1, in points with intervals."""
    return [
        format_points(scores[score]["difference"], scores[score]["interval"], 1)
        for score in ("exact_match", "label_f1")
    ]


def _head_title(name: str) -> str:
    """`scale1, plain` as people read it."""
    head, _, kind = name.partition(", ")
    return f"`{head}`" if kind == "plain" else f"`{head}`, mean over mirror images"


def _footnote(result: Result) -> str:
    return (
        f"`{command_of(result)}`, {result['photographs']} photographs of `inner-validation`, "
        f"{result['with_the_label']} of them with `{result['label']}`. Differences in points "
        "(95 %) to the shipped model's answers, which are those of "
        f"{_head_title(result['shipped'])}. Fusions and decisions out of fold."
    )
