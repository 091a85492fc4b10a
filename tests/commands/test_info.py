"""`leafzoom info`: what a model is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from conftest import run_command
from leafzoom.model_file.checkpoint import load_checkpoint, save_checkpoint


def test_info_shows_labels_heads_recipe_and_licence(trained: Path) -> None:
    result = run_command("info", trained)

    assert result.exit_code == 0
    for part in ("ring_spot", "fusion123", "Apache-2.0", '"seed": 0', "inner-validation scale1"):
        assert part in result.stdout


def test_info_shows_the_early_exits_confidence(early_exit_run: Path) -> None:
    result = run_command("info", early_exit_run)

    assert "the first look alone answers from a confidence of 0.50" in result.stdout


def test_info_shows_the_verdicts_by_kind_of_picture(trained: Path, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(trained / "model.safetensors")
    shares = {"pictures": 40, "not_a_leaf": 0.9, "unsure": 0.075, "diagnosed": 0.025}
    metrics = {**checkpoint.manifest.metrics, "pictures": {"rooms": shares}}
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, checkpoint.tensors, replace(checkpoint.manifest, metrics=metrics))

    result = run_command("info", path)

    assert "pictures, rooms (40): 2.5% diagnosed, 7.5% unsure, 90.0% not a leaf" in result.stdout
