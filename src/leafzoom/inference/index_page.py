"""The results of many photos as one page: pictures and answers in a sortable table."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template
from urllib.parse import quote

from leafzoom.inference.journal import JournalEntry
from leafzoom.inference.prediction import FailedPhoto, Prediction

__all__ = ["index_page"]

_MIN_PROBABILITY = 0.005  # less is shown as 0 %, so it is left out

# What stands in the diagnosis column where there is none.
_NO_DIAGNOSIS = {"diagnosis": "no label", "unsure": "unsure", "not_a_leaf": "not a leaf"}


def index_page(entries: Iterable[JournalEntry], count: int, model: str) -> str:
    """The page as HTML; besides itself it needs only the pictures next to it.

    Args:
        entries: results with the names of their pictures.
        count: how many photos there are in all; the page may show fewer.
        model: its name.
    """
    rows = [_row(entry) for entry in entries]
    shown = f"the first {len(rows)} of {count}" if len(rows) < count else str(count)

    template = resources.files("leafzoom.inference") / "index_page.html"
    page = Template(template.read_text(encoding="utf-8"))
    return page.substitute(shown=shown, model=escape(model), rows="\n".join(rows))


def _row(entry: JournalEntry) -> str:
    if isinstance(entry.result, FailedPhoto):
        return _failed_row(entry.result)
    return _prediction_row(entry.result, entry.picture)


def _failed_row(failed: FailedPhoto) -> str:
    name = escape(_printable(failed.photo))
    error = escape(_printable(failed.error))
    return (
        f'<tr><td data-key="{name}"><span class="name">{name}</span></td>'
        f'<td data-key="~" class="bad">{error}</td>'
        '<td data-key="-1"></td><td class="wide"></td></tr>'
    )


def _prediction_row(prediction: Prediction, picture: str | None) -> str:
    # Names and labels are escaped: a file's name may hold HTML.
    name = escape(_printable(prediction.photo))
    labels = " + ".join(prediction.labels).replace("_", " ")
    diagnosis = escape(labels or _NO_DIAGNOSIS[prediction.verdict])
    confidence = prediction.confidence

    # All labels that do not round to 0 %, the most probable first.
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    lines = [
        f"{escape(label.replace('_', ' '))} {probability:.0%}"
        for label, probability in ranked
        if probability >= _MIN_PROBABILITY
    ]
    probabilities = "<br>".join(lines)

    # The picture leads to itself in full size.
    image = ""
    if picture:
        url = quote(picture)
        image = f'<a href="{url}"><img loading="lazy" src="{url}" alt="{diagnosis}"></a>'

    return (
        f'<tr><td data-key="{name}">{image}<span class="name">{name}</span></td>'
        f"<td><b>{diagnosis}</b></td>"
        f'<td class="number" data-key="{confidence:.6f}">{confidence:.0%}</td>'
        f'<td class="wide number">{probabilities}</td></tr>'
    )


def _printable(text: str) -> str:
    """A path as text that UTF-8 can write; bytes that are no text become question marks."""
    return text.encode(errors="replace").decode()
