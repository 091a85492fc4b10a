"""The table of trainings with one class a photograph."""

from __future__ import annotations

from tools.markdown import Lines, Result, command_of, format_interval, heading, row

__all__ = ["single_label"]


def single_label(result: Result) -> Lines:
    """The top-1 accuracy of every head of trainings with one class a photograph, a row an arm."""
    arms = result["arms"]
    heads = list(dict.fromkeys(head for arm in arms.values() for head in arm["heads"]))
    lines = heading(
        (
            "arm",
            "leaves: trained on, validating, judged",
            *(f"`{head}`" for head in heads),
            "macro F1 of the last",
            "minutes of the processor",
        )
    )
    for name, arm in arms.items():
        counts = ", ".join(
            str(arm["photographs"][part]) for part in ("train", "validation", "test")
        )
        scores = [
            f"{arm['heads'][head]['top1']:.3f} ({format_interval(arm['heads'][head]['interval'])})"
            for head in heads
        ]
        macro_f1 = f"{arm['heads'][heads[-1]]['macro_f1']:.3f}"
        minutes = f"{arm['cpu_seconds'] / 60:.1f}"
        lines.append(row([name, counts, *scores, macro_f1, minutes]))

    differences = "; ".join(
        f"{name} {arm['export']['probability']:.0e}" for name, arm in arms.items()
    )
    footnote = (
        f"`{command_of(result)}`, seed {result['seed']}: top-1 accuracy on rendered leaves that no "
        f"choice was based on, in brackets its 95 % interval. Three classes alike: chance is a "
        f"third. An exported model differs from its checkpoint in probability by: {differences}."
    )
    return [*lines, "", footnote]
