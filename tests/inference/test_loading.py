"""`open_network` opens leafzoom's models, and nothing else: no pickle, no archive, no crash."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from PIL import Image

from conftest import failure_line, run_command
from leafzoom.inference.loading import open_network, zooming_network
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.manifest import METADATA_KEY
from model_file.tampering import refusal


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def test_a_run_opens_as_either_network(trained: Path) -> None:
    assert isinstance(open_network(str(trained)), OnnxNetwork)
    assert isinstance(open_network(str(trained), prefer="torch"), TorchNetwork)


def test_the_network_in_pytorch_is_had_from_either(trained: Path) -> None:
    torch_network = open_network(str(trained), prefer="torch")
    assert isinstance(torch_network, TorchNetwork)
    assert zooming_network(str(trained), torch_network) is torch_network.network

    path = str(trained / "model.onnx")
    network = zooming_network(path, open_network(path))
    assert isinstance(network, FusedNetwork)

    # A run's folder, opened as its exported model, is no file to read weights from.
    assert zooming_network(str(trained), open_network(str(trained))) is None


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.safetensors", "model.pth", "model.pt", "model.zip"]
)
def test_no_pickle_is_unpickled(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    path = tmp_path / name

    torch.save({"weights": Trap(mark)}, path)
    refusal(path)
    path.write_bytes(pickle.dumps(Trap(mark)))
    refusal(path)
    assert not mark.exists()


def test_an_archive_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped", "x")
    refusal(path)
    assert not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.onnx", None, "does not exist"),
        ("text.onnx", b"no model", "is no ONNX model"),
        ("text.safetensors", b"no model", "is no safetensors file or is damaged"),
        ("pickle.pth", b"\x80\x04.", "is no run folder, .onnx or .safetensors file"),
    ],
)
def test_predict_refuses_what_is_no_model(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    line = predict_failure(path)
    assert expected in line
    assert name in line


def test_predict_refuses_foreign_newer_and_cut_models(trained: Path, tmp_path: Path) -> None:
    foreign = onnx.load(trained / "model.onnx")
    foreign.ClearField("metadata_props")
    onnx.save(foreign, tmp_path / "foreign.onnx")
    assert "foreign.onnx was not exported by leafzoom" in predict_failure(tmp_path / "foreign.onnx")

    newer = onnx.load(trained / "model.onnx")
    for entry in newer.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = entry.value.replace('"format_version": 1', '"format_version": 99')
    onnx.save(newer, tmp_path / "newer.onnx")
    expected = "newer.onnx has model format 99 and this leafzoom reads up to 2"
    assert expected in predict_failure(tmp_path / "newer.onnx")

    content = (trained / "model.safetensors").read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(content[: len(content) // 2])
    assert "cut.safetensors" in predict_failure(cut)


def test_an_empty_folder_is_no_run(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has neither model.onnx nor model.safetensors" in predict_failure(empty)

    exported = run_command("export", empty, "--out", tmp_path / "x.onnx")
    assert "is no checkpoint" in failure_line(exported, 1)


def predict_failure(model: Path) -> str:
    """The one line with which `leafzoom predict` refuses a model."""
    photo = model.parent / "photo.png"
    Image.new("RGB", (40, 40)).save(photo)
    return failure_line(run_command("predict", photo, "--model", model), 1)
