"""An ONNX model from anywhere: one clear line, no other file read, no crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from leafzoom.errors import ModelError
from leafzoom.inference.network import OnnxNetwork
from leafzoom.model_file.checkpoint import load_checkpoint
from leafzoom.model_file.onnx_reader import read_onnx
from model_file.tampering import refusal, unsealed, with_graph


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "/etc/passwd"])
@pytest.mark.parametrize("part", ["initializer", "constant", "function"])
def test_weights_in_other_files_are_refused_before_anything_is_read(
    trained: Path, tmp_path: Path, location: str, part: str
) -> None:
    external = onnx.TensorProto(
        name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL
    )
    external.external_data.add(key="location", value=location)
    (tmp_path / "secret.bin").write_bytes(b"0" * 16)

    def change(model: onnx.ModelProto) -> None:
        constant = onnx.helper.make_node("Constant", [], ["w"], value=external)
        if part == "initializer":
            model.graph.initializer.append(external)
        elif part == "constant":
            model.graph.node.insert(0, constant)
        else:
            model.functions.append(onnx.FunctionProto(name="f", domain="d", node=[constant]))

    path = with_graph(trained, tmp_path / "m.onnx", change)
    expected = "keeps weights in other files"
    if part == "function":
        expected = "has functions of its own"
    assert expected in refusal(path)
    with pytest.raises(ModelError, match=expected):
        load_checkpoint(path)


def test_a_tag_that_other_readers_take_for_another_is_refused(
    trained: Path, tmp_path: Path
) -> None:
    """Our reader would skip the graph, and ONNX Runtime would read it."""
    model = onnx.load(trained / "model.onnx")
    graph = model.graph.SerializeToString()
    content = model.SerializeToString()

    # The graph's tag stands before its length, which stands before the graph.
    position = content.index(graph) - 1
    while content[position] != 0x3A:
        position -= 1

    equivalent_tag = b"\xba\x80\x80\x80\x10"
    path = tmp_path / "m.onnx"
    path.write_bytes(content[:position] + equivalent_tag + content[position + 1 :])
    assert "impossible number" in refusal(path)


@pytest.mark.parametrize("place", ["output", "value_info"])
def test_a_damaged_name_inside_the_graph_is_refused(
    trained: Path, tmp_path: Path, place: str
) -> None:
    """`read_onnx` looks only into tensors; the names are read to cut the graph."""
    content = unsealed(trained / "model.onnx")
    graph = onnx.load_model_from_string(content).graph
    named = getattr(graph, place)[0].SerializeToString()
    unknown_kind_of_field = bytes([named[0] | 0x03])

    path = tmp_path / "m.onnx"
    path.write_bytes(content.replace(named, unknown_kind_of_field + named[1:]))
    assert "is damaged (an unknown kind of field, 3)" in refusal(path)


def test_every_cut_is_refused(trained: Path, tmp_path: Path) -> None:
    content = unsealed(trained / "model.onnx")
    path = tmp_path / "m.onnx"
    for percent in range(100):
        path.write_bytes(content[: len(content) * percent // 100])
        with pytest.raises(ModelError):
            read_onnx(path)


@pytest.mark.slow
def test_flipped_bits_end_in_one_line_or_a_model(trained: Path, tmp_path: Path) -> None:
    content = unsealed(trained / "model.onnx")
    path = tmp_path / "m.onnx"
    random = np.random.default_rng(0)
    attempts = 150

    refusals = []
    for _ in range(attempts):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 8):
            damaged[position] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            OnnxNetwork(path)
        except ModelError as error:
            refusals.append(str(error))

    assert refusals
    assert all(len(line.splitlines()) == 1 for line in refusals)


def test_a_changed_byte_does_not_match_the_checksum(trained: Path, tmp_path: Path) -> None:
    content = bytearray((trained / "model.onnx").read_bytes())
    middle_of_the_weights = len(content) // 2
    content[middle_of_the_weights] ^= 1
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert "m.onnx is damaged" in refusal(path)
