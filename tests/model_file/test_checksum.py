"""The checksum at the end of an exported model."""

from __future__ import annotations

import hashlib

import onnx

from leafzoom.model_file.checksum import CHECKSUM_KEY, is_whole, seal


def test_the_seal_is_an_entry_of_the_metadata() -> None:
    """The onnx library reads it as one, after the entries that were there."""
    model = onnx.ModelProto(producer_name="leafzoom")
    model.metadata_props.add(key="a", value="b")
    content = model.SerializeToString()

    sealed = onnx.load_from_string(content + seal(content))
    entries = [(entry.key, entry.value) for entry in sealed.metadata_props]
    assert entries == [("a", "b"), (CHECKSUM_KEY, hashlib.sha256(content).hexdigest())]


def test_any_change_breaks_the_seal() -> None:
    content = b"some weights"
    whole = content + seal(content)
    assert is_whole(whole)
    assert not is_whole(content)
    assert not is_whole(whole + b"\x00")
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        assert not is_whole(bytes(damaged))
