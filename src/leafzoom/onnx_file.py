"""What an `.onnx` file says of itself, read before ONNX Runtime is given it.

A file from elsewhere is refused here: one without leafzoom's metadata, one whose weights lie in other files (a path
in it could name any file of this machine), one that is no ONNX. Only lengths and tags of protobuf's wire format are
read; weights are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from leafzoom.checksum import CHECKSUM_KEY, is_whole
from leafzoom.errors import ModelError
from leafzoom.manifest import METADATA_KEY, Manifest

__all__ = ["read_onnx", "with_outputs"]

_MAX_BYTES = 2**30
_MAX_DEPTH = 20
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Numbers of onnx.proto's fields.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT, _GRAPH_VALUE = 1, 5, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE, _ATTRIBUTE_GRAPHS = 1, 2, 5, (6, 11)
_TENSOR_NAME, _VALUE_NAME = 8, 1
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_BELOW = {  # {message: {field: message}}, all ways to a tensor
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


def read_onnx(path: Path) -> tuple[bytes, Manifest]:
    """The content of a model file that leafzoom exported, and its manifest.

    Raises:
        ModelError: no such file, over 1 GiB, no ONNX, not exported by leafzoom, with weights in other files, with
            functions, of a newer format, or with another content than its checksum is of.
    """
    if not path.is_file():
        raise ModelError(f"the model {path} does not exist: check --model, or train one with leafzoom train")
    if path.stat().st_size > _MAX_BYTES:
        raise ModelError(f"{path} has {path.stat().st_size} bytes and a model at most {_MAX_BYTES}: it is no model")
    content = path.read_bytes()
    entries: dict[str, str | None] = {}
    try:
        for number, value in _fields(memoryview(content)):
            if not isinstance(value, memoryview):
                continue
            if number == _MODEL_METADATA:
                entry = {n: bytes(v).decode("utf-8") for n, v in _fields(value) if isinstance(v, memoryview)}
                entries[entry.get(1, "")] = entry.get(2)
            elif number == _MODEL_FUNCTIONS:
                raise ModelError(f"{path} has functions of its own, which no export of leafzoom has: export it again")
            elif number == _MODEL_GRAPH and _reaches_out("graph", value):
                raise ModelError(f"{path} keeps weights in other files, which are never read: export it as one file")
    except ValueError as error:
        raise ModelError(f"{path} is no ONNX model or is damaged ({error}): copy it again") from error
    text = entries.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path} was not exported by leafzoom: it has no leafzoom metadata")
    manifest = Manifest.from_json(text, str(path))
    if CHECKSUM_KEY in entries and not is_whole(content):  # older ones have none
        raise ModelError(f"{path} is damaged (its content has another SHA-256 than it says): copy it again")
    return content, manifest


def with_outputs(content: bytes, names: Sequence[str]) -> bytes:
    """The part of a model that some of its outputs need.

    ONNX Runtime computes a whole graph whichever outputs are asked for, so a part of it has to be a model of its own.

    Args:
        content: of a model that `read_onnx` has let pass.
        names: of the outputs that stay.
    """
    parts: list[bytes | memoryview] = []
    for number, value, field in _pieces(memoryview(content)):
        if number != _MODEL_GRAPH or not isinstance(value, memoryview):
            parts.append(field)
            continue
        kept = _needed(value, set(names))
        parts += [_as_varint(_MODEL_GRAPH << 3 | _BYTES), _as_varint(sum(len(piece) for piece in kept)), *kept]
    return b"".join(parts)


def _needed(graph: memoryview, needed: set[str]) -> list[memoryview]:
    """The fields of a graph without what its outputs of these names don't need; its nodes are in order."""
    pieces = [(number, inside, piece) for number, inside, piece in _pieces(graph) if isinstance(inside, memoryview)]
    outputs = set(needed)
    unused = set()
    for place in range(len(pieces) - 1, -1, -1):
        number, node, _ = pieces[place]
        if number != _GRAPH_NODE:
            continue
        if needed.isdisjoint(_texts(node, _NODE_OUTPUT)):
            unused.add(place)
        else:
            needed |= _reads(node)
    name_of = {_GRAPH_INITIALIZER: _TENSOR_NAME, _GRAPH_VALUE: _VALUE_NAME, _GRAPH_OUTPUT: _VALUE_NAME}
    return [
        piece
        for place, (number, inside, piece) in enumerate(pieces)
        if place not in unused
        and (
            number not in name_of
            or not _texts(inside, name_of[number]).isdisjoint(outputs if number == _GRAPH_OUTPUT else needed)
        )
    ]


def _reads(node: memoryview) -> set[str]:
    """What a node reads, and what the nodes of graphs inside it read."""
    found = _texts(node, _NODE_INPUT)
    for number, attribute in _fields(node):
        if number == _NODE_ATTRIBUTE and isinstance(attribute, memoryview):
            for kind, graph in _fields(attribute):
                if kind in _ATTRIBUTE_GRAPHS and isinstance(graph, memoryview):
                    for inner, inside in _fields(graph):
                        if isinstance(inside, memoryview) and inner == _GRAPH_NODE:
                            found |= _reads(inside)
                        elif isinstance(inside, memoryview) and inner == _GRAPH_OUTPUT:
                            found |= _texts(inside, _VALUE_NAME)
    return found


def _texts(message: memoryview, field: int) -> set[str]:
    """The texts of one field of a message."""
    return {
        bytes(v).decode("utf-8") for number, v in _fields(message) if number == field and isinstance(v, memoryview)
    }


def _as_varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a protobuf message: number, and a number or the bytes of what has a length.

    Raises:
        ValueError: not protobuf's wire format.
    """
    return ((number, value) for number, value, _ in _pieces(message) if value is not None)


def _pieces(message: memoryview) -> Iterator[tuple[int, int | memoryview | None, memoryview]]:
    """The fields of a protobuf message, as `_fields` (None: of fixed length), and the whole field's bytes."""
    place = 0
    while place < len(message):
        start = place
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 2**29:  # other readers drop the bits beyond, and would see another field
            raise ValueError("a field with an impossible number")
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, value, message[start:place]
            continue
        if kind == _BYTES:
            length, place = _varint(message, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"an unknown kind of field, {kind}")
        if place + length > len(message):
            raise ValueError("it ends too early")
        inside = message[place : place + length] if kind == _BYTES else None
        place += length
        yield number, inside, message[start:place]


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of up to 64 bits, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends too early")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number too long")


def _reaches_out(kind: str, message: memoryview, depth: int = 0) -> bool:
    """Whether a tensor below a message has its data in another file."""
    if depth > _MAX_DEPTH:
        raise ValueError("graphs nested too deep")
    if kind == "tensor":
        return any(
            number == _TENSOR_EXTERNAL_DATA or (number == _TENSOR_DATA_LOCATION and value != 0)
            for number, value in _fields(message)
        )
    below = _BELOW[kind]
    return any(
        _reaches_out(below[number], value, depth + 1)
        for number, value in _fields(message)
        if number in below and isinstance(value, memoryview)
    )
