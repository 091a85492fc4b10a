"""An ONNX model in two parts: a first look, and all other looks, which go on from it.

The first part computes some outputs. The second computes the others, and reads what the first has
computed already. Together they compute each layer once and hold each weight once, so that a first
look alone costs what it should, also where the files come over a network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leafzoom.model_file.onnx_subgraph import trace_back, values_read
from leafzoom.model_file.wire import Field, bytes_field_header, fields, messages, texts

__all__ = ["SplitModel", "split_model"]

# Numbers of onnx.proto's fields.
_MODEL_GRAPH = 7
_MODEL_METADATA = 14
_GRAPH_NODE = 1
_GRAPH_INITIALIZER = 5
_GRAPH_INPUT = 11
_GRAPH_OUTPUT = 12
_GRAPH_VALUE = 13
_NODE_OUTPUT = 2
_TENSOR_NAME = 8
_VALUE_NAME = 1
_VALUE_TYPE = 2
_TYPE_TENSOR = 1
_TENSOR_ELEMENT = 1

_FLOAT = 1


@dataclass(frozen=True)
class SplitModel:
    """The two parts of a model, without its metadata.

    `first`, `second`: the files' content. `handed_on`: the names of the values that the first part
    computes for the second.
    """

    first: bytes
    second: bytes
    handed_on: tuple[str, ...]


def split_model(content: bytes, first: Sequence[str], second: Sequence[str]) -> SplitModel:
    """Split a model.

    Args:
        content: of a model that `read_onnx` has checked.
        first: names of the outputs of the first part.
        second: names of the outputs of the second part.

    Raises:
        ValueError: not protobuf's wire format.
    """
    graph = _Graph(content)
    first_nodes, _ = trace_back(graph.fields, set(first))
    second_nodes, handed_on = graph.going_on(first_nodes, second)
    return SplitModel(
        first=graph.part(first_nodes, (), (*first, *handed_on)),
        second=graph.part(second_nodes, handed_on, second),
        handed_on=handed_on,
    )


class _Graph:
    """The fields of a model's graph, and what each value is made by.

    Args:
        content: of the model.
    """

    def __init__(self, content: bytes) -> None:
        self._model_fields = list(fields(memoryview(content)))
        graphs = [field.value for field in self._model_fields if field.number == _MODEL_GRAPH]
        (graph,) = [value for value in graphs if isinstance(value, memoryview)]

        self.fields = [field for field in fields(graph) if isinstance(field.value, memoryview)]
        self._position_of: dict[str, int] = {}
        self._types: dict[str, memoryview] = {}
        for position, field in enumerate(self.fields):
            assert isinstance(field.value, memoryview)
            if field.number == _GRAPH_NODE:
                outputs = texts(field.value, _NODE_OUTPUT)
                self._position_of |= dict.fromkeys(outputs, position)
            elif field.number in (_GRAPH_VALUE, _GRAPH_OUTPUT):
                self._types |= dict.fromkeys(texts(field.value, _VALUE_NAME), field.value)
        self._from_input = self._values_from_input()

    def going_on(self, done: set[int], outputs: Sequence[str]) -> tuple[set[int], tuple[str, ...]]:
        """The nodes that compute some outputs after others, and the values that they read of those.

        Numbers that come from the picture are handed on. Shapes and weights are computed again,
        because that costs nothing.

        Args:
            done: the positions of the nodes that were computed.
            outputs: names of values.
        """
        nodes: set[int] = set()
        handed_on: dict[str, None] = {}
        queue = list(outputs)
        visited: set[str] = set()
        while queue:
            value = queue.pop()
            position = self._position_of.get(value)
            if value in visited or position is None:
                continue

            visited.add(value)
            if position in done and value in self._from_input and self._is_float(value):
                handed_on[value] = None
                continue
            nodes.add(position)
            queue.extend(values_read(self._node(position)))
        return nodes, tuple(sorted(handed_on))

    def part(self, nodes: set[int], inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """The model of some nodes.

        Args:
            nodes: their positions.
            inputs: names of values that become inputs, beside those of the whole model.
            outputs: names of values that become outputs.
        """
        read: set[str] = set(outputs)
        for position in nodes:
            read |= values_read(self._node(position))

        kept = [field.content for field in self._kept(nodes, read, {*inputs, *outputs})]
        graph_fields: list[bytes | memoryview] = [*kept]
        graph_fields += self._values(inputs, _GRAPH_INPUT)
        graph_fields += self._values(outputs, _GRAPH_OUTPUT)

        # The graph's length stands before it. The metadata is left out.
        length = sum(len(piece) for piece in graph_fields)
        pieces: list[bytes | memoryview] = []
        for field in self._model_fields:
            if field.number == _MODEL_GRAPH:
                pieces += [bytes_field_header(_MODEL_GRAPH, length), *graph_fields]
            elif field.number != _MODEL_METADATA:
                pieces.append(field.content)
        return b"".join(pieces)

    def _kept(self, nodes: set[int], read: set[str], described: set[str]) -> Iterable[Field]:
        """The fields of a part, without its outputs and those inputs that others compute.

        Args:
            nodes: positions.
            read: names of the values that the part reads.
            described: names of inputs and outputs, which are described as such.
        """
        for position, field in enumerate(self.fields):
            assert isinstance(field.value, memoryview)
            if field.number == _GRAPH_NODE:
                keep = position in nodes
            elif field.number == _GRAPH_INITIALIZER:
                keep = not read.isdisjoint(texts(field.value, _TENSOR_NAME))
            elif field.number == _GRAPH_VALUE:
                names = texts(field.value, _VALUE_NAME)
                keep = not read.isdisjoint(names) and described.isdisjoint(names)
            elif field.number == _GRAPH_INPUT:
                keep = not read.isdisjoint(texts(field.value, _VALUE_NAME))
            else:
                keep = field.number != _GRAPH_OUTPUT
            if keep:
                yield field

    def _values(self, names: Sequence[str], number: int) -> list[bytes | memoryview]:
        """The fields that describe values as inputs or outputs."""
        pieces: list[bytes | memoryview] = []
        for name in names:
            value = self._types[name]
            pieces += [bytes_field_header(number, len(value)), value]
        return pieces

    def _node(self, position: int) -> memoryview:
        node = self.fields[position].value
        assert isinstance(node, memoryview)
        return node

    def _is_float(self, value: str) -> bool:
        """Whether a value is described as a tensor of float32."""
        description = self._types.get(value, memoryview(b""))
        kinds = [kind for number, kind in messages(description) if number == _VALUE_TYPE]
        for kind in kinds:
            for number, tensor in messages(kind):
                elements = [
                    field.value for field in fields(tensor) if field.number == _TENSOR_ELEMENT
                ]
                if number == _TYPE_TENSOR:
                    return elements[:1] == [_FLOAT]
        return False

    def _values_from_input(self) -> set[str]:
        """The names of the values that depend on the model's input."""
        names: set[str] = set()
        for field in self.fields:
            assert isinstance(field.value, memoryview)
            if field.number == _GRAPH_INPUT:
                names |= texts(field.value, _VALUE_NAME)
        for field in self.fields:
            assert isinstance(field.value, memoryview)
            if field.number == _GRAPH_NODE and not names.isdisjoint(values_read(field.value)):
                names |= texts(field.value, _NODE_OUTPUT)
        return names
