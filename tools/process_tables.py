"""The table of a training by several processes."""

from __future__ import annotations

from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["two_processes"]


def two_processes(result: Result) -> Lines:
    """Photographs a second of one process with both cores, and of two with one each."""
    lines = heading(("", "photographs a second"))
    lines.append(row(["one process, two threads", f"{result['one_per_s']:.2f}"]))
    lines.append(row(["two processes, a thread each", f"{result['two_per_s']:.2f}"]))

    low, high = result["quartiles"]
    footnote = (
        f"Classifier phase of `{result['recipe']}` at {result['input_size']} px, batches of "
        f"{result['batch_size']}, augmentation included. In the same round two processes did "
        f"{result['ratio']:.2f} times as many (median of {result['rounds']} rounds; quartiles "
        f"{low:.2f} and {high:.2f}). `{command_of(result)}`"
    )
    return [*lines, "", footnote]
