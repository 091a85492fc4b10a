"""A user's thresholds in place of the fitted ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from leafzoom.errors import UsageError
from leafzoom.labels import Decision
from leafzoom.model_file.manifest import Manifest

__all__ = ["with_thresholds"]


def with_thresholds(manifest: Manifest, thresholds: Mapping[str, float]) -> dict[str, Decision]:
    """Every head's decision, with some thresholds replaced.

    Raises:
        UsageError: a label that the model does not know, a threshold outside 0..1, or a model of
            one class a photo.
    """
    if not thresholds:
        return manifest.decisions
    if manifest.labels.single_label:
        raise UsageError(
            f"the model {manifest.name} answers with the most probable class, which no threshold "
            "changes: leave the thresholds out"
        )

    # A misspelt label would otherwise change nothing, without a word.
    labels = manifest.labels.names
    for label, threshold in thresholds.items():
        if label not in labels:
            raise UsageError(
                f"no label {label!r} to set a threshold for: the model has {', '.join(labels)}"
            )
        if not 0 < threshold < 1:
            raise UsageError(
                f"the threshold of {label} has to lie between 0 and 1, not at {threshold:g}"
            )

    # Labels that are not named keep their fitted thresholds.
    decisions = {}
    for head, decision in manifest.decisions.items():
        fitted = dict(zip(labels, decision.thresholds, strict=True))
        replaced = tuple(thresholds.get(label, fitted[label]) for label in labels)
        decisions[head] = replace(decision, thresholds=replaced)
    return decisions
