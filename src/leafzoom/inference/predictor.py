"""Photos in, diagnoses out."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leafzoom.errors import PhotoError, UsageError
from leafzoom.inference.decoding import (
    DecodedPhoto,
    batches,
    decode_ahead,
    require_decoded,
)
from leafzoom.inference.evidence import Evidence
from leafzoom.inference.network import EvidenceArrays, Network, NetworkArrays, check_evidence
from leafzoom.inference.photo_like import (
    ManyPhotos,
    PhotoLike,
    many_photos,
    name_of,
    plain_photo,
    require_one_photo,
)
from leafzoom.inference.prediction import FailedPhoto, Prediction, ScalePrediction, photo_box
from leafzoom.inference.prediction_sets import (
    PossibleAnswers,
    calibration_of,
    check_fitted_decision,
    possible_answers,
)
from leafzoom.inference.source_sizes import source_sizes_of
from leafzoom.inference.thresholds import with_thresholds
from leafzoom.inference.verdict import SelectivePrediction, selective_predictions
from leafzoom.model_file.outputs import part_number, scale_head
from leafzoom.photo import read_source

__all__ = ["DecodedPhoto", "PhotoLike", "Predictor"]

_DEFAULT_BATCH_SIZE = 16
_MAX_DEFAULT_WORKERS = 4


class Predictor:
    """Diagnoses photos with a network.

    It holds no state between calls, and serves any number of threads at once.

    Args:
        network: from `open_network`.
        batch_size: photos in one pass of the network.
        workers: threads that decode photos ahead of the network; by default one a core, four at
            most.
        thresholds: {label: 0..1}, in place of the fitted ones; answers are still combinations that
            occur.
        early_exit: zoom only into photos on which scale 1 is not confident enough (the model has
            the threshold); the others' predictions have scale 1 alone.
        source_size: side in pixels of the square that is cut from each photo for the network; by
            default as large as the photo's pixels carry, up to what the model was measured with.

    Raises:
        UsageError: a threshold of a label that the model does not know, or outside 0..1, or of a
            model of one class a photo; no threshold of an early exit; an impossible source size.
    """

    def __init__(
        self,
        network: Network,
        *,
        batch_size: int = _DEFAULT_BATCH_SIZE,
        workers: int | None = None,
        thresholds: Mapping[str, float] | None = None,
        early_exit: bool = False,
        source_size: int | None = None,
    ) -> None:
        if early_exit and network.manifest.early_exit is None:
            raise UsageError(
                f"the model {network.manifest.name} has no confidence threshold for an early exit: "
                "leave out the early exit, or train it again with this leafzoom"
            )

        self.network = network
        self.early_exit = early_exit
        self.source_sizes = source_sizes_of(network, source_size)
        self.has_own_thresholds = bool(thresholds)
        self.decisions = with_thresholds(network.manifest, thresholds or {})
        self.batch_size = batch_size
        self.workers = workers or min(_MAX_DEFAULT_WORKERS, os.cpu_count() or 1)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it knows, in the order of `predict_proba`."""
        return self.network.manifest.labels.names

    def __call__(
        self, photo: PhotoLike, *, coverage: float | None = None, maps: bool = False
    ) -> Prediction:
        """The same as `predict`."""
        return self.predict(photo, coverage=coverage, maps=maps)

    def predict(
        self, photo: PhotoLike, *, coverage: float | None = None, maps: bool = False
    ) -> Prediction:
        """The diagnosis of one photo.

        Args:
            photo: a path, the bytes of a file, an open file, a Pillow image or an array (see
                `PhotoLike`).
            coverage: between 0.5 and 0.999: with `possible`, the answers among which the true one
                is for at least this share of photos like those of the training.
            maps: whether to add what speaks for each label, and where (`Prediction.evidence`).

        Raises:
            PhotoError: the photo cannot be read.
            UsageError: a folder or an iterable, which `predict_many` takes; a coverage out of
                range, or together with thresholds or an early exit.
            ModelError: a coverage of a model without a calibration for it; maps of a model that has
                none.
        """
        self._check_options(coverage, maps)
        require_one_photo(photo)

        # The photo itself is kept as well, so that the prediction can draw it later.
        name = name_of(photo, number=1)
        original = plain_photo(photo)
        source = read_source(original, self.source_sizes)
        (prediction,) = self.predict_decoded([DecodedPhoto(name, source, original, coverage, maps)])
        return prediction

    def predict_many(
        self,
        photos: ManyPhotos,
        *,
        coverage: float | None = None,
        maps: bool = False,
    ) -> Iterator[Prediction | FailedPhoto]:
        """The diagnoses of many photos, in their order, as they are ready.

        The next photos are decoded while the network works on a batch. A photo that cannot be read
        gives a `FailedPhoto`, and the others go on.

        Args:
            photos: a folder, a ZIP archive, or an iterable of what `predict` takes.
            coverage: see `predict`.
            maps: see `predict`.

        Raises:
            DataError: a folder without a photo.
            UsageError: one photo, which `predict` takes; a coverage as in `predict`.
            ModelError: as `predict`.
        """
        self._check_options(coverage, maps)
        return self._predict_stream(many_photos(photos, "predict_many"), coverage, maps)

    def predict_proba(self, photos: ManyPhotos) -> NDArray[np.float64]:
        """The labels' probabilities [n, L] of n photos, in the order of `labels`.

        They are those of `predict`. Where labels exclude each other, a row sums to 1.

        Args:
            photos: as `predict_many`.

        Raises:
            PhotoError: a photo cannot be read, so that the rows would not be those of the photos.
            DataError, UsageError: as `predict_many`.
        """
        rows = []
        found = many_photos(photos, "predict_proba")
        with closing(self._predict_stream(found, None, False)) as results:
            for result in results:
                if isinstance(result, FailedPhoto):
                    raise PhotoError(result.error)
                rows.append([result.probabilities[label] for label in self.labels])
        return np.array(rows, np.float64).reshape(-1, len(self.labels))

    def embed(self, photos: ManyPhotos) -> NDArray[np.float32]:
        """The descriptors [n, D] of n photos: what the network saw, for other programs.

        A row has the looks' pooled features side by side, the whole photo first, as means over the
        photo and its mirror images. Linear classifiers, searches and clusterings read them.

        Args:
            photos: as `predict_many`.

        Raises:
            PhotoError, DataError, UsageError: as `predict_proba`.
            ModelError: a model whose looks have no linear classifiers.
        """
        rows = []
        found = many_photos(photos, "embed")
        with closing(self._decode_ahead(found)) as decoded_photos:
            for batch in batches(decoded_photos, self.batch_size):
                pixels = [require_decoded(photo).source.pixels for photo in batch]
                rows += self._descriptors(pixels)
        if rows:
            return np.stack(rows)

        # No photo: any source says how long descriptors are.
        size = self.network.manifest.source_size
        blank = np.zeros((size, size, 3), np.uint8)
        return np.stack(self._descriptors([blank]))[:0]

    def _descriptors(self, sources: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """The descriptors [D] of sources [S, S, 3] of any sizes."""
        descriptors: dict[int, NDArray[np.float32]] = {}
        for rows in _rows_by_size(sources).values():
            same_size = np.stack([sources[row] for row in rows])
            descriptors |= zip(rows, self.network.descriptors(same_size), strict=True)
        return [descriptors[row] for row in range(len(sources))]

    def predict_decoded(self, photos: Sequence[DecodedPhoto]) -> list[Prediction]:
        """The diagnoses of decoded photos.

        Photos with sources of one size share a pass of the network, or two with `early_exit`.
        """
        predictions: dict[int, Prediction] = {}
        for rows in _rows_by_size([photo.source.pixels for photo in photos]).values():
            same_size = [photos[row] for row in rows]
            predictions |= zip(rows, self._predict_same_size(same_size), strict=True)
        return [predictions[row] for row in range(len(photos))]

    def _predict_same_size(self, photos: Sequence[DecodedPhoto]) -> list[Prediction]:
        """The diagnoses of photos whose sources have one size."""
        pixels = np.stack([photo.source.pixels for photo in photos])
        if self.early_exit:
            return self._predict_with_early_exit(photos, pixels)
        maps = any(photo.maps for photo in photos)
        return self._predictions(photos, self._all_looks(pixels, maps), self.network.manifest.head)

    def _all_looks(self, pixels: NDArray[np.uint8], maps: bool) -> NetworkArrays:
        """All scales' outputs for sources, with evidence where it is asked for."""
        return self.network(pixels, evidence=True) if maps else self.network(pixels)

    def _predict_with_early_exit(
        self, photos: Sequence[DecodedPhoto], pixels: NDArray[np.uint8]
    ) -> list[Prediction]:
        """Predict with scale 1, then with all scales where scale 1 is not confident enough."""
        manifest = self.network.manifest
        maps = any(photo.maps for photo in photos)
        first_look = self.network.first_look(pixels, evidence=maps)
        if first_look is None or manifest.early_exit is None:
            raise UsageError(
                f"the model {manifest.name} has no first look of its own: leave out the early exit"
            )

        # The first look's answer stands where it is a diagnosis of enough confidence.
        predictions = self._predictions(photos, first_look, scale_head(1))
        unsure_rows = [
            row
            for row, prediction in enumerate(predictions)
            if prediction.verdict != "diagnosis" or prediction.confidence < manifest.early_exit
        ]

        # The others get a second pass, through every scale.
        if unsure_rows:
            unsure_photos = [photos[row] for row in unsure_rows]
            all_looks = self._all_looks(pixels[unsure_rows], maps)
            refined = self._predictions(unsure_photos, all_looks, manifest.head)
            for row, prediction in zip(unsure_rows, refined, strict=True):
                predictions[row] = prediction

        return predictions

    def _predict_stream(
        self, photos: Iterable[PhotoLike], coverage: float | None, maps: bool
    ) -> Generator[Prediction | FailedPhoto, None, None]:
        """Predict batch by batch; leaving the stream early ends the decoding threads."""
        with closing(self._decode_ahead(photos)) as decoded_photos:
            for batch in batches(decoded_photos, self.batch_size):
                yield from self._predict_batch(batch, coverage, maps)

    def _predict_batch(
        self, batch: Sequence[DecodedPhoto | FailedPhoto], coverage: float | None, maps: bool
    ) -> Iterator[Prediction | FailedPhoto]:
        """Predict the decoded photos of a batch; the failed ones keep their positions."""
        decoded = [
            replace(photo, coverage=coverage, maps=maps)
            for photo in batch
            if isinstance(photo, DecodedPhoto)
        ]
        predictions = iter(self.predict_decoded(decoded))
        for photo in batch:
            yield photo if isinstance(photo, FailedPhoto) else next(predictions)

    def _decode_ahead(
        self, photos: Iterable[PhotoLike]
    ) -> Generator[DecodedPhoto | FailedPhoto, None, None]:
        """Decode photos in threads, in their order, at most a batch and a little more ahead."""
        return decode_ahead(photos, self.source_sizes, self.workers, self.batch_size)

    def _predictions(
        self, photos: Sequence[DecodedPhoto], arrays: NetworkArrays, head: str
    ) -> list[Prediction]:
        """The predictions of one head, with every scale that the network has looked at."""
        answers = selective_predictions(arrays, self.network.manifest, self.decisions, head=head)
        return [
            self._prediction(photo, answer, arrays, head, row)
            for row, (photo, answer) in enumerate(zip(photos, answers, strict=True))
        ]

    def _prediction(
        self,
        photo: DecodedPhoto,
        answer: SelectivePrediction,
        arrays: NetworkArrays,
        head: str,
        row: int,
    ) -> Prediction:
        """The prediction for the photo in one row of the network's outputs."""
        manifest = self.network.manifest
        likely = tuple(manifest.labels.decode(answer.label_vector))

        # After an early exit there is one box: scale 1's, the whole photo.
        scales = []
        for scale, boxes in enumerate(arrays.boxes, start=1):
            look = manifest.look_heads[scale - 1]
            box = photo_box(boxes[row], len(photo.source.pixels), photo.source.photo_size)
            by_label = self._by_label(arrays.probabilities[look][row])
            scales.append(ScalePrediction(scale, box, by_label, part_number(look)))

        evidence = None
        if photo.maps and arrays.evidence is not None:
            evidence = self._evidence(photo, arrays.evidence, row)

        # `labels` is empty unless the verdict is a diagnosis; `likely` has the answer all the same.
        return Prediction(
            photo=photo.name,
            labels=likely if answer.verdict == "diagnosis" else (),
            probabilities=self._by_label(arrays.probabilities[head][row]),
            scales=tuple(scales),
            verdict=answer.verdict,
            likely=likely,
            confidence=round(answer.confidence, 6),
            ood_score=None if answer.ood_score is None else round(answer.ood_score, 4),
            model=manifest.name,
            possible=self._possible(photo.coverage, answer, arrays.probabilities[head][row]),
            evidence=evidence,
            exif=photo.source.exif,
            original=photo.original,
        )

    def _evidence(self, photo: DecodedPhoto, arrays: EvidenceArrays, row: int) -> Evidence:
        """The evidence for the photo in one row of the network's outputs."""
        box = None
        if arrays.closest_boxes is not None:
            side = len(photo.source.pixels)
            box = photo_box(arrays.closest_boxes[row], side, photo.source.photo_size)
        labels = self.network.manifest.labels.names
        return Evidence.from_arrays(arrays, row, labels, box)

    def _possible(
        self,
        coverage: float | None,
        answer: SelectivePrediction,
        probabilities: NDArray[np.float32],
    ) -> PossibleAnswers | None:
        """The answers that are possible with a coverage: none of them where it is no leaf."""
        if coverage is None:
            return None
        self._check_coverage(coverage)
        if answer.verdict == "not_a_leaf":
            return ()

        manifest = self.network.manifest
        calibration = calibration_of(manifest, coverage)
        return possible_answers(
            probabilities,
            answer.label_vector,
            manifest.decisions[manifest.head],
            manifest.labels,
            calibration.least_probability(coverage),
        )

    def _check_options(self, coverage: float | None, maps: bool) -> None:
        """Refuse a coverage or maps that this predictor cannot give.

        Raises:
            UsageError, ModelError: as `predict`.
        """
        self._check_coverage(coverage)
        if maps:
            check_evidence(self.network)

    def _check_coverage(self, coverage: float | None) -> None:
        """Refuse a coverage that this predictor cannot give; None is always right.

        Raises:
            UsageError: it is out of range, or the predictor has thresholds of a user or an early
                exit, which the calibration is not of.
            ModelError: the model has no calibration for it.
        """
        if coverage is None:
            return
        calibration_of(self.network.manifest, coverage)
        check_fitted_decision(thresholds=self.has_own_thresholds, early_exit=self.early_exit)

    def _by_label(self, probabilities: NDArray[np.float32]) -> dict[str, float]:
        """Probabilities [L] by the labels' names, rounded to six decimals."""
        labels = self.network.manifest.labels.names
        return {
            label: round(float(probability), 6)
            for label, probability in zip(labels, probabilities, strict=True)
        }


def _rows_by_size(sources: Sequence[NDArray[np.uint8]]) -> dict[int, list[int]]:
    """The rows of the sources of each side; one pass of the network takes one side."""
    rows: dict[int, list[int]] = {}
    for row, source in enumerate(sources):
        rows.setdefault(len(source), []).append(row)
    return rows
