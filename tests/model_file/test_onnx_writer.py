"""A model file's half precision and metadata."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from conftest import SET_TINY, run_command
from leafzoom.dataset.cache import Cache
from leafzoom.inference.network import OnnxNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.model_file.onnx_writer import write_manifest

NOTHING_TRAINED = (
    "--set", "fine_tuning.epochs=0",
    "--set", "warm_up.epochs=0",
    "--set", "alternation.rounds=0",
    "--set", "alternation.classifier_epochs=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def half(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's network, exported in half precision."""
    out = tmp_path_factory.mktemp("half") / "half.onnx"
    assert run_command("export", trained, "--out", out, "--half").exit_code == 0
    return out


def test_a_half_precision_model_is_smaller(trained: Path, half: Path) -> None:
    assert half.stat().st_size < 0.7 * (trained / "model.onnx").stat().st_size
    large = [
        initializer
        for initializer in onnx.load(half).graph.initializer
        if np.prod(initializer.dims) >= 256 and initializer.data_type != onnx.TensorProto.INT64
    ]
    assert large
    for initializer in large:
        assert initializer.data_type == onnx.TensorProto.FLOAT16


def test_a_half_precision_model_holds_the_checkpoints_weights(trained: Path, half: Path) -> None:
    expected = load_checkpoint(trained / "model.safetensors").in_half_precision()
    stored = load_checkpoint(half)
    assert stored.manifest == expected.manifest

    names = {name for name in expected.tensors if not name.startswith("backbone.")}
    assert set(stored.tensors) == names
    for name, tensor in stored.tensors.items():
        assert torch.equal(tensor, expected.tensors[name]), name


@pytest.mark.slow
def test_a_training_starts_from_a_half_precision_model(
    half: Path, leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the shipped model, where `--init bundled` starts: every scale and APN, to the bit."""
    monkeypatch.setattr("leafzoom.model_file.paths.bundled_model", lambda: half)
    out = tmp_path / "run"
    result = run_command(
        "train", "--data", leaves, "--recipe", "default", "--out", out, "--init", "bundled",
        *SET_TINY, *NOTHING_TRAINED,
    )  # fmt: skip
    assert result.exit_code == 0, result.output

    stored = load_checkpoint(half).tensors
    started = load_checkpoint(out / "model.safetensors").tensors
    for name, tensor in stored.items():
        if name.startswith(("scale", "apn")):
            assert torch.equal(tensor, started[name]), name
    name = "network.conv_head.weight"
    assert torch.equal(started[f"backbone.{name}"], stored[f"scale1.{name}"])


def test_another_manifest_leaves_the_network_as_it_is(
    trained: Path, cache: Cache, tmp_path: Path
) -> None:
    content = (trained / "model.onnx").read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    before = OnnxNetwork(path)
    renamed = replace(before.manifest, name="another")
    write_manifest(path, renamed)

    _, manifest = read_onnx(path)
    assert manifest == renamed
    assert onnx.load(path).graph == onnx.load_from_string(content).graph

    sources = np.asarray(cache.sources[:2])
    expected = before(sources)
    result = OnnxNetwork(path)(sources)
    for head, probabilities in expected.probabilities.items():
        np.testing.assert_array_equal(result.probabilities[head], probabilities)
