"""Figures within sentences come from the results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import text_figures
from tools.text_figures import fill_in_figures, format_figure, value_at

RESULT = {"arms": {"one look": {"exact": 0.876}}, "pairs": [{"arm": "b c", "d": [0.001, 0.02]}]}


@pytest.fixture(autouse=True)
def _results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "small.json").write_text(json.dumps(RESULT))
    monkeypatch.setattr(text_figures, "ROOT", tmp_path)


def test_values_by_their_path() -> None:
    assert value_at(RESULT, "arms/one_look/exact") == 0.876
    assert value_at(RESULT, "pairs/0/d/1") == value_at(RESULT, "pairs/arm=b_c/d/1") == 0.02
    with pytest.raises(ValueError, match="there is no 'exakt' of 'arms/one_look/exakt'"):
        value_at(RESULT, "arms/one_look/exakt")


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (0.8764, ".1%", "87.6 %"),
        (0.8764, ".3f", "0.876"),
        (-0.0123, "+points", "-1.2"),
        ([0.001, 0.02], "points", "0.1 to 2.0"),
        (15091, "count", "15,091"),
        ("inner-select", "text", "inner-validation"),
    ],
)
def test_formats(value: object, form: str, shown: str) -> None:
    assert format_figure(value, form) == shown


def test_figures_are_written_between_their_marks() -> None:
    text = "has <!-- figure small arms/one_look/exact .0% -->99 %<!-- / --> right"
    filled = fill_in_figures(text)
    assert filled == text.replace("99 %", "88 %")
    assert fill_in_figures(filled) == filled


@pytest.mark.parametrize(
    "mark",
    ["figure none a .1f", "figure small arms/two .1f", "figure small arms/one_look .1f"],
)
def test_a_figure_that_no_result_has_is_an_error(mark: str) -> None:
    with pytest.raises(ValueError, match=r"there is no|is no number"):
        fill_in_figures(f"<!-- {mark} -->1.0<!-- / -->")
