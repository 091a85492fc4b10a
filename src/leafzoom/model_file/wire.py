"""Protobuf's wire format, as far as an ONNX model is read without the onnx library.

A message is a row of fields. Each field starts with a tag, which holds its number and its wire
type; a value follows that is a number, bytes with their length, or of fixed length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Field", "bytes_field_header", "fields", "messages", "text_list", "texts"]

# Wire types.
_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5

_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_FIELD_NUMBERS = range(1, 2**29)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    `number`: its number. `value`: a number, the bytes of what has a length, or None for a value of
    fixed length. `content`: the whole field's bytes, with the tag.
    """

    number: int
    value: int | memoryview | None
    content: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises:
        ValueError: not protobuf's wire format.
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = _read_varint(message, position)
        number = tag >> 3
        wire_type = tag & 7

        # Other readers drop the bits beyond the greatest number, and would see another field.
        if number not in _FIELD_NUMBERS:
            raise ValueError("a field with an impossible number")

        if wire_type == _VARINT:
            value, position = _read_varint(message, position)
            yield Field(number, value, message[start:position])
            continue

        # Texts and messages say their length; numbers of fixed length have 4 or 8 bytes.
        if wire_type == _BYTES:
            length, position = _read_varint(message, position)
        elif wire_type in _FIXED_BYTES:
            length = _FIXED_BYTES[wire_type]
        else:
            raise ValueError(f"an unknown kind of field, {wire_type}")

        # A slice beyond the end would just be shorter, so check first.
        end = position + length
        if end > len(message):
            raise ValueError("it ends too early")
        inside = message[position:end] if wire_type == _BYTES else None
        yield Field(number, inside, message[start:end])
        position = end


def messages(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that hold bytes (messages, texts), as numbers and bytes.

    Raises:
        ValueError: not protobuf's wire format.
    """
    for field in fields(message):
        if isinstance(field.value, memoryview):
            yield field.number, field.value


def texts(message: memoryview, number: int) -> set[str]:
    """The texts in a message's fields of one number; see `text_list`."""
    return set(text_list(message, number))


def text_list(message: memoryview, number: int) -> list[str]:
    """The texts in a message's fields of one number, in order.

    Bytes that are no UTF-8 are escaped, since other readers take such names as they are.

    Raises:
        ValueError: not protobuf's wire format.
    """
    contents = [bytes(inside) for n, inside in messages(message) if n == number]
    return [content.decode("utf-8", "surrogateescape") for content in contents]


def bytes_field_header(number: int, length: int) -> bytes:
    """The tag and the length that stand before a field's bytes.

    >>> bytes_field_header(7, 300).hex()
    '3aac02'
    """
    return _varint(number << 3 | _BYTES) + _varint(length)


def _varint(value: int) -> bytes:
    """A number in groups of seven bits, lowest first, as protobuf writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number of up to 64 bits, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it ends too early")

        # Seven bits a byte, lowest first; the top bit says that more follow.
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number too long")
