"""Scores by a run's stored logits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leafzoom.inference.network import OnnxNetwork
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.manifest import Manifest
from tools.out_of_fold import read_selection, score_out_of_fold

PHOTOGRAPHS = 60


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    """Of the shipped model, with the head that answers alone: the others take longer to fit."""
    manifest = OnnxNetwork(bundled_model()).manifest
    return replace(manifest, decisions={manifest.head: manifest.decisions[manifest.head]})


@pytest.fixture
def run(manifest: Manifest, tmp_path: Path) -> Path:
    """A run whose heads are right about every photograph, with logits of -3 and 3."""
    labels = manifest.labels
    columns = [f"{head}_{name}" for head in manifest.decisions for name in labels.names]
    lines = [",".join(["image", "labels", *columns])]
    for number in range(PHOTOGRAPHS):
        targets = labels.combinations[number % len(labels.combinations)]
        names = [name for name, target in zip(labels.names, targets, strict=True) if target]
        logits = [str(6.0 * target - 3.0) for target in targets]
        cells = [f"{number}.jpg", " ".join(names), *logits * len(manifest.decisions)]
        lines.append(",".join(cells))

    (tmp_path / "selection.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_a_selection_has_every_heads_logits(run: Path, manifest: Manifest) -> None:
    selection = read_selection(run, manifest)
    assert selection.image_names[:2] == ("0.jpg", "1.jpg")
    assert set(selection.logits) == set(manifest.decisions)
    for logits in selection.logits.values():
        np.testing.assert_array_equal(logits, 6.0 * selection.targets - 3.0)


def test_heads_that_are_always_right_score_1(run: Path, manifest: Manifest) -> None:
    metrics = score_out_of_fold(run, manifest)
    assert metrics["dataset"] == {
        "split": "inner-select",
        "photographs": PHOTOGRAPHS,
        "out_of_fold": 10,
    }
    for scores in (*metrics["heads"].values(), *metrics["heads_fitted"].values()):
        assert scores["exact_match"] == 1.0
    assert metrics["intervals"]["heads_fitted"][manifest.head]["exact_match"] == [1.0, 1.0]
