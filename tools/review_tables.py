"""Tables of the rankings of a review: flipped labels found, and what a second look changes."""

from __future__ import annotations

from typing import Any

from leafzoom.review.ranking import RANKED_BY
from tools.markdown import Lines, Result, command_of, heading, row

__all__ = ["review_duplicates", "review_flips"]

_SAMPLES = {
    "linear": "linear classifier on the descriptors",
    "own": "the model's classifiers, on photographs that it was not trained on",
}
_RANKINGS = {
    "self_confidence": "cleanlab, self-confidence",
    "normalized_margin": "cleanlab, normalised margin",
    "confidence_weighted_entropy": "cleanlab, confidence-weighted entropy (`leafzoom review`)",
    "self_confidence, combinations": "cleanlab, self-confidence over combinations",
    "combination": "probability of the given combination",
    "loss": "plain loss",
}


def review_flips(result: Result) -> Lines:
    """Flipped labels among the first hundred, by ranking."""
    first = result["first"]
    lines = heading(
        ("probabilities by", "ranking", f"precision of the first {first}", "recall", "right label")
    )
    for sample, title in _SAMPLES.items():
        measured = result[sample]
        flips = measured["flips"]
        suggested = _share(flips["suggestion"]["right_of_flipped"])
        for ranking, name in _RANKINGS.items():
            found = flips[ranking]
            cells = [title, name, _share(found["precision"]), _share(found["recall"]), suggested]
            lines.append(row(cells))
    return [*lines, "", _flips_footnote(result)]


def review_duplicates(result: Result) -> Lines:
    """What a second look would change among the first hundred of the labels as they are."""
    first = result["first"]
    lines = heading(
        (
            "probabilities by",
            "ranking",
            f"of the first {first}, have a near-duplicate",
            "it has other labels",
            "suggested labels are its",
            "conflicting pairs found",
            "of the rest, with other labels",
        )
    )
    for sample, title in _SAMPLES.items():
        measured = result[sample]["as_labelled"]
        for ranking in (RANKED_BY, "loss"):
            found = measured[ranking]
            cells = [
                title,
                _RANKINGS[ranking],
                str(found["with_duplicate"]),
                _changed(found),
                str(found["suggested_as_duplicate"]),
                f"{found['conflicting_pairs_found']} of {found['conflicting_pairs']}",
                f"{found['rest_changed']} of {found['rest_with_duplicate']}",
            ]
            lines.append(row(cells))
    return [*lines, "", _origin(result)]


def _changed(found: dict[str, Any]) -> str:
    """How many a second look would change, with the share's interval."""
    share = found.get("share")
    if share is None:
        return "0"
    low, high = share["interval"]
    return f"{found['changed']} ({100 * low:.0f} to {100 * high:.0f} %)"


def _share(figure: dict[str, Any]) -> str:
    """A mean over seeds in percent, with the least and the greatest."""
    low, high = figure["range"]
    return f"{100 * figure['mean']:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def _flips_footnote(result: Result) -> str:
    counts = [
        f"{result[sample]['flipped']} of {result[sample]['photographs']}" for sample in _SAMPLES
    ]
    return (
        f"In percent, means over {len(result['seeds'])} seeds with the least and the greatest; "
        f"flipped: {' and '.join(counts)}. {_origin(result)}"
    )


def _origin(result: Result) -> str:
    return f"`{command_of(result)}`."
