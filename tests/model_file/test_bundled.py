"""The model that ships in the package: there, small, quick to open, and as good as it says."""

from __future__ import annotations

import csv
import json
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from conftest import SET_TINY, failure_line, needs_shared, run_command
from leafzoom.inference.loading import open_network
from leafzoom.labels import decide
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.manifest import Manifest
from leafzoom.photo import read_source

RESULTS = Path(__file__).parents[2] / "results"
HEAD = "fusion123"


def fitted_part(manifest: Manifest) -> str:
    """The part of the metrics that is scored with the decision that `predict` makes."""
    (part,) = (name for name in manifest.metrics if name.endswith("(fitted)"))
    return part


def test_the_shipped_model_is_described(leaves: Path) -> None:
    assert bundled_model().stat().st_size <= 30e6

    manifest = open_network("bundled").manifest
    assert manifest.labels.names == (
        "complex", "frog_eye_leaf_spot", "healthy", "powdery_mildew", "rust", "scab"
    )  # fmt: skip
    assert len(manifest.labels.combinations) == 12
    assert manifest.head == HEAD

    # `info` says what it is, and its figures are those of results/.
    result = run_command("info")
    assert result.exit_code == 0
    part = fitted_part(manifest)
    shown = part.replace("inner-select", "inner-validation")
    descriptions = ("apple-leaves: format 1", "powdery_mildew", f"{shown} {HEAD}", "non-commercial")
    for description in descriptions:
        assert description in result.stdout

    recorded = json.loads((RESULTS / "shipped.json").read_text())
    expected = recorded["metrics"]["heads_fitted"][HEAD]["exact_match"]
    assert manifest.metrics[part][HEAD]["exact_match"] == expected

    # It is what `predict` uses.
    photo = leaves / "train_images" / "leaf-00001.jpg"
    diagnosis = json.loads(run_command("predict", photo, "--format", "json").stdout)[0]
    assert diagnosis["model"] == "apple-leaves"
    assert set(diagnosis["probabilities"]) == set(manifest.labels.names)


def test_the_shipped_model_opens_quickly() -> None:
    """In the processor time of a few predictions: under a second on a quiet machine."""
    network = open_network("bundled")
    side = network.manifest.source_size
    source = np.zeros((1, side, side, 3), np.uint8)
    network(source)

    started = time.process_time()
    open_network("bundled")
    opening = time.process_time() - started

    started = time.process_time()
    for _ in range(3):
        network(source)
    prediction = (time.process_time() - started) / 3
    assert opening < 15 * prediction


@pytest.mark.slow
def test_the_shipped_model_on_real_photographs() -> None:
    """As right as its metadata says, within sampling error, on 200; it was trained on most."""
    data = needs_shared("plant-pathology-2021")
    network = open_network("bundled")
    manifest = network.manifest
    sources, targets = packed_photographs(data, manifest, 200)

    batches = [sources[start : start + 20] for start in range(0, 200, 20)]
    fused = np.concatenate([network(batch).probabilities[HEAD] for batch in batches])
    answers = decide(fused, manifest.decisions[HEAD], manifest.labels)
    exact_match = (answers == targets).all(axis=1).mean()

    three_standard_errors = 0.08
    expected = manifest.metrics[fitted_part(manifest)][HEAD]["exact_match"]
    assert exact_match > expected - three_standard_errors


def packed_photographs(data: Path, manifest: Manifest, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sources and targets of some photographs of the packed data, without unpacking its files."""
    with (data / "train.csv").open(encoding="utf-8") as file:
        labels_of = {row["image"]: row["labels"].split() for row in csv.DictReader(file)}

    sources = []
    targets = []
    with tarfile.open(sorted(data.glob("*.tar"))[0]) as archive:
        for member in archive:
            if not member.name.endswith(".jpg") or len(sources) == count:
                continue
            file = archive.extractfile(member)
            assert file is not None
            sources.append(read_source(file.read(), manifest.source_size).pixels)
            targets.append(manifest.labels.encode(labels_of[Path(member.name).name]))
    return np.stack(sources), np.stack(targets)


def test_an_installation_without_the_model_says_so(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leafzoom.model_file.bundled._FILE_NAME", "gone.onnx")
    photo = leaves / "train_images" / "leaf-00001.jpg"
    out = tmp_path / "run"
    train = ("train", "--data", leaves, "--recipe", "default", "--out", out, "--init", "bundled")

    for command in (("predict", photo), ("info",), (*train, *SET_TINY)):
        assert "is not in this installation" in failure_line(run_command(*command), 1)
