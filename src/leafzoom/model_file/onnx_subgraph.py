"""The part of an ONNX model that computes some of its outputs.

ONNX Runtime computes a whole graph, whichever outputs are asked for. What is to be computed alone,
such as the first scale, therefore has to be a model of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from leafzoom.model_file.wire import (
    Field,
    bytes_field_header,
    fields,
    messages,
    text_list,
    texts,
)

__all__ = ["linear_input", "output_names", "trace_back", "values_read", "with_outputs"]

# Numbers of onnx.proto's fields.
_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_GRAPH_INITIALIZER = 5
_GRAPH_OUTPUT = 12
_GRAPH_VALUE = 13
_NODE_INPUT = 1
_NODE_OUTPUT = 2
_NODE_OPERATION = 4
_NODE_ATTRIBUTE = 5
_ATTRIBUTE_GRAPHS = (6, 11)
_TENSOR_NAME = 8
_VALUE_NAME = 1

_LINEAR_OPERATIONS = ("Gemm", "MatMul")


def output_names(content: bytes) -> set[str]:
    """The names of a model's outputs.

    Args:
        content: of a model that `read_onnx` has checked.

    Raises:
        ValueError: not protobuf's wire format.
    """
    names: set[str] = set()
    for number, graph in messages(memoryview(content)):
        if number != _MODEL_GRAPH:
            continue
        for field_number, value in messages(graph):
            if field_number == _GRAPH_OUTPUT:
                names |= texts(value, _VALUE_NAME)
    return names


def with_outputs(content: bytes, names: Sequence[str]) -> bytes:
    """The part of a model that computes some of its values, as a model of its own.

    Args:
        content: of a model that `read_onnx` has checked.
        names: of the outputs that stay, and of values inside the graph that become outputs.

    Raises:
        ValueError: not protobuf's wire format. `read_onnx` looks only into tensors and metadata.
    """
    pieces: list[bytes | memoryview] = []
    for field in fields(memoryview(content)):
        if field.number != _MODEL_GRAPH or not isinstance(field.value, memoryview):
            pieces.append(field.content)
            continue

        # The graph gets shorter, and its length stands before it.
        graph_fields = _needed_fields(field.value, names)
        length = sum(len(piece) for piece in graph_fields)
        pieces.append(bytes_field_header(_MODEL_GRAPH, length))
        pieces.extend(graph_fields)
    return b"".join(pieces)


def linear_input(content: bytes, output: str) -> str | None:
    """The name of what the last linear layer before an output reads.

    Between the layer and the output lie only a mean over mirror images, a sigmoid and the like, so
    it is the nearest layer; None if there is none.

    Args:
        content: of a model that `read_onnx` has checked.
        output: of the model.

    Raises:
        ValueError: not protobuf's wire format.
    """
    nodes = _nodes_by_output(content)
    queue = deque([output])
    visited: set[str] = set()
    while queue:
        value = queue.popleft()
        node = nodes.get(value)
        if node is None or value in visited:
            continue

        visited.add(value)
        inputs = text_list(node, _NODE_INPUT)
        if not texts(node, _NODE_OPERATION).isdisjoint(_LINEAR_OPERATIONS):
            return inputs[0]
        queue.extend(inputs)
    return None


def _nodes_by_output(content: bytes) -> dict[str, memoryview]:
    """The graph's nodes by the names of the values that they compute."""
    nodes: dict[str, memoryview] = {}
    for number, graph in messages(memoryview(content)):
        if number != _MODEL_GRAPH:
            continue
        for field_number, node in messages(graph):
            if field_number == _GRAPH_NODE:
                nodes |= dict.fromkeys(texts(node, _NODE_OUTPUT), node)
    return nodes


def _needed_fields(graph: memoryview, outputs: Sequence[str]) -> list[bytes | memoryview]:
    """The bytes of a graph's fields that these outputs need."""
    graph_fields = [field for field in fields(graph) if isinstance(field.value, memoryview)]
    needed_nodes, needed_values = trace_back(graph_fields, set(outputs))
    present: set[str] = set()

    # Kinds of fields that are not named here, such as the inputs, all stay.
    kept: list[bytes | memoryview] = []
    for position, field in enumerate(graph_fields):
        assert isinstance(field.value, memoryview)
        if field.number == _GRAPH_NODE:
            keep = position in needed_nodes
        elif field.number == _GRAPH_OUTPUT:
            names = texts(field.value, _VALUE_NAME)
            keep = not names.isdisjoint(outputs)
            present |= names
        elif field.number == _GRAPH_VALUE:
            keep = not needed_values.isdisjoint(texts(field.value, _VALUE_NAME))
        elif field.number == _GRAPH_INITIALIZER:
            keep = not needed_values.isdisjoint(texts(field.value, _TENSOR_NAME))
        else:
            keep = True
        if keep:
            kept.append(field.content)

    # ONNX Runtime finds the type and the shape of an output that has only a name.
    for name in outputs:
        if name not in present:
            text = name.encode("utf-8", "surrogateescape")
            entry = bytes_field_header(_VALUE_NAME, len(text)) + text
            kept.append(bytes_field_header(_GRAPH_OUTPUT, len(entry)) + entry)
    return kept


def trace_back(graph_fields: Sequence[Field], outputs: set[str]) -> tuple[set[int], set[str]]:
    """The positions of the nodes that some outputs need, and the names of all values in between.

    Nodes are in the order of computation, so one pass from the last to the first finds all.
    """
    needed_nodes = set()
    needed_values = set(outputs)
    for position, field in reversed(list(enumerate(graph_fields))):
        if field.number != _GRAPH_NODE:
            continue

        assert isinstance(field.value, memoryview)
        if not needed_values.isdisjoint(texts(field.value, _NODE_OUTPUT)):
            needed_nodes.add(position)
            needed_values |= values_read(field.value)
    return needed_nodes, needed_values


def values_read(node: memoryview) -> set[str]:
    """The names of the values that a node reads, and that the graphs inside it read."""
    names = texts(node, _NODE_INPUT)
    for graph in _graphs_inside(node):
        for number, inside in messages(graph):
            if number == _GRAPH_NODE:
                names |= values_read(inside)
            elif number == _GRAPH_OUTPUT:
                names |= texts(inside, _VALUE_NAME)
    return names


def _graphs_inside(node: memoryview) -> Iterator[memoryview]:
    """The graphs in a node's attributes: the branches of an `If`, the body of a `Loop`."""
    for number, attribute in messages(node):
        if number != _NODE_ATTRIBUTE:
            continue
        for attribute_number, graph in messages(attribute):
            if attribute_number in _ATTRIBUTE_GRAPHS:
                yield graph
