"""Model files that somebody brings: one clear line, no pickle, no other file read, no crash."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from leafzoom.checksum import CHECKSUM_KEY, seal
from leafzoom.errors import LeafzoomError, ModelError, RecipeError
from leafzoom.inference.model_file import open_network
from leafzoom.inference.network import OnnxNetwork
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.manifest import METADATA_KEY
from leafzoom.model.checkpoint import TENSORS_KEY, load_checkpoint
from leafzoom.onnx_file import read_onnx
from leafzoom.recipe import load_recipe

Content = dict[str, Any]


class Fired:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def refused(path: Path) -> str:
    """The one line with which a file is refused, in every way in which it can be opened."""
    with pytest.raises(LeafzoomError) as error:
        open_network(str(path))
    line = str(error.value)
    assert str(path) in line
    assert len(line.splitlines()) == 1
    assert len(line) < 600
    return line


def changed(trained: Path, out: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """The exported model with something else in it; who makes such a file leaves its checksum out."""
    model = onnx.load_model_from_string(unsealed(trained / "model.onnx"))
    change(model)
    out.write_bytes(model.SerializeToString())
    return out


def unsealed(path: Path) -> bytes:
    """An exported model without its checksum."""
    content = path.read_bytes()
    bare = content[: -len(seal(b""))]
    assert content == bare + seal(bare)
    return bare


def with_manifest(trained: Path, out: Path, change: Callable[[Content], object]) -> Path:
    """The exported model with another manifest."""

    def rewrite(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == METADATA_KEY:
                content = json.loads(entry.value)
                change(content)
                entry.value = json.dumps(content)

    return changed(trained, out, rewrite)


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "model.pth", "model.pt", "model.zip"])
def test_no_pickle_is_unpickled(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "mark"
    torch.save({"weights": Fired(mark)}, tmp_path / name)
    refused(tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps(Fired(mark)))
    refused(tmp_path / name)
    assert not mark.exists()


def test_an_archive_is_no_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.onnx", "w") as archive:
        archive.writestr("../../escaped", "x")
    refused(tmp_path / "m.onnx")
    assert not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "/etc/passwd"])
@pytest.mark.parametrize("place", ["initializer", "constant", "function"])
def test_weights_in_other_files_are_refused_before_anything_is_read(
    trained: Path, tmp_path: Path, location: str, place: str
) -> None:
    outside = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value=location)
    (tmp_path / "secret.bin").write_bytes(b"0" * 16)

    def change(model: onnx.ModelProto) -> None:
        constant = onnx.helper.make_node("Constant", [], ["w"], value=outside)
        if place == "initializer":
            model.graph.initializer.append(outside)
        elif place == "constant":
            model.graph.node.insert(0, constant)
        else:
            model.functions.append(onnx.FunctionProto(name="f", domain="d", node=[constant]))

    path = changed(trained, tmp_path / "m.onnx", change)
    says = "has functions of its own" if place == "function" else "keeps weights in other files"
    assert says in refused(path)
    with pytest.raises(ModelError, match=says):
        load_checkpoint(path)


def test_a_tag_that_other_readers_take_for_another(trained: Path, tmp_path: Path) -> None:
    """Ours would skip the graph, and ONNX Runtime read it."""
    model = onnx.load(trained / "model.onnx")
    graph = model.graph.SerializeToString()
    content = model.SerializeToString()
    place = content.index(graph) - 1
    while content[place] != 0x3A:  # the graph's tag, before its length
        place -= 1
    (tmp_path / "m.onnx").write_bytes(content[:place] + b"\xba\x80\x80\x80\x10" + content[place + 1 :])
    assert "impossible number" in refused(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(format_version=2), "reads up to 1"),
        (lambda c: c.update(format_version="new"), "reads up to 1"),
        (lambda c: c["labels"]["names"].append("mildew"), "metadata"),
        (lambda c: c["labels"].update(names=["a", "b"], combinations=[[1, 0]]), "metadata"),
        (lambda c: c["labels"].update(combinations=[[2, 0, 0]]), "metadata"),
        (lambda c: c["labels"].update(names=[["a"], 1, None]), "metadata"),
        (lambda c: c.pop("decisions"), "metadata"),
        (lambda c: c.update(decisions={}), "no decision"),
        (lambda c: c["decisions"].pop("fusion123"), "no decision|export"),
        (lambda c: c["decisions"]["fusion123"].update(temperature=float("nan")), "metadata"),
        (lambda c: c["decisions"]["fusion123"].update(thresholds=["high"] * 3), "metadata"),
        (lambda c: c["decisions"]["fusion123"].update(interactions=[float("inf")] * 99), "metadata"),
        (lambda c: c.update(source_size=10**9), "source_size"),
        (lambda c: c.update(source_size=128), "does not read sources"),
        (lambda c: c.update(scales=10**12), "scales"),
        (lambda c: c.update(scales=2), "export|decision"),
        (lambda c: c.update(recipe="default"), "metadata"),
        (lambda c: c.update(name=["x"]), "metadata"),
    ],
)  # fmt: skip
def test_metadata_that_does_not_hold(
    trained: Path, tmp_path: Path, change: Callable[[Content], object], says: str
) -> None:
    line = refused(with_manifest(trained, tmp_path / "m.onnx", change))
    assert any(part in line for part in says.split("|")), line


def test_metadata_nested_too_deep(trained: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.metadata_props[0].value = "[" * 200_000 + "]" * 200_000

    assert "metadata" in refused(changed(trained, tmp_path / "m.onnx", change))


def test_a_graph_of_other_labels(trained: Path, tmp_path: Path) -> None:
    """Metadata that suits itself, but not the graph."""

    def four(content: Content) -> None:
        content["labels"] = {"names": ["a", "b", "c", "d"], "combinations": [[1, 0, 0, 0]]}
        for decision in content["decisions"].values():
            decision.update(thresholds=[0.5] * 4, interactions=[0.0])

    assert "4 labels" in refused(with_manifest(trained, tmp_path / "m.onnx", four))


def test_every_cut_and_many_flips_end_in_one_line_or_a_model(trained: Path, tmp_path: Path) -> None:
    content = unsealed(trained / "model.onnx")
    path = tmp_path / "m.onnx"
    for percent in range(100):
        path.write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(ModelError):
            read_onnx(path)
    random = np.random.default_rng(0)
    opened = 0
    for _ in range(150):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), 8):
            damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            OnnxNetwork(path)
            opened += 1
        except ModelError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
    assert opened < 150


def test_safetensors_with_an_impossible_header(tmp_path: Path) -> None:
    for name, content in (
        ("huge", struct.pack("<Q", 2**62) + b"{}"),
        ("long", struct.pack("<Q", 90 * 2**20) + b" " * 100),
        ("deep", struct.pack("<Q", 200_000) + b"[" * 200_000),
        ("empty", b""),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        assert "is no safetensors file or is damaged" in refused(path)


def checkpoint_with(trained: Path, out: Path, change: Callable[[Content], object]) -> Path:
    with safe_open(trained / "model.safetensors", framework="pt") as file:
        content = json.loads(file.metadata()[METADATA_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del content[CHECKSUM_KEY]
    change(content)
    save_file(tensors, out, metadata={METADATA_KEY: json.dumps(content)})
    return out


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone", "hf-hub:somebody/network"),
        ("backbone", "local-dir:/tmp"),
        ("backbone", "../network"),
        ("backbone", "no_such_network"),
        ("apn_hidden", 10**9),
        ("input_size", 10**6),
        ("scales", 4),
    ],
)
def test_a_checkpoint_whose_recipe_asks_for_something_else(
    trained: Path, tmp_path: Path, key: str, value: object
) -> None:
    """An address of a hub, above all, is never looked up."""
    path = checkpoint_with(trained, tmp_path / "m.safetensors", lambda c: c["recipe"]["model"].update({key: value}))
    with pytest.raises(LeafzoomError) as error:
        TorchNetwork(load_checkpoint(path))
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 700


def test_a_recipe_names_no_hub() -> None:
    with pytest.raises(RecipeError, match="backbone"):
        load_recipe("default", ["model.backbone=hf-hub:somebody/network"])


def test_an_export_whose_list_of_weights_does_not_hold(trained: Path, tmp_path: Path) -> None:
    for number, tensors in enumerate(({"scale1.x": "nowhere"}, {"scale1.x": [10**12]}, ["x"], {"a": {"b": 1}})):
        path = tmp_path / f"{number}.onnx"

        def change(model: onnx.ModelProto, tensors: object = tensors) -> None:
            for entry in list(model.metadata_props):
                if entry.key == TENSORS_KEY:
                    model.metadata_props.remove(entry)
            model.metadata_props.add(key=TENSORS_KEY, value=json.dumps(tensors))

        changed(trained, path, change)
        with pytest.raises(ModelError, match="does not hold the weights that it names"):
            load_checkpoint(path)


def test_a_model_that_was_only_moved_is_no_other(trained: Path, tmp_path: Path) -> None:
    shutil.copy(trained / "model.onnx", tmp_path / "moved.onnx")
    assert OnnxNetwork(tmp_path / "moved.onnx").manifest == OnnxNetwork(trained / "model.onnx").manifest
