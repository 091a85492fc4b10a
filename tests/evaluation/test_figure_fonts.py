"""Labels of any script in matplotlib's figures."""

from __future__ import annotations

import warnings

from matplotlib.figure import Figure

from leafzoom.evaluation.figure_fonts import use_installed_fonts
from leafzoom.fonts import text_runs

LABELS = ["苹果", "جرب التفاح", "सेब", "Парша", "rust"]


def test_no_glyph_is_missing_in_titles_and_ticks() -> None:
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots()
    axes.barh(range(len(LABELS)), range(len(LABELS)))
    axes.set_yticks(range(len(LABELS)), labels=LABELS)
    axes.set_title(LABELS[0])

    use_installed_fonts(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()

    shown = ["".join(run.text for run in text_runs(label)) for label in LABELS]
    assert [label.get_text() for label in axes.get_yticklabels()] == shown
    assert axes.get_title() == shown[0]
