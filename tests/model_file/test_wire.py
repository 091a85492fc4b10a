"""Protobuf's wire format, against the onnx library's own writer."""

from __future__ import annotations

import onnx
import pytest

from leafzoom.model_file.wire import bytes_field_header, fields, messages, texts


def test_the_fields_are_those_that_onnx_writes() -> None:
    model = onnx.ModelProto(ir_version=300, producer_name="gärtner")
    model.metadata_props.add(key="a", value="b")
    content = memoryview(model.SerializeToString())

    result = list(fields(content))
    assert [field.number for field in result] == [1, 2, 14]
    assert result[0].value == 300
    assert b"".join(field.content for field in result) == content
    assert texts(content, 2) == {"gärtner"}
    assert [number for number, _ in messages(content)] == [2, 14]


def test_names_that_are_no_text_are_told_apart() -> None:
    names = texts(memoryview(b"\x0a\x01\xe1\x0a\x01\xe2"), 1)
    assert sorted(names) == ["\udce1", "\udce2"]


def test_values_of_fixed_length_are_skipped() -> None:
    attribute = onnx.AttributeProto(name="alpha", f=0.5)
    result = {
        field.number: field.value for field in fields(memoryview(attribute.SerializeToString()))
    }
    assert result[2] is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x0a\x05abc", "ends too early"),
        (b"\x0a", "ends too early"),
        (b"\x08" + b"\xff" * 10, "a number too long"),
        (b"\x0b", "unknown kind of field, 3"),
        (b"\x00\x01", "impossible number"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        list(fields(memoryview(content)))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 300, 20_000])
def test_a_header_reads_back(length: int) -> None:
    header = bytes_field_header(7, length)
    (field,) = fields(memoryview(header + b"x" * length))
    assert field.number == 7
    assert field.value == b"x" * length
