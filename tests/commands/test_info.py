"""`leafzoom info`: what a model is."""

from __future__ import annotations

from pathlib import Path

from conftest import run_command


def test_info_shows_labels_heads_recipe_and_licence(trained: Path) -> None:
    result = run_command("info", trained)

    assert result.exit_code == 0
    for part in ("ring_spot", "fusion123", "Apache-2.0", '"seed": 0', "inner-select scale1"):
        assert part in result.stdout


def test_info_shows_the_early_exits_confidence(early_exit_run: Path) -> None:
    result = run_command("info", early_exit_run)

    assert "the first look alone answers from a confidence of 0.50" in result.stdout
