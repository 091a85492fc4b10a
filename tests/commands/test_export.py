"""`leafzoom export`: what it refuses."""

from __future__ import annotations

from pathlib import Path

from conftest import failure_line, run_command


def test_photographs_that_cannot_be_read_are_named(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    (tmp_path / "train.csv").write_text("image,labels\na.jpg,healthy\n")
    out = tmp_path / "m.onnx"

    line = failure_line(run_command("export", trained, "--data", tmp_path, "--out", out), 1)

    assert "row 2: 'a.jpg' is text, not a photo" in line
    assert not out.exists()
