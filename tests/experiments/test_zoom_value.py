"""The answers of a measured run with boxes of every kind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import zoom_value
from leafzoom.dataset.cache import Cache
from leafzoom.evaluation.box_kinds import BOX_KINDS, outputs_by_box_kind
from leafzoom.model.build import network_from_checkpoint
from leafzoom.model_file.checkpoint import load_checkpoint

ROWS = np.array([3, 1, 8])


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, under an arm's name."""
    folder = tmp_path / "arm-0"
    shutil.copytree(trained, folder)
    return folder


@pytest.fixture
def measured(run: Path, cache: Cache) -> Path:
    """The same, measured on three photographs."""
    labels = load_checkpoint(run / "model.safetensors").manifest.labels
    targets = cache.table.targets(labels)[ROWS]
    np.savez_compressed(run / "measured.npz", rows=ROWS, targets=targets)
    return run


def measure(monkeypatch: pytest.MonkeyPatch, data: Path, run: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["zoom_value", str(data), str(run)])
    zoom_value.main()


def test_a_run_that_was_not_measured_is_refused(
    run: Path, leaves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = r"arm-0 is not a measured run: python -m experiments\.run"
    with pytest.raises(SystemExit, match=message):
        measure(monkeypatch, leaves, run)


def test_data_that_the_run_was_not_trained_on_is_refused(
    measured: Path, leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(leaves, other)
    table = other / "train.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")

    message = r"arm-0 was not trained and measured on .*other: name the folder of its data"
    with pytest.raises(SystemExit, match=message):
        measure(monkeypatch, other, measured)
    assert not (measured / "zoom-value.npz").exists()


def test_the_runs_own_photographs_are_answered_with_every_kind_of_box(
    measured: Path, leaves: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(monkeypatch, leaves, measured)

    checkpoint = load_checkpoint(measured / "model.safetensors")
    targets = cache.table.targets(checkpoint.manifest.labels)[ROWS].astype(bool)
    network = network_from_checkpoint(checkpoint)
    outputs = outputs_by_box_kind(network, np.asarray(cache.sources)[ROWS])

    with np.load(measured / "zoom-value.npz") as arrays:
        assert {name.split()[0] for name in arrays.files} == set(BOX_KINDS)
        for name in arrays.files:
            kind, head = name.split()
            expected = (outputs[kind].answers[head] == targets).all(axis=1)
            np.testing.assert_array_equal(arrays[name], expected)
