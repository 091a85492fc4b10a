"""Random changes of files, for tests of what reads them."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["mutated", "overwritten"]

_MAX_MUTATIONS = 6
_MAX_OVERWRITES = 3
_SEVERAL_BYTES = 64
_WORD_SHARE = 0.4


def overwritten(content: bytes, draw: random.Random, words: tuple[bytes, ...] = ()) -> bytes:
    """A content with a few random changes that leave everything in its place.

    Args:
        content: what is changed.
        draw: the random numbers.
        words: that may be written over what is there.
    """
    changed = bytearray(content)
    for _ in range(draw.randint(1, _MAX_OVERWRITES) if content else 0):
        if words and draw.random() < _WORD_SHARE:
            word = draw.choice(words)
            position = draw.randrange(max(1, len(changed) - len(word)))
            changed[position : position + len(word)] = word
        else:
            draw.choice((_flip_bit, _set_byte))(changed, draw)
    return bytes(changed)


def mutated(content: bytes, draw: random.Random, words: tuple[bytes, ...] = ()) -> bytes:
    """A content with a few random changes.

    Args:
        content: what is changed.
        draw: the random numbers.
        words: that may be inserted, such as separators or tags of the format.
    """
    changes: list[Callable[[bytearray, random.Random], None]] = [
        _flip_bit,
        _set_byte,
        _remove,
        _repeat,
        _cut,
        _swap,
    ]
    changed = bytearray(content)
    for _ in range(draw.randint(1, _MAX_MUTATIONS)):
        if words and draw.random() < _WORD_SHARE:
            position = draw.randint(0, len(changed))
            replaced = draw.choice((0, 0, 1, 4))
            changed[position : position + replaced] = draw.choice(words)
        elif changed:
            draw.choice(changes)(changed, draw)
    return bytes(changed)


def _flip_bit(content: bytearray, draw: random.Random) -> None:
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def _set_byte(content: bytearray, draw: random.Random) -> None:
    content[draw.randrange(len(content))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x0A))


def _remove(content: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(content))
    del content[start : start + draw.randint(1, _SEVERAL_BYTES)]


def _repeat(content: bytearray, draw: random.Random) -> None:
    start = draw.randrange(len(content))
    piece = content[start : start + draw.randint(1, _SEVERAL_BYTES)]
    position = draw.randrange(len(content))
    content[position:position] = piece


def _cut(content: bytearray, draw: random.Random) -> None:
    # Seldom: most of what follows a cut is the same.
    if draw.random() < 0.3:
        del content[draw.randrange(len(content)) :]


def _swap(content: bytearray, draw: random.Random) -> None:
    first = draw.randrange(len(content))
    second = draw.randrange(len(content))
    length = draw.randint(1, _SEVERAL_BYTES)
    piece = content[first : first + length]
    content[second : second + length] = piece
