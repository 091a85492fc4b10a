"""Which file the word MODEL stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from leafzoom.errors import ModelError
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.paths import checkpoint_path, model_path, run_folder


def test_a_run_folder_stands_for_its_model_or_its_checkpoint(trained: Path) -> None:
    assert model_path(str(trained)) == trained / "model.onnx"
    assert model_path(str(trained), prefer="torch") == trained / "model.safetensors"
    assert checkpoint_path(str(trained)) == trained / "model.safetensors"


def test_a_run_folder_with_one_file_stands_for_that(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.safetensors"
    checkpoint.touch()
    assert model_path(str(tmp_path)) == checkpoint


def test_a_folder_without_a_model_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither model\.onnx nor model\.safetensors.*--resume"):
        model_path(str(tmp_path))
    with pytest.raises(ModelError, match="is no checkpoint: name a finished run's folder"):
        checkpoint_path(str(tmp_path))


def test_the_shipped_model_belongs_to_no_run(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    assert model_path("bundled") == checkpoint_path("bundled") == bundled_model()
    assert run_folder("bundled") is None
    assert run_folder("model.onnx") == Path()
