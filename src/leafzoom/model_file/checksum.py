"""Checksums inside model files, by which a damaged file is recognised.

A checkpoint keeps its checksum in the manifest, as one more entry: the SHA-256 of the rest of the
manifest and of the tensors (see `checkpoint`). An `.onnx` file ends with it: the last entry of the
metadata holds the SHA-256 of all bytes before that entry. Files from before there were checksums
have none.
"""

from __future__ import annotations

import hashlib

__all__ = ["CHECKSUM_KEY", "is_whole", "seal"]

CHECKSUM_KEY = "leafzoom_sha256"

# Tags of protobuf fields that hold bytes: ModelProto.metadata_props (14), and the entry's key (1)
# and value (2).
_ENTRY_TAG = 0x72
_KEY_TAG = 0x0A
_VALUE_TAG = 0x12

_HEX_DIGITS = 64
_TAGS_AND_LENGTHS = 6
_SEAL_BYTES = _TAGS_AND_LENGTHS + len(CHECKSUM_KEY) + _HEX_DIGITS


def seal(content: bytes) -> bytes:
    """The metadata entry with the SHA-256 of an ONNX model's bytes, to be appended to them."""
    key = CHECKSUM_KEY.encode()
    value = hashlib.sha256(content).hexdigest().encode()

    # Protobuf's wire format: a tag, the length in one byte, the content.
    key_field = bytes([_KEY_TAG, len(key)]) + key
    value_field = bytes([_VALUE_TAG, len(value)]) + value
    entry = key_field + value_field
    return bytes([_ENTRY_TAG, len(entry)]) + entry


def is_whole(content: bytes) -> bool:
    """Whether an ONNX model's bytes end with the seal of the bytes before it."""
    return content[-_SEAL_BYTES:] == seal(content[:-_SEAL_BYTES])
