"""An `.onnx` file's manifest, read before ONNX Runtime opens the file.

A file may come from anyone, so it is checked here first. Refused are files without leafzoom's
metadata, files whose weights lie in other files (a path in them could name any file of this
machine), and files that are no ONNX. Only tags and lengths of protobuf's wire format are read;
weights are skipped.
"""

from __future__ import annotations

from pathlib import Path

from leafzoom.errors import ModelError
from leafzoom.model_file.checksum import CHECKSUM_KEY, is_whole
from leafzoom.model_file.manifest import METADATA_KEY, Manifest
from leafzoom.model_file.wire import fields, messages

__all__ = ["read_onnx"]

_MAX_BYTES = 2**30
_MAX_DEPTH = 20

# Numbers of onnx.proto's fields.
_MODEL_GRAPH = 7
_MODEL_METADATA = 14
_MODEL_FUNCTIONS = 25
_ENTRY_KEY = 1
_ENTRY_VALUE = 2
_TENSOR_EXTERNAL_DATA = 13
_TENSOR_DATA_LOCATION = 14

# All ways from a graph to a tensor: {message: {field: message}}.
_MESSAGES_INSIDE = {
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


def read_onnx(path: Path) -> tuple[bytes, Manifest]:
    """The content of a model file that leafzoom exported, and its manifest.

    Raises:
        ModelError: no such file, over 1 GiB, no ONNX, not exported by leafzoom, with weights in
            other files, with functions, of a newer format, or with a checksum that does not match.
    """
    content = _read(path)
    try:
        metadata = _checked_metadata(path, memoryview(content))
    except ValueError as error:
        raise ModelError(
            f"{path} is no ONNX model or is damaged ({error}): copy it again"
        ) from error

    text = metadata.get(METADATA_KEY)
    if text is None:
        raise ModelError(f"{path} was not exported by leafzoom: it has no leafzoom metadata")
    manifest = Manifest.from_json(text, str(path))

    # Files of older versions have no checksum.
    if CHECKSUM_KEY in metadata and not is_whole(content):
        raise ModelError(
            f"{path} is damaged (its content does not have the SHA-256 that is stored in it): "
            "copy it again"
        )
    return content, manifest


def _read(path: Path) -> bytes:
    """The bytes of a file of at most 1 GiB."""
    if not path.is_file():
        raise ModelError(
            f"the model {path} does not exist: check --model, or train one with leafzoom train"
        )

    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise ModelError(
            f"{path} has {size} bytes and a model has at most {_MAX_BYTES}: it is no model"
        )
    return path.read_bytes()


def _checked_metadata(path: Path, content: memoryview) -> dict[str, str | None]:
    """The metadata of a model.

    Raises:
        ModelError: the model has functions, or weights in other files.
        ValueError: not protobuf's wire format.
    """
    metadata: dict[str, str | None] = {}
    for number, inside in messages(content):
        if number == _MODEL_METADATA:
            entry = {field: bytes(text).decode("utf-8") for field, text in messages(inside)}
            metadata[entry.get(_ENTRY_KEY, "")] = entry.get(_ENTRY_VALUE)

        elif number == _MODEL_FUNCTIONS:
            raise ModelError(
                f"{path} has functions of its own, which exports of leafzoom never have: "
                "export it again"
            )

        elif number == _MODEL_GRAPH and _has_external_data("graph", inside):
            raise ModelError(
                f"{path} keeps weights in other files, which are never read: export it as one file"
            )
    return metadata


def _has_external_data(kind: str, message: memoryview, depth: int = 0) -> bool:
    """Whether a tensor inside a message keeps its data in another file.

    Args:
        kind: of the message: `tensor`, or a key of `_MESSAGES_INSIDE`.
        message: its bytes.
        depth: how many messages it lies in.

    Raises:
        ValueError: not protobuf's wire format, or messages nested too deep.
    """
    # A crafted file could nest graphs until the stack overflows.
    if depth > _MAX_DEPTH:
        raise ValueError("graphs nested too deep")
    if kind == "tensor":
        return _tensor_is_external(message)

    # Nodes can hold graphs with tensors of their own, so the search goes all the way down.
    kinds_inside = _MESSAGES_INSIDE[kind]
    for number, inside in messages(message):
        inner_kind = kinds_inside.get(number)
        if inner_kind and _has_external_data(inner_kind, inside, depth + 1):
            return True
    return False


def _tensor_is_external(tensor: memoryview) -> bool:
    """Whether a tensor names another file, or says that its data are elsewhere."""
    for field in fields(tensor):
        if field.value is None:
            continue
        if field.number == _TENSOR_EXTERNAL_DATA:
            return True
        if field.number == _TENSOR_DATA_LOCATION and field.value != 0:
            return True
    return False
