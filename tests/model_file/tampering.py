"""Model files that somebody has changed, for the tests of what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from leafzoom.errors import LeafzoomError
from leafzoom.inference.loading import open_network
from leafzoom.model_file.checksum import CHECKSUM_KEY, seal
from leafzoom.model_file.manifest import METADATA_KEY

Content = dict[str, Any]
"""A manifest's JSON."""


def refusal(path: Path) -> str:
    """The one line with which `open_network` refuses a file."""
    with pytest.raises(LeafzoomError) as error:
        open_network(str(path))

    line = str(error.value)
    assert str(path) in line
    assert len(line.splitlines()) == 1
    assert len(line) < 600
    return line


def unsealed(path: Path) -> bytes:
    """An exported model's bytes without the checksum."""
    content = path.read_bytes()
    bare = content[: -len(seal(b""))]
    assert content == bare + seal(bare)
    return bare


def with_graph(trained: Path, out: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """Write the exported model of a run with changes, without a checksum that would show them."""
    model = onnx.load_model_from_string(unsealed(trained / "model.onnx"))
    change(model)
    out.write_bytes(model.SerializeToString())
    return out


def with_manifest(trained: Path, out: Path, change: Callable[[Content], object]) -> Path:
    """Write the exported model of a run with another manifest."""

    def rewrite(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == METADATA_KEY:
                content = json.loads(entry.value)
                change(content)
                entry.value = json.dumps(content)

    return with_graph(trained, out, rewrite)


def checkpoint_with_manifest(trained: Path, out: Path, change: Callable[[Content], object]) -> Path:
    """Write the checkpoint of a run with another manifest."""
    with safe_open(trained / "model.safetensors", framework="pt") as file:
        content = json.loads(file.metadata()[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    del content[CHECKSUM_KEY]
    change(content)
    save_file(tensors, out, metadata={METADATA_KEY: json.dumps(content)})
    return out
