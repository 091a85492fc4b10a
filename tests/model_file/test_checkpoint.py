"""Checkpoints: written and read back, and refused in one line when they do not hold. No pickle."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

import onnx
import pytest
import torch

from conftest import HEADS, TINY
from leafzoom.dataset.cache import Cache
from leafzoom.errors import LeafzoomError, ModelError, RecipeError
from leafzoom.inference.export import export_onnx
from leafzoom.inference.loading import open_network
from leafzoom.inference.torch_network import TorchNetwork
from leafzoom.labels import Decision, LabelSet
from leafzoom.model.build import build_fusions, build_racnn, network_tensors
from leafzoom.model.fusion import FusedNetwork
from leafzoom.model_file.checkpoint import (
    TENSORS_KEY,
    Checkpoint,
    load_checkpoint,
    load_part,
    save_checkpoint,
)
from leafzoom.model_file.manifest import Manifest
from leafzoom.recipe import load_recipe, recipe_to_dict
from model_file.tampering import checkpoint_with_manifest, refusal, with_graph

LABELS = LabelSet(("a", "b", "c"), ((1, 0, 0), (0, 1, 0)))


def manifest(recipe: dict[str, object] | None = None) -> Manifest:
    return Manifest(
        labels=LABELS,
        source_size=96,
        input_size=64,
        scales=3,
        decisions={head: Decision((0.5, 0.5, 0.5)) for head in HEADS[1:]},
        recipe=recipe or {},
    )


def test_a_checkpoint_reads_back(tmp_path: Path) -> None:
    tensors = {
        "scale1.weight": torch.tensor([[0.5, 1 / 3]]).T,
        "apn1.steps": torch.tensor([3]),
        "apn1.bias": torch.tensor(0.25),
    }
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, tensors, manifest())
    loaded = load_checkpoint(path)

    assert loaded.manifest == manifest()
    assert loaded.parts == {"scale1", "apn1"}
    assert set(loaded.part("apn1")) == {"steps", "bias"}
    assert loaded.part("apn2") == {}
    for name, tensor in tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are text")
def test_a_folder_whose_name_is_no_text_holds_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    path = folder / "x.safetensors"
    save_checkpoint(path, {"apn1.bias": torch.ones(2)}, manifest({"file": str(path)}))

    loaded = load_checkpoint(path)

    assert torch.equal(loaded.tensors["apn1.bias"], torch.ones(2))
    assert loaded.manifest.recipe == {"file": str(path)}


def test_the_same_checkpoint_has_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"scale1.weight": torch.arange(4.0), "apn1.bias": torch.ones(1)}
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        save_checkpoint(path, tensors, manifest())
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_half_precision_rounds_floating_point_numbers_alone(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.tensor([1 / 3]), "a.steps": torch.tensor([70_001])}
    rounded = Checkpoint(tensors, manifest(), tmp_path).in_half_precision()
    assert rounded.tensors["a.weight"].dtype == torch.float32
    assert rounded.tensors["a.weight"].item() == pytest.approx(0.33325195)
    assert rounded.tensors["a.steps"].item() == 70_001

    path = tmp_path / "half.safetensors"
    save_checkpoint(path, tensors, manifest(), torch.float16)
    loaded = load_checkpoint(path)
    for name, tensor in rounded.tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)


def test_another_value_or_manifest_does_not_match_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, {"scale1.weight": torch.ones(8)}, manifest())
    content = path.read_bytes()

    replacements = [
        (struct.pack("<f", 1.0), struct.pack("<f", 1.5)),
        (b"unnamed", b"renamed"),
    ]
    for before, after in replacements:
        assert before in content
        path.write_bytes(content.replace(before, after, 1))
        with pytest.raises(ModelError, match=r"x\.safetensors is damaged .*: copy it again"):
            load_checkpoint(path)


def test_a_part_has_to_fit_its_module() -> None:
    module = torch.nn.Linear(2, 3)
    weight = torch.zeros(3, 2)
    bias = torch.ones(3)

    load_part(module, {"weight": weight, "bias": bias}, "x: scale1")
    assert torch.equal(module.bias, bias)

    with pytest.raises(ModelError, match="x: scale1 has no tensor bias: it was made for another"):
        load_part(module, {"weight": weight}, "x: scale1")
    with pytest.raises(ModelError, match="x: scale1 has an unknown tensor gain"):
        load_part(module, {"weight": weight, "bias": bias, "gain": bias}, "x: scale1")
    with pytest.raises(ModelError, match=r"weight has shape \(2, 3\), but .* has \(3, 2\)"):
        load_part(module, {"weight": weight.T, "bias": bias}, "x: scale1")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("huge", struct.pack("<Q", 2**62) + b"{}"),
        ("long", struct.pack("<Q", 90 * 2**20) + b" " * 100),
        ("deep", struct.pack("<Q", 200_000) + b"[" * 200_000),
        ("empty", b""),
    ],
)
def test_an_impossible_header_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(content)
    assert "is no safetensors file or is damaged" in refusal(path)


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
def test_a_recipe_that_does_not_fit_the_weights_is_refused(
    trained: Path, tmp_path: Path, key: str, value: object
) -> None:
    """An address of a hub, above all, is never looked up."""
    path = checkpoint_with_manifest(
        trained, tmp_path / "m.safetensors", lambda c: c["recipe"]["model"].update({key: value})
    )
    with pytest.raises(LeafzoomError) as error:
        TorchNetwork(load_checkpoint(path))
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 700


def test_a_recipe_names_no_hub() -> None:
    with pytest.raises(RecipeError, match="backbone"):
        load_recipe("default", ["model.backbone=hf-hub:somebody/network"])


# The weights of an exported model.


@pytest.mark.parametrize(
    "sources", [{"scale1.x": "nowhere"}, {"scale1.x": [10**12]}, ["x"], {"a": {"b": 1}}]
)
def test_an_export_whose_list_of_weights_does_not_hold_is_refused(
    trained: Path, tmp_path: Path, sources: object
) -> None:
    def change(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == TENSORS_KEY:
                model.metadata_props.remove(entry)
                break
        model.metadata_props.add(key=TENSORS_KEY, value=json.dumps(sources))

    path = with_graph(trained, tmp_path / "m.onnx", change)
    with pytest.raises(ModelError, match="does not hold the weights that it names"):
        load_checkpoint(path)


@pytest.mark.slow
def test_an_export_that_changed_the_weights_starts_no_training(
    cache: Cache, tmp_path: Path
) -> None:
    recipe = load_recipe("default", TINY)
    racnn = build_racnn(recipe, 3)  # with batch norms, which the exporter folds
    network = FusedNetwork(racnn, build_fusions(recipe.fusion, racnn))
    expected = manifest(recipe_to_dict(recipe))
    save_checkpoint(tmp_path / "x.safetensors", network_tensors(network), expected)

    path = tmp_path / "x.onnx"
    export_onnx(load_checkpoint(tmp_path / "x.safetensors"), path, cache.sources[:4])
    assert open_network(str(path)).manifest == expected
    with pytest.raises(ModelError, match=r"x\.onnx holds weights that the export has changed"):
        load_checkpoint(path)

    cut = tmp_path / "cut.onnx"
    cut.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"cut\.onnx is no ONNX model or is damaged"):
        load_checkpoint(cut)
