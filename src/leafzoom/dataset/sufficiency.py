"""Which labels have too few photographs to be learned, chosen by or judged by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from leafzoom.dataset.split import Split
from leafzoom.dataset.table import Table

__all__ = ["ENOUGH_PHOTOGRAPHS", "split_warnings", "table_warnings"]

ENOUGH_PHOTOGRAPHS = 20
"""Of a label: from here on confidences are calibrated (docs/findings/few-photographs.md)."""

_ENOUGH_TO_JUDGE = 10  # the exact match of fewer is known to 30 points or worse


def table_warnings(table: Table, names: Sequence[str] = ()) -> list[str]:
    """What a table has too few photographs for, a line a label.

    Args:
        table: the photographs.
        names: labels that a training is asked for; those of the table by default.
    """
    counts = _label_counts(table)
    total = len(table)
    labels = tuple(names) or tuple(sorted(counts))

    combinations = {frozenset(row.labels) for row in table.rows}
    if len(combinations) == 1 and total:
        labels_of_all = " ".join(sorted(next(iter(combinations)))) or "no label"
        return [
            f"every photograph has the same labels, {labels_of_all}: nothing can be told apart, "
            "and every answer will be this one; add photographs of something else, healthy leaves "
            "for example"
        ]

    warnings = []
    for label in labels:
        count = counts[label]
        if not count:
            warnings.append(
                f"{label}: no photograph has it, so it can never be the answer: label some, or "
                "leave it out"
            )
        elif count == total:
            warnings.append(
                f"{label}: every photograph has it, so every answer will have it: leave it out, or "
                "add photographs without it"
            )
        elif count == 1:
            warnings.append(
                f"{label}: 1 photograph, which is learned from, so none is left to choose or to "
                "judge by: add some"
            )
        elif count < ENOUGH_PHOTOGRAPHS:
            warnings.append(
                f"{label}: {count} photographs, too few to choose thresholds and confidences by: "
                f"they stay near their priors; {ENOUGH_PHOTOGRAPHS} are better"
            )
    return warnings


def split_warnings(table: Table, split: Split, *, cross_validated: bool = False) -> list[str]:
    """Which labels a split has too few photographs of to validate or to test, a line a part.

    Args:
        table: the photographs of the split.
        split: its parts.
        cross_validated: whether the training and the validation part are used as one.
    """
    labels = sorted(_label_counts(table))
    train = _label_counts(table.take(split.train))
    validation = _label_counts(table.take(split.validation))
    test = _label_counts(table.take(split.test))

    warnings = []
    missing = [label for label in labels if not train[label]]
    if missing and not cross_validated:
        warnings.append(
            f"the training part has no photograph of {_listed(missing)}: it can hardly be the "
            "answer; give a split of your own with --split FILE"
        )
    missing = [label for label in labels if not validation[label]]
    if missing and not cross_validated and split.select_on == "validation":
        warnings.append(
            f"the validation part has no photograph of {_listed(missing)}: nothing is chosen by it"
        )
    few = [f"{test[label]} of {label}" for label in labels if test[label] < _ENOUGH_TO_JUDGE]
    if few and split.test:
        warnings.append(
            f"the test part has {_listed(few)}: with fewer than {_ENOUGH_TO_JUDGE} photographs its "
            "figures for a label say little"
        )
    return warnings


def _label_counts(table: Table) -> Counter[str]:
    """How many photographs have each label."""
    return Counter(label for row in table.rows for label in row.labels)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
