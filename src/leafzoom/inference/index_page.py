"""The diagnoses of many photos as one page: pictures, answers, sortable by label and confidence."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template
from typing import Any
from urllib.parse import quote

__all__ = ["index_page"]

_SHOWN = 0.005  # less is 0 %
_VERDICTS = {"unsure": "unsure", "not_a_leaf": "not a leaf"}


def index_page(results: Iterable[tuple[dict[str, Any], str | None]], count: int, model: str) -> str:
    """The page as HTML that needs nothing but the pictures beside it.

    Args:
        results: what `Prediction.to_dict` or `FailedPhoto.to_dict` gives, and the name of the photo's picture.
        count: how many photos there are in all; the page may hold fewer.
        model: its name.
    """
    rows = [_row(result, picture) for result, picture in results]
    shown = f"the first {len(rows)} of {count}" if len(rows) < count else str(count)
    page = Template((resources.files("leafzoom.inference") / "index_page.html").read_text(encoding="utf-8"))
    return page.substitute(shown=shown, model=escape(model), rows="\n".join(rows))


def _row(result: dict[str, Any], picture: str | None) -> str:
    """One photo."""
    name = escape(_printable(result["photo"]))
    if "error" in result:
        error = escape(_printable(result["error"]))
        return (
            f'<tr><td data-key="{name}"><span class="name">{name}</span></td>'
            f'<td data-key="~" class="bad">{error}</td>'
            '<td data-key="-1"></td><td class="wide"></td></tr>'
        )
    said = escape(" + ".join(result["labels"]).replace("_", " ") or _VERDICTS.get(result["verdict"], "no label"))
    ranked = sorted(result["probabilities"].items(), key=lambda entry: -entry[1])
    each = "<br>".join(f"{escape(label.replace('_', ' '))} {share:.0%}" for label, share in ranked if share >= _SHOWN)
    drawn = (
        f'<a href="{quote(picture)}"><img loading="lazy" src="{quote(picture)}" alt="{said}"></a>' if picture else ""
    )
    sure = result["confidence"]
    return (
        f'<tr><td data-key="{name}">{drawn}<span class="name">{name}</span></td><td><b>{said}</b></td>'
        f'<td class="number" data-key="{sure:.6f}">{sure:.0%}</td><td class="wide number">{each}</td></tr>'
    )


def _printable(text: str) -> str:
    """A path that is no text as something that UTF-8 can write."""
    return str(text).encode(errors="replace").decode()
