"""The answers of compared networks by seed, as results keep them, so that sessions add up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BySeed", "common_seeds", "digest_of", "kept_rows", "packed", "unpacked"]

BySeed = dict[int, NDArray[np.bool_]]
"""Whether each photograph is answered exactly, [n], by the seed of the training."""


def digest_of(names: Iterable[str]) -> str:
    """SHA-256 of photographs' names, in their order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def packed(answers: BySeed) -> dict[str, str]:
    """Answers as hexadecimal digits, eight photographs a byte.

    >>> packed({0: np.array([True, False, True])})
    {'0': 'a0'}
    """
    return {str(seed): np.packbits(answers[seed]).tobytes().hex() for seed in sorted(answers)}


def unpacked(texts: Mapping[str, str], count: int) -> BySeed:
    """The inverse of `packed`, for so many photographs."""
    return {
        int(seed): np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:count].astype(bool)
        for seed, text in texts.items()
    }


def common_seeds(first: BySeed, second: BySeed) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Both sides' answers with the seeds that both have, [seeds, n] each."""
    seeds = sorted(first.keys() & second.keys())
    return np.stack([first[seed] for seed in seeds]), np.stack([second[seed] for seed in seeds])


def kept_rows(
    path: Path, photographs: str, definitions: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The rows of a stored result that still hold.

    Args:
        path: of the result; there need be none.
        photographs: the digest of their names. A result of others has nothing to keep.
        definitions: by network. A network that was defined otherwise is left out.
    """
    if not path.is_file():
        return {}
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["photographs_digest"] != photographs:
        return {}
    return {
        name: row
        for name, row in result["networks"].items()
        if name in definitions and row["definition"] == definitions[name]
    }
