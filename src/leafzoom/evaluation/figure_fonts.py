"""Labels of any script in matplotlib's figures: the same stack of fonts as in pictures."""

from __future__ import annotations

from pathlib import Path

from matplotlib import font_manager
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from leafzoom.fonts import text_runs

__all__ = ["use_installed_fonts"]

_FAMILY = "DejaVu Sans"


def use_installed_fonts(figure: Figure) -> None:
    """Give every text of a figure that DejaVu Sans cannot show the installed fonts that can.

    A character that no font has is written by its number, as in `leafzoom.fonts`.
    """
    for axes in figure.axes:
        _escape_tick_labels(axes.xaxis)
        _escape_tick_labels(axes.yaxis)

    for text in figure.findobj(Text):
        content = text.get_text()
        if content.isascii():
            continue

        # The text as it can be shown, and the fonts that its parts need.
        runs = text_runs(content)
        families = [_family_of(run.font_file) for run in runs if run.font_file]
        text.set_text(_shown(content))
        text.set_fontfamily([_FAMILY, *dict.fromkeys(families)])


def _escape_tick_labels(axis: Axis) -> None:
    """Write the labels of an axis as they can be shown: it would set their own texts anew."""
    labels = [label.get_text() for label in axis.get_ticklabels()]
    if not all(label.isascii() for label in labels):
        axis.set_ticks(axis.get_ticklocs(), labels=[_shown(label) for label in labels])


def _shown(text: str) -> str:
    return "".join(run.text for run in text_runs(text))


def _family_of(font_file: Path) -> str:
    """The name of a font's family, once matplotlib knows its file."""
    known = {entry.fname: entry.name for entry in font_manager.fontManager.ttflist}
    if str(font_file) not in known:
        font_manager.fontManager.addfont(font_file)
    return next(
        entry.name
        for entry in reversed(font_manager.fontManager.ttflist)
        if entry.fname == str(font_file)
    )
