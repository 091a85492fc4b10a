"""The paper's tables beside a reproduction's, and the paper's claims."""

from __future__ import annotations

import statistics

from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["paper_claims", "paper_exact_match", "paper_scores"]

_TITLES = {
    "backbone": "Table 1: the plain network",
    "scale1": "Table 2: scale 1",
    "scale2": "Table 3: scale 2",
    "scale3": "Table 4: scale 3",
    "fusion12": "Table 5: scales 1 and 2",
    "fusion123": "Table 6: scales 1, 2 and 3",
}
_SCORES = ("precision", "recall", "F1")


def paper_scores(result: Result) -> Lines:
    """Tables 1 to 6: each score as published and as reproduced."""
    lines: Lines = []
    columns = ["", *(f"{name}, {whose}" for name in _SCORES for whose in ("paper", "here"))]
    for head, title in _TITLES.items():
        lines += [f"**{title}**", "", *heading(columns)]
        published = result["published"][head]
        for name, by_seed in result["tables"][head].items():
            cells = [name.replace("_", " ")]
            for column in range(len(_SCORES)):
                values = [seed[column] for seed in by_seed]
                cells += [f"{published[name][column]:.2f}", _mean_and_spread(values)]
            lines.append(row(cells))
        lines.append("")
    return [*lines, _footnote(result)]


def paper_exact_match(result: Result) -> Lines:
    """The exact match of every training and head; the paper's where it gives one."""
    heads = list(_TITLES)
    lines = heading(["training", *(f"`{head}`" for head in heads)])
    published = result["published"]["exact_match"]
    cells = [f"{published[head]:.3f}" if head in published else "" for head in heads]
    lines.append(row(["the paper", *cells]))
    for name, by_head in result["exact_match"].items():
        cells = [_mean_and_spread(by_head[head]) if head in by_head else "" for head in heads]
        lines.append(row([f"{result['titles'][name]} (`{name}`)", *cells]))
    for entry in result["diverged"]:
        text = f"`{entry['arm']}`, seed {entry['seed']}: diverged in {entry['where']}"
        lines.append(row([text, *[""] * len(heads)]))
    return lines


def paper_claims(result: Result) -> Lines:
    """What the paper says, and whether it holds here."""
    lines = heading(("paper", "sentence", "here", "figures", "holds when"))
    for claim in result["claims"]:
        cells = [claim[key] for key in ("section", "sentence", "verdict", "evidence", "rule")]
        cells[2] = f"**{cells[2]}**"
        lines.append(row(cells))
    return lines


def _mean_and_spread(values: list[float]) -> str:
    """The mean over seeds, and the standard deviation where there are several."""
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def _footnote(result: Result) -> str:
    settings = result["settings"]
    trained = (
        f"{settings['train_limit']} photographs" if settings["train_limit"] else "`inner-train`"
    )
    seeds = "one seed" if result["seeds"] == 1 else f"{result['seeds']} seeds, ± standard deviation"
    return (
        f"`{command_of(result)}`: {settings['backbone']} at {settings['input_size']} px, trained "
        f"on {trained}, {settings['rounds']} rounds; {seeds}. Scored at threshold 0.5 on "
        f"{result['photographs']} photographs of `inner-validation`; the paper's are 1,864 others."
    )
