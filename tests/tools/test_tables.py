"""The documents' tables come from the results."""

from __future__ import annotations

import sys

import pytest

from tools import markdown, tables
from tools.provenance import ROOT


@pytest.mark.parametrize("document", tables.DOCUMENTS)
def test_tables_are_up_to_date(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert tables.fill_in(text) == text


def test_an_outdated_table_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "DOCUMENTS", ("README.md",))
    monkeypatch.setattr(tables, "fill_in", lambda text: text + "changed")
    monkeypatch.setattr(sys, "argv", ["tables", "--check"])
    before = (ROOT / "README.md").read_text(encoding="utf-8")
    assert tables.main() == 1
    assert "README.md: tables differ from results/" in capsys.readouterr().err
    assert (ROOT / "README.md").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("experiments/early-exit RUN", "python -m experiments.early_exit RUN"),
        ("benchmarks/run", "python -m benchmarks.run"),
        ("python -m experiments.run DATA", "python -m experiments.run DATA"),
    ],
)
def test_commands_are_shown_as_they_are_called_today(stored: str, shown: str) -> None:
    assert markdown.command_of({"command": stored}) == shown


def test_parts_have_their_present_names() -> None:
    stored = "`inner-report`, 1677 photographs; chosen on inner-select"
    shown = "`inner-test`, 1677 photographs; chosen on inner-validation"
    assert markdown.with_present_part_names(stored) == shown


def test_cells() -> None:
    assert markdown.heading(["", "F1"]) == ["| | F1 |", "|---|---|"]
    assert markdown.row(["rust", "0.9"]) == "| rust | 0.9 |"
    assert markdown.format_points(0.0123, [-0.001, 0.02]) == "+1.23 (-0.10 to +2.00)"
    assert markdown.format_interval([0.1, 0.25], "+") == "+0.100 to +0.250"
    assert markdown.format_p_value(0.0004) == "< 0.001"
    assert markdown.format_p_value(0.04) == "0.040"
