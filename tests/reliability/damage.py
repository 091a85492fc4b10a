"""Damaged files and stopped trainings, which several tests share."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from leafzoom.dataset.cache import Cache
from leafzoom.dataset.split import Split
from leafzoom.recipe import Recipe
from leafzoom.training.run import train

FLIPS = 200
DAMAGES = FLIPS + 22
"""How many contents `damaged_contents` yields for `FLIPS` flips."""


class Stop(Exception):  # noqa: N818
    """Ends a training between two epochs."""


def damaged_contents(content: bytes, flips: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """A file's content cut off, ended by zeros, and with one bit flipped at random places.

    Yields each with its description.
    """
    for percent in range(0, 100, 5):
        yield f"cut at {percent} %", content[: len(content) * percent // 100]
    yield "cut by one byte", content[:-1]
    yield "its last page zeros", content[:-4096] + bytes(min(4096, len(content)))

    draw = random.Random(seed)
    for _ in range(flips):
        offset = draw.randrange(len(content))
        bit = draw.randrange(8)
        yield f"bit {bit} of byte {offset}", flip_bit(content, offset, bit)


def flip_bit(content: bytes, offset: int, bit: int = 0) -> bytes:
    """The content with one bit flipped; a negative offset counts from the end."""
    changed = bytearray(content)
    changed[offset] ^= 1 << bit
    return bytes(changed)


def flip_bit_of_file(path: Path, offset: int, bit: int = 0) -> None:
    """Flip one bit of a file in place."""
    path.write_bytes(flip_bit(path.read_bytes(), offset, bit))


def no_echo(_: str) -> None:
    """Print nothing."""


def train_until(sources: Cache, parts: Split, recipe: Recipe, out: Path, epochs: int) -> None:
    """Train, and stop when so many epochs are done."""
    done = 0

    def stop_after_epochs(line: str) -> None:
        nonlocal done
        if "(" in line:
            done += 1
        if done == epochs:
            raise Stop

    with pytest.raises(Stop):
        train(sources, parts, recipe, out, echo=stop_after_epochs)


def same_weights(run: Path, other: Path) -> bool:
    """Whether two runs have ended with the same model file."""
    weights = [folder / "model.safetensors" for folder in (run, other)]
    return weights[0].read_bytes() == weights[1].read_bytes()
