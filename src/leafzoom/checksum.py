"""Checksums that model files carry, so that a damaged one is told from a whole one.

A checkpoint has it in its manifest, as one more entry: the SHA-256 of the rest of the manifest and of the tensors
(see `model.checkpoint`). An `.onnx` file ends with it: one more entry of its metadata, whose value is the SHA-256 of
every byte before. Files made before there were checksums have none.
"""

from __future__ import annotations

import hashlib

__all__ = ["CHECKSUM_KEY", "is_whole", "seal"]

CHECKSUM_KEY = "leafzoom_sha256"
_ENTRY = 0x72  # the tag of a protobuf field of bytes, number 14: ModelProto.metadata_props
_KEY, _VALUE = 0x0A, 0x12  # fields 1 and 2 of such an entry
_LENGTH = 6 + len(CHECKSUM_KEY) + 64


def seal(content: bytes) -> bytes:
    """What an ONNX model's bytes are to be followed by: the entry with their SHA-256."""
    key, value = CHECKSUM_KEY.encode(), hashlib.sha256(content).hexdigest().encode()
    entry = bytes([_KEY, len(key)]) + key + bytes([_VALUE, len(value)]) + value
    return bytes([_ENTRY, len(entry)]) + entry


def is_whole(content: bytes) -> bool:
    """Whether an ONNX model that has a checksum ends with that of its content."""
    return content[-_LENGTH:] == seal(content[:-_LENGTH])
