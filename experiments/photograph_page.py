"""A page of photographs with their labels and what models answer, to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.gallery import data_uri
from leafzoom.storage import write_text

__all__ = ["PhotographItem", "write_photograph_page"]

_WIDTH_PX = 384
_HEIGHT_PX = 256  # the photographs are 3:2, their sources squashed
_STYLE = (
    "body{font:14px sans-serif;margin:16px}"
    "main{display:grid;grid-template-columns:repeat(4,1fr);gap:14px}"
    "figure{margin:0}img{width:100%}b{color:#a33}"
)


@dataclass(frozen=True)
class PhotographItem:
    """A photograph of a page: its row in the cache, its given labels, and what follows them."""

    row: int
    given: str
    lines: tuple[str, ...]


def write_photograph_page(
    path: Path, cache: Cache, title: str, items: Iterable[PhotographItem]
) -> None:
    """Write photographs as HTML, numbered in their order.

    The page holds photographs of the data set, so it does not belong into the repository.

    Args:
        path: of the page.
        cache: of the data set.
        title: of the page.
        items: what it shows.
    """
    figures = []
    for number, item in enumerate(items, start=1):
        source = Image.fromarray(cache.sources[item.row]).resize((_WIDTH_PX, _HEIGHT_PX))
        lines = "<br>".join(escape(line) for line in item.lines)
        figures.append(
            f'<figure><img src="{data_uri(source)}" alt=""><figcaption>{number}. '
            f"{escape(cache.table.image_names[item.row])}<br>given: <b>{escape(item.given)}</b><br>"
            f"{lines}</figcaption></figure>"
        )

    heading = escape(title)
    write_text(
        path,
        f'<!doctype html><meta charset="utf-8"><title>{heading}</title>'
        f"<style>{_STYLE}</style><h1>{heading}</h1><main>{''.join(figures)}</main>\n",
    )
