"""Figures within sentences, from results/*.json: `<!-- figure NAME PATH FORMAT -->7.6 %<!-- / -->`.

NAME is a file in results/ without its ending. PATH names the value by the keys that lead to it,
with `/` between them. An element of a list has its index, or the value of one of its keys
(`arm=centre-50`). A space in a key or value is written `_`. FORMAT is

    .3f and the like  as Python formats the number
    .1%               a share in percent
    points, +points   a share, or a difference of shares, in percentage points
    count             a whole number, with commas
    text              as it stands

A list of two numbers is an interval: `0.1 to 1.7`. `tools.tables` writes the figures.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tools.markdown import with_present_part_names
from tools.provenance import ROOT

__all__ = ["FIGURE", "fill_in_figures", "format_figure", "value_at"]

FIGURE = re.compile(r"(<!-- figure (\S+) (\S+) (\S+) -->)(.*?)(<!-- / -->)", re.DOTALL)


def fill_in_figures(document: str) -> str:
    """A document's text with the figures of its sentences made from the results.

    Raises:
        ValueError: a document names a file, a value or a format that there is not.
    """
    return FIGURE.sub(_figure, document)


def value_at(result: Any, path: str) -> Any:
    """The value of a result that a path of keys leads to.

    Raises:
        ValueError: there is none.
    """
    value = result
    for step in path.split("/"):
        items = _items_of(value)
        if step not in items:
            raise ValueError(f"there is no {step!r} of {path!r}; there are {sorted(items)[:20]}")
        value = items[step]
    return value


def format_figure(value: Any, form: str) -> str:
    """A value as a sentence shows it.

    >>> format_figure(0.0763, ".1%")
    '7.6 %'
    >>> format_figure([0.001, 0.0172], "points")
    '0.1 to 1.7'
    >>> format_figure(15091, "count")
    '15,091'

    Raises:
        ValueError: the format is unknown, or not one of such a value.
    """
    if form == "text":
        return with_present_part_names(str(value))
    if isinstance(value, list):
        return " to ".join(format_figure(bound, form) for bound in value)
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")

    if form == "count":
        return f"{value:,.0f}"
    if form in ("points", "+points"):
        sign = "+" if form.startswith("+") else ""
        return f"{100 * value:{sign}.1f}"

    shown = f"{value:{form}}"
    return shown.replace("%", " %")


def _items_of(value: Any) -> dict[str, Any]:
    """What a step of a path can lead to."""
    if isinstance(value, dict):
        return {key.replace(" ", "_"): item for key, item in value.items()}
    if not isinstance(value, list):
        return {}

    items: dict[str, Any] = {}
    for index, item in enumerate(value):
        items[str(index)] = item
        if isinstance(item, dict):
            # The first of several stays.
            names = (f"{key}={shown}".replace(" ", "_") for key, shown in item.items())
            items = {**dict.fromkeys(names, item), **items}
    return items


def _figure(match: re.Match[str]) -> str:
    """A figure with its marks."""
    start, name, path, form, _, end = match.groups()
    file = ROOT / "results" / f"{name}.json"
    if not file.is_file():
        raise ValueError(f"{match[0]}: there is no results/{name}.json")
    try:
        value = value_at(json.loads(file.read_text(encoding="utf-8")), path)
        return f"{start}{format_figure(value, form)}{end}"
    except ValueError as error:
        raise ValueError(f"{match[0]}: {error}") from error
