"""A model file gets what `--coverage`, `--group-by` and `drift` need, and keeps everything else."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from leafzoom.inference.network import OnnxNetwork
from leafzoom.model_file.onnx_writer import write_manifest
from tools import refit

PHOTOGRAPHS = 6  # of the tiny run's validation part


@pytest.fixture
def older(trained: Path, tmp_path: Path) -> Path:
    """The tiny run's model file as an older leafzoom wrote it."""
    path = tmp_path / "older.onnx"
    shutil.copyfile(trained / "model.onnx", path)
    manifest = OnnxNetwork(path).manifest
    write_manifest(path, replace(manifest, conformal=None, reference=None, confusion=None))
    return path


def run_refit(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["refit", *(str(argument) for argument in arguments)])
    refit.main()


@pytest.mark.parametrize("with_run", [True, False])
def test_a_file_is_fitted_as_its_training_did(
    monkeypatch: pytest.MonkeyPatch, older: Path, trained: Path, leaves: Path, with_run: bool
) -> None:
    """From the run's logits, or from a cross-validation of the file's own weights."""
    run = ("--run", trained) if with_run else ()
    run_refit(monkeypatch, older, leaves, *run)

    fitted = OnnxNetwork(older).manifest
    expected = OnnxNetwork(trained / "model.onnx").manifest
    assert fitted.conformal is not None
    assert expected.conformal is not None
    assert fitted.conformal.photographs == expected.conformal.photographs == PHOTOGRAPHS
    np.testing.assert_allclose(
        fitted.conformal.probabilities, expected.conformal.probabilities, rtol=5e-3
    )
    assert fitted.reference is not None
    assert expected.reference is not None
    np.testing.assert_allclose(
        fitted.reference.confidence_edges, expected.reference.confidence_edges, atol=2e-3
    )

    assert fitted.confusion == expected.confusion
    assert fitted.confusion is not None
    assert fitted.confusion.photographs == PHOTOGRAPHS

    # Nothing else has changed.
    without = {"conformal": None, "reference": None, "confusion": None}
    assert replace(fitted, **without) == replace(expected, **without)


def test_another_file_may_be_written_and_weights_keep_every_bit(
    monkeypatch: pytest.MonkeyPatch, older: Path, trained: Path, leaves: Path
) -> None:
    before = older.read_bytes()
    out = older.with_name("new.onnx")

    for _ in range(2):
        run_refit(monkeypatch, older, leaves, "--run", trained, "--out", out)

    assert older.read_bytes() == before
    assert OnnxNetwork(out).manifest.reference is not None
    graphs = [onnx.load(path).graph.SerializeToString() for path in (older, out)]
    assert graphs[0] == graphs[1]
