"""Labels that are read as written, and are probably not what was meant."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from leafzoom.dataset.columns import column_list

__all__ = ["label_warnings"]

_NO_VALUE = frozenset({"nan", "none", "null", "na", "n/a", "#n/a", "<na>"})
_MAX_EXAMPLES = 3


def label_warnings(
    label_sets: Sequence[Sequence[str]], *, are_split_cells: bool = True
) -> list[str]:
    """What looks wrong in the labels of a table, a line each, then the labels as they will be.

    Args:
        label_sets: the labels of each photograph, in the order of its cell.
        are_split_cells: whether labels are the words of a cell, so that a name with spaces is
            several; not so where each has a column or a folder.

    >>> for line in label_warnings([["Scab"], ["scab"]]):
    ...     print(line)
    'Scab' and 'scab' differ by case alone and are labels of their own: write them alike
    as written, the labels are Scab, scab
    """
    counts = Counter(label for labels in label_sets for label in labels)
    warnings = [*_alike(counts), *_no_values(counts)]
    if are_split_cells:
        warnings += _phrases(label_sets, counts)
    if not warnings:
        return []
    return [*warnings, f"as written, the labels are {column_list(sorted(counts))}"]


def _alike(counts: Counter[str]) -> list[str]:
    """Labels that differ by case, or by hyphens and underscores, alone."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts):
        groups[re.sub(r"[\s_-]+", "_", label.casefold())].append(label)

    warnings = []
    for labels in groups.values():
        if len(labels) > 1:
            is_case = len({label.casefold() for label in labels}) == 1
            difference = "case" if is_case else "case, hyphens and underscores"
            warnings.append(
                f"{' and '.join(map(repr, labels))} differ by {difference} alone and are labels "
                "of their own: write them alike"
            )
    return warnings


def _no_values(counts: Counter[str]) -> list[str]:
    """Labels that programs write for an empty cell."""
    return [
        f"{label!r} is read as a label, of {count} photograph{'' if count == 1 else 's'}: leave "
        "the cell empty where a photograph has no label"
        for label, count in sorted(counts.items())
        if label.casefold() in _NO_VALUE
    ]


def _phrases(label_sets: Sequence[Sequence[str]], counts: Counter[str]) -> list[str]:
    """Words that never stand alone in a cell, as those of a name with spaces."""
    alone = {labels[0] for labels in label_sets if len(labels) == 1}
    never_alone = sorted(set(counts) - alone)

    # Of a pair of labels one at least is never alone where the pair is a name.
    phrases = Counter(
        " ".join(labels)
        for labels in label_sets
        if len(labels) > 1 and not alone.issuperset(labels)
    )
    if not phrases:
        return []

    shown = ", ".join(repr(phrase) for phrase, _ in phrases.most_common(_MAX_EXAMPLES))
    return [
        f"{column_list(never_alone)}: never a photograph's only label, as words of a name are "
        f"({shown}): if a name has spaces, join its words: cedar_apple_rust"
    ]
