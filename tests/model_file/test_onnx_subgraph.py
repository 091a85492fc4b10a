"""A model cut down to some of its outputs."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from leafzoom.model_file.onnx_reader import read_onnx
from leafzoom.model_file.onnx_subgraph import with_outputs

FIRST_LOOK = ["probabilities_scale1", "strangeness_scale1"]


@pytest.fixture(scope="module")
def content(early_exit_run: Path) -> bytes:
    """An exported model with a first look of its own."""
    model, _ = read_onnx(early_exit_run / "model.onnx")
    return model


def test_only_the_nodes_of_the_outputs_stay(content: bytes) -> None:
    whole = onnx.load_from_string(content)

    cut = onnx.load_from_string(with_outputs(content, FIRST_LOOK))

    onnx.checker.check_model(cut)
    assert [output.name for output in cut.graph.output] == FIRST_LOOK
    kept = [node for node in whole.graph.node if any(node == other for other in cut.graph.node)]
    assert kept == list(cut.graph.node)
    assert len(cut.graph.node) < 0.6 * len(whole.graph.node)
    assert cut.metadata_props == whole.metadata_props


def test_only_the_weights_of_these_nodes_stay(content: bytes) -> None:
    whole = onnx.load_from_string(content)
    whole_weights = {tensor.name for tensor in whole.graph.initializer}

    cut = onnx.load_from_string(with_outputs(content, FIRST_LOOK))

    inputs = {name for node in cut.graph.node for name in node.input}
    assert {tensor.name for tensor in cut.graph.initializer} == inputs & whole_weights


def test_all_outputs_keep_all_nodes(content: bytes) -> None:
    whole = onnx.load_from_string(content)
    names = [output.name for output in whole.graph.output]

    assert onnx.load_from_string(with_outputs(content, names)).graph.node == whole.graph.node


def test_what_a_graph_inside_a_node_reads_stays() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["negative", "negative"], ["sum"])],
        "inner",
        [],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1])],
    )
    outer = helper.make_graph(
        [
            helper.make_node("Neg", ["x"], ["negative"]),
            helper.make_node("Abs", ["x"], ["other"]),
            helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner),
        ],
        "outer",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("y", "other")],
    )
    content = helper.make_model(outer).SerializeToString()

    cut = onnx.load_from_string(with_outputs(content, ["y"]))

    assert [node.op_type for node in cut.graph.node] == ["Neg", "If"]
    onnx.checker.check_model(cut)
