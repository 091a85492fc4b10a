"""Photos in, diagnoses out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import DataError, PhotoError
from leafzoom.inference.network import Network, NetworkArrays
from leafzoom.labels import combination_probabilities, decide
from leafzoom.photo import SUFFIXES, Source, read_source

__all__ = ["FailedPhoto", "Prediction", "Predictor", "ScalePrediction", "find_photos", "photo_box"]

_BATCH = 16


@dataclass(frozen=True)
class ScalePrediction:
    """What one scale saw: its box (x0, y0, x1, y1) in pixels of the upright photo, and its probabilities."""

    scale: int
    box: tuple[float, float, float, float]
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """The diagnosis of one photo.

    `labels` are those that hold, `probabilities` the fused head's, `confidence` the calibrated probability of
    this answer among all combinations of labels that occur.
    """

    photo: str
    labels: tuple[str, ...]
    probabilities: dict[str, float]
    scales: tuple[ScalePrediction, ...]
    verdict: Literal["diagnosis", "unsure", "not_a_leaf"]
    confidence: float
    model: str

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --format json`."""
        return {
            "photo": self.photo,
            "labels": list(self.labels),
            "probabilities": self.probabilities,
            "scales": [{"scale": s.scale, "box": list(s.box), "probabilities": s.probabilities} for s in self.scales],
            "verdict": self.verdict,
            "confidence": self.confidence,
            "model": self.model,
        }


@dataclass(frozen=True)
class FailedPhoto:
    """A photo that cannot be read, and why."""

    photo: str
    error: str

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --format json`."""
        return {"photo": self.photo, "error": self.error}


class Predictor:
    """Diagnoses photos with a network. Holds no state between calls."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __call__(self, photos: Iterable[Path]) -> Iterator[Prediction | FailedPhoto]:
        """The diagnosis of each photo, in order; a photo that can't be read gives a `FailedPhoto`."""
        batch: list[tuple[Path, Source | str]] = []
        for photo in photos:
            try:
                batch.append((photo, read_source(photo, self.network.manifest.source_size)))
            except PhotoError as error:
                batch.append((photo, str(error)))
            if len(batch) == _BATCH:
                yield from self._predict(batch)
                batch = []
        yield from self._predict(batch)

    def _predict(self, batch: list[tuple[Path, Source | str]]) -> Iterator[Prediction | FailedPhoto]:
        readable = [source for _, source in batch if isinstance(source, Source)]
        results: Iterator[Prediction] = iter(())
        if readable:
            arrays = self.network(np.stack([source.pixels for source in readable]))
            names = [str(photo) for photo, source in batch if isinstance(source, Source)]
            results = iter(self._diagnoses(names, readable, arrays))
        for photo, source in batch:
            yield FailedPhoto(str(photo), source) if isinstance(source, str) else next(results)

    def _diagnoses(self, names: list[str], sources: list[Source], arrays: NetworkArrays) -> list[Prediction]:
        manifest = self.network.manifest
        fused, decision = arrays.probabilities[manifest.head], manifest.decisions[manifest.head]
        answers = decide(fused, decision.array, manifest.labels)
        combinations = np.array(manifest.labels.combinations)
        shares = combination_probabilities(fused, decision.temperature, manifest.labels)
        predictions = []
        for row, (name, source) in enumerate(zip(names, sources, strict=True)):
            scales = tuple(
                ScalePrediction(
                    scale,
                    photo_box(arrays.boxes[scale - 1][row], manifest.source_size, source.photo_size),
                    self._named(arrays.probabilities[f"scale{scale}"][row]),
                )
                for scale in range(1, manifest.scales + 1)
            )
            place = int((combinations == answers[row]).all(axis=1).argmax())
            predictions.append(
                Prediction(
                    photo=name,
                    labels=tuple(manifest.labels.decode(answers[row])),
                    probabilities=self._named(fused[row]),
                    scales=scales,
                    verdict="diagnosis",
                    confidence=round(float(shares[row, place]), 6),
                    model=manifest.name,
                )
            )
        return predictions

    def _named(self, row: NDArray[np.float32]) -> dict[str, float]:
        return {n: round(float(p), 6) for n, p in zip(self.network.manifest.labels.names, row, strict=True)}


def photo_box(
    box: NDArray[np.floating], source_size: int, photo_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """A box of the source as a rectangle on the photo, clipped to it, to a hundredth of a pixel.

    Args:
        box: [4], x0, y0, x1, y1 in source pixels.
        source_size: side of the source.
        photo_size: width and height of the upright photo in pixels.

    >>> photo_box(np.array([64.0, 64.0, 192.0, 192.0]), 256, (4000, 2672))
    (1000.0, 668.0, 3000.0, 2004.0)
    """
    x, y = (side / source_size for side in photo_size)
    width, height = photo_size
    corners = (
        min(max(float(box[0]) * x, 0.0), width),
        min(max(float(box[1]) * y, 0.0), height),
        min(max(float(box[2]) * x, 0.0), width),
        min(max(float(box[3]) * y, 0.0), height),
    )
    return tuple(round(float(corner), 2) for corner in corners)  # type: ignore[return-value]


def find_photos(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as the photos below them, sorted.

    Raises:
        DataError: a folder without a photo.
    """
    found: list[Path] = []
    for path in paths:
        try:
            is_folder = path.is_dir()
        except OSError:  # a name that is too long, a folder that may not be read: the photo's own error says so
            is_folder = False
        if not is_folder:
            found.append(path)
            continue
        below = sorted(
            Path(folder) / name
            for folder, _, names in os.walk(path)
            for name in names
            if name.lower().endswith(SUFFIXES)
        )
        if not below:
            raise DataError(f"the folder {path} has no photo ({', '.join(SUFFIXES)}): name one that has")
        found += below
    return found
