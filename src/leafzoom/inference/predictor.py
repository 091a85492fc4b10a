"""Photos in, diagnoses out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from leafzoom.errors import DataError, PhotoError, UsageError
from leafzoom.inference.network import Network, NetworkArrays
from leafzoom.inference.verdict import Verdict, judge
from leafzoom.labels import Decision
from leafzoom.manifest import Manifest
from leafzoom.photo import SUFFIXES, Photo, Source, read_source

__all__ = ["FailedPhoto", "Prediction", "Predictor", "ScalePrediction", "find_photos", "iter_photos", "photo_box"]

_BATCH = 16

OnePhoto = str | Photo | bytearray
"""A `Photo`, or a path as a string."""


@dataclass(frozen=True)
class ScalePrediction:
    """What one scale saw: its box (x0, y0, x1, y1) in pixels of the upright photo, and its probabilities."""

    scale: int
    box: tuple[float, float, float, float]
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Prediction:
    """The diagnosis of one photo.

    `labels` are those that hold, empty unless the verdict is a diagnosis; `likely` the best answer whatever the
    verdict; `confidence` the calibrated probability of that answer among all combinations of labels that occur;
    `probabilities` the fused head's (scale 1's where an early exit left the others out). `strangeness`: above 1 for a
    picture unlike the leaves that the model was made with; None from a model that cannot tell. See `judge` for the
    verdicts.
    """

    photo: str
    labels: tuple[str, ...]
    probabilities: dict[str, float]
    scales: tuple[ScalePrediction, ...]
    verdict: Verdict
    likely: tuple[str, ...]
    confidence: float
    strangeness: float | None
    model: str
    original: Photo | None = field(default=None, repr=False, compare=False)

    def plot(self) -> Image.Image:
        """A picture: the photo with the boxes that were looked into, then each zoom, with what each scale said.

        Raises:
            PhotoError: the photo's file cannot be read any more.
        """
        from leafzoom.inference.picture import picture_of

        return picture_of(self)

    def save(self, path: str | Path) -> None:
        """Write what `plot` shows as a PNG.

        Raises:
            PhotoError: as `plot`.
            LeafzoomError: the file cannot be written.
        """
        from leafzoom.inference.picture import draw_prediction

        draw_prediction(self, Path(path))

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --format json`."""
        return {
            "photo": self.photo,
            "labels": list(self.labels),
            "probabilities": self.probabilities,
            "scales": [{"scale": s.scale, "box": list(s.box), "probabilities": s.probabilities} for s in self.scales],
            "verdict": self.verdict,
            "likely": list(self.likely),
            "confidence": self.confidence,
            "strangeness": self.strangeness,
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
    """Diagnoses photos with a network. Holds no state between calls, and serves any number of threads at once.

    Args:
        network: what `open_network` gives.
        batch_size: photos that the network is given together.
        workers: threads that decode photos ahead of the network; by default a thread a core, four at the most.
        thresholds: of labels, {label: 0..1}, in place of the fitted ones; answers are still combinations that occur.
        early_exit: look closer only at photos of whose diagnosis the first look is not sure enough (the model says
            how sure it has to be); the others' predictions have scale 1 alone.

    Raises:
        UsageError: a threshold of a label that the model does not know, or outside 0..1; an early exit from a model
            that was not made for it.
    """

    def __init__(
        self,
        network: Network,
        *,
        batch_size: int = _BATCH,
        workers: int | None = None,
        thresholds: Mapping[str, float] | None = None,
        early_exit: bool = False,
    ) -> None:
        self.network = network
        if early_exit and network.manifest.early_exit is None:
            raise UsageError(
                f"the model {network.manifest.name} does not know how sure its first look has to be: leave out the "
                "early exit, or train it again with this leafzoom"
            )
        self.early_exit = early_exit
        self.decisions = _with_thresholds(network.manifest, thresholds or {})
        self.batch_size = batch_size
        self.workers = workers or min(4, os.cpu_count() or 1)

    @overload
    def __call__(self, photos: OnePhoto) -> Prediction: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, photos: Iterable[OnePhoto]) -> Iterator[Prediction | FailedPhoto]: ...

    def __call__(self, photos: OnePhoto | Iterable[OnePhoto]) -> Prediction | Iterator[Prediction | FailedPhoto]:
        """The diagnosis of one photo, or of each photo of a folder or an iterable, in order, as they are ready.

        Args:
            photos: a path, the bytes of a file, a Pillow image or an array (see `Photo`); a folder; or an iterable of
                these.

        Returns:
            Of one photo its `Prediction`. Of a folder or an iterable an iterator; a photo that can't be read gives a
            `FailedPhoto` there, and the others go on.

        Raises:
            PhotoError: the one photo cannot be read.
            DataError: a folder without a photo.
        """
        if isinstance(photos, str):
            photos = Path(photos)
        if isinstance(photos, Path) and photos.is_dir():
            return self.stream(find_photos([photos]))
        if isinstance(photos, Path | bytes | bytearray | Image.Image | np.ndarray):
            (result,) = self.stream([photos])
            if isinstance(result, FailedPhoto):
                raise PhotoError(result.error)
            return result
        return self.stream(photos)

    def stream(self, photos: Iterable[OnePhoto]) -> Iterator[Prediction | FailedPhoto]:
        """The diagnosis of each photo of an iterable, in order; the next ones are decoded meanwhile."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="leafzoom-decode") as pool:
            waiting: deque[tuple[str, Photo, Future[Source | str]]] = deque()
            batch: list[tuple[str, Photo, Source | str]] = []
            for number, photo in enumerate(photos, start=1):
                name, kept = _named_photo(photo, number)
                waiting.append((name, kept, pool.submit(_read, kept, self.network.manifest.source_size)))
                if len(waiting) >= self.batch_size + 2 * self.workers:
                    batch.append(_taken(waiting))
                if len(batch) == self.batch_size:
                    yield from self._predict(batch)
                    batch = []
            while waiting:
                batch.append(_taken(waiting))
                if len(batch) == self.batch_size:
                    yield from self._predict(batch)
                    batch = []
            yield from self._predict(batch)

    def _predict(self, batch: list[tuple[str, Photo, Source | str]]) -> Iterator[Prediction | FailedPhoto]:
        readable = [(name, photo, source) for name, photo, source in batch if isinstance(source, Source)]
        results: Iterator[Prediction] = iter(())
        if readable:
            results = iter(self.diagnose(readable))
        for name, _, source in batch:
            yield FailedPhoto(name, source) if isinstance(source, str) else next(results)

    def diagnose(self, photos: Sequence[tuple[str, Photo | None, Source]]) -> list[Prediction]:
        """The diagnoses of photos that are decoded already, in one pass of the network, or two with `early_exit`.

        Args:
            photos: of each its name, itself (what `plot` draws; may be None) and its source.
        """
        manifest = self.network.manifest
        pixels = np.stack([source.pixels for _, _, source in photos])
        if not self.early_exit:
            return self._said(photos, self.network(pixels), manifest.head)
        first = self.network.first_look(pixels)
        if first is None or manifest.early_exit is None:
            raise UsageError(f"the model {manifest.name} has no first look of its own: leave out the early exit")
        found = self._said(photos, first, "scale1")
        unsure = [
            row
            for row, prediction in enumerate(found)
            if prediction.verdict != "diagnosis" or prediction.confidence < manifest.early_exit
        ]
        if unsure:
            closer = self._said([photos[row] for row in unsure], self.network(pixels[unsure]), manifest.head)
            for row, prediction in zip(unsure, closer, strict=True):
                found[row] = prediction
        return found

    def _said(
        self, photos: Sequence[tuple[str, Photo | None, Source]], arrays: NetworkArrays, head: str
    ) -> list[Prediction]:
        """What one head's answers of a network's outputs are."""
        manifest = self.network.manifest
        fused, judgements = arrays.probabilities[head], judge(arrays, manifest, self.decisions, head=head)
        predictions = []
        for row, ((name, photo, source), judgement) in enumerate(zip(photos, judgements, strict=True)):
            likely = tuple(manifest.labels.decode(judgement.answer))
            strangeness = judgement.strangeness
            scales = tuple(
                ScalePrediction(
                    scale,
                    photo_box(arrays.boxes[scale - 1][row], manifest.source_size, source.photo_size),
                    self._named(arrays.probabilities[f"scale{scale}"][row]),
                )
                for scale in range(1, len(arrays.boxes) + 1)
            )
            predictions.append(
                Prediction(
                    photo=name,
                    labels=likely if judgement.verdict == "diagnosis" else (),
                    probabilities=self._named(fused[row]),
                    scales=scales,
                    verdict=judgement.verdict,
                    likely=likely,
                    confidence=round(judgement.confidence, 6),
                    strangeness=None if strangeness is None else round(strangeness, 4),
                    model=manifest.name,
                    original=photo,
                )
            )
        return predictions

    def _named(self, row: NDArray[np.float32]) -> dict[str, float]:
        return {n: round(float(p), 6) for n, p in zip(self.network.manifest.labels.names, row, strict=True)}


def _with_thresholds(manifest: Manifest, thresholds: Mapping[str, float]) -> dict[str, Decision]:
    """Every head's decision, with some thresholds replaced."""
    names = manifest.labels.names
    for label, value in thresholds.items():
        if label not in names:
            raise UsageError(f"no label {label!r} to set a threshold for: the model has {', '.join(names)}")
        if not 0 < value < 1:
            raise UsageError(f"the threshold of {label} has to lie between 0 and 1, not at {value:g}")
    return {
        head: replace(
            decision,
            thresholds=tuple(thresholds.get(name, own) for name, own in zip(names, decision.thresholds, strict=True)),
        )
        for head, decision in manifest.decisions.items()
    }


def _named_photo(photo: OnePhoto, number: int) -> tuple[str, Photo]:
    """What a photo is called in results, and the photo; one without a name is called by its place in the stream."""
    if isinstance(photo, str | Path):
        return str(photo), Path(photo)
    return f"photo {number}", bytes(photo) if isinstance(photo, bytearray) else photo


def _read(photo: Photo, size: int) -> Source | str:
    """The source of a photo, or why there is none."""
    try:
        return read_source(photo, size)
    except PhotoError as error:
        return str(error)


def _taken(waiting: deque[tuple[str, Photo, Future[Source | str]]]) -> tuple[str, Photo, Source | str]:
    """The first photo of the queue, decoded."""
    name, photo, future = waiting.popleft()
    return name, photo, future.result()


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
    """What `iter_photos` gives, as a list.

    Raises:
        DataError: a folder without a photo.
    """
    return list(iter_photos(paths))


def iter_photos(paths: Iterable[Path], *, but_not: Path | None = None) -> Iterator[Path]:
    """Files as they are, folders as the photos below them, folder by folder in the order of their names.

    Args:
        paths: files and folders.
        but_not: a folder below them that is passed over: where the results are written.

    Raises:
        DataError: a folder without a photo.
    """
    passed_over = but_not.resolve() if but_not else None
    for path in paths:
        try:
            is_folder = path.is_dir()
        except OSError:  # a name that is too long, a folder that may not be read: the photo's own error says so
            is_folder = False
        if not is_folder:
            yield path
            continue
        empty = True
        for folder, below, names in os.walk(path):
            below[:] = sorted(name for name in below if (Path(folder) / name).resolve() != passed_over)
            for name in sorted(names):
                if name.lower().endswith(SUFFIXES):
                    empty = False
                    yield Path(folder) / name
        if empty:
            raise DataError(f"the folder {path} has no photo ({', '.join(SUFFIXES)}): name one that has")
