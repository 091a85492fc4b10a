"""`leafzoom export`: what it refuses, and what it writes in eight-bit integers."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import failure_line, run_command
from leafzoom.inference.network import OnnxNetwork


def test_photographs_that_cannot_be_read_are_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "train.csv").write_text("image,labels\na.jpg,healthy\n")
    out = tmp_path / "m.onnx"

    line = failure_line(run_command("export", trained, "--data", tmp_path, "--out", out), 1)

    assert "row 2: 'a.jpg' is text, not a photo" in line
    assert not out.exists()


def test_int8_needs_photographs(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"

    line = failure_line(run_command("export", trained, "--int8", "--out", out), 2)

    assert "--int8 needs --data" in line
    assert not out.exists()


def test_int8_writes_a_smaller_model_and_says_how_alike_it_is(
    trained: Path, leaves: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small.onnx"

    result = run_command("export", trained, "--int8", "--data", leaves, "--out", out)

    assert result.exit_code == 0, result.output
    assert "in eight-bit integers" in result.output
    assert re.search(r"on 60 photographs [\d.]+% get the same labels", result.output)
    assert "model.onnx" not in result.stderr  # the file before the integers is gone
    assert out.stat().st_size < (trained / "model.onnx").stat().st_size
    assert OnnxNetwork(out).manifest == OnnxNetwork(trained / "model.onnx").manifest
