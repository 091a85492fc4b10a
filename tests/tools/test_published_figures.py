"""Every published figure is of the model and of the version that ship, or it is history."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leafzoom.inference.export import export_onnx
from leafzoom.model_file.bundled import bundled_model
from leafzoom.model_file.checkpoint import load_checkpoint, save_checkpoint
from tools.model_digest import ModelDigest, model_digest
from tools.provenance import ROOT

OF_THE_MODEL = {
    "shipped": "network",
    "coverage": "network",
    "experiments/averages": "network",
    "experiments/closer": "network",
    "experiments/complex-label": "network",
    "experiments/cost-accuracy": "network",
    "experiments/early-exit": "answers",
    "experiments/label-noise": "network",
    "experiments/orchard-coverage": "answers",
    "experiments/review-ranking": "network",
    "variants": "file",
    "load": "file",
    "verdicts": "answers",
    "outliers": "answers",
    "drift": "answers",
    "devices": "answers",
    "web-agreement": "answers",
    "browsers": "answers",
    "web-speed": "answers",
}
"""Results of the model that ships, and which of its digests they depend on."""

OF_THE_CODE = ("demo", "load", "reliability", "review-exports")
"""Results of the code: measured again before each release."""

HISTORY = (
    "coverage-predecessor",
    "first",
    "predecessor",
    "predecessor-run",
)
"""Results of earlier models."""


def read_result(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "results" / f"{name}.json").read_text())
    return content


@pytest.fixture(scope="module")
def present() -> ModelDigest:
    return model_digest(bundled_model())


def test_every_result_is_of_the_model_or_of_the_code_or_history() -> None:
    names = {path.stem for path in (ROOT / "results").glob("*.json")}
    named = {*OF_THE_MODEL, *OF_THE_CODE, *HISTORY, "benchmarks"}
    assert names == {name for name in named if "/" not in name}


@pytest.mark.parametrize("name", OF_THE_MODEL)
def test_results_of_the_model_are_of_the_one_that_ships(name: str, present: ModelDigest) -> None:
    key = OF_THE_MODEL[name]
    digest = read_result(name)["model_digest"][key]
    assert digest == present[key], f"results/{name}.json is of another model: measure it again"


@pytest.fixture(scope="module")
def valid_versions() -> set[str]:
    """This version and, until it is released, the release before it."""
    version = metadata.version("leafzoom")
    if not version.endswith(".dev0"):
        return {version}
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## (\d+\.\d+\.\d+)$", changelog, re.MULTILINE)
    return {version, released[0]}


@pytest.mark.parametrize("name", OF_THE_CODE)
def test_results_of_the_code_are_no_older_than_the_last_release(
    name: str, valid_versions: set[str]
) -> None:
    version = read_result(name)["leafzoom"]
    assert version in valid_versions, f"measure results/{name}.json again"


def test_benchmarks_are_no_older_than_the_last_release(valid_versions: set[str]) -> None:
    for name, part in read_result("benchmarks")["parts"].items():
        assert part["leafzoom"] in valid_versions, f"measure the benchmark {name!r} again"


def test_a_digest_changes_with_what_it_is_of(trained: Path, tmp_path: Path) -> None:
    """A weight, a threshold, a detector, or the file alone."""
    checkpoint = load_checkpoint(trained / "model.safetensors")
    tensors = {**checkpoint.tensors, "outliers.weight": torch.zeros(3)}

    def digest_of(**changes: Any) -> ModelDigest:
        path = tmp_path / "changed.safetensors"
        save_checkpoint(path, tensors, changes.get("manifest", checkpoint.manifest))
        return model_digest(path)

    digest = digest_of()
    name = next(name for name in tensors if name.startswith("scale1"))
    tensors[name] = tensors[name] + 1
    other_weight = digest_of()
    assert other_weight["network"] != digest["network"]
    assert other_weight["answers"] != digest["answers"]

    tensors[name] = checkpoint.tensors[name]
    tensors["outliers.weight"] = torch.ones(3)
    other_detector = digest_of()
    assert other_detector["network"] == digest["network"]
    assert other_detector["answers"] != digest["answers"]

    manifest = checkpoint.manifest
    tensors["outliers.weight"] = torch.zeros(3)
    other_head = digest_of(manifest=replace(manifest, head=next(iter(manifest.decisions))))
    assert other_head["network"] != digest["network"]

    other_name = digest_of(manifest=replace(manifest, name="other"))
    assert other_name["answers"] == digest["answers"]
    assert other_name["file"] != digest["file"]


def test_another_export_of_a_model_keeps_what_its_answers_come_from(
    trained: Path, tmp_path: Path
) -> None:
    before = model_digest(trained / "model.onnx")
    checkpoint = load_checkpoint(trained / "model.onnx")
    larger = replace(checkpoint.manifest, max_source_size=640)
    sources = np.zeros((2, larger.source_size, larger.source_size, 3), np.uint8)
    export_onnx(replace(checkpoint, manifest=larger), tmp_path / "m.onnx", sources)

    after = model_digest(tmp_path / "m.onnx")
    assert after["answers"] == before["answers"]
    assert after["file"] != before["file"]
