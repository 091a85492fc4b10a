"""Batches of the photos of concurrent requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from leafzoom.inference.loading import open_network
from leafzoom.inference.prediction import Prediction
from leafzoom.inference.predictor import DecodedPhoto, Predictor
from leafzoom.photo import Source, read_source
from leafzoom.serve.batching import Batcher

TIMEOUT_SECONDS = 60


@pytest.fixture
def source(photo_bytes: bytes) -> Source:
    return read_source(photo_bytes, 96)


class GatedPredictor(Predictor):
    """Notes the batches' sizes, waits for `gate`, and fails while `error` is set."""

    def __init__(self, model: Path) -> None:
        super().__init__(open_network(str(model)))
        self.batch_sizes: list[int] = []
        self.gate = threading.Event()
        self.error: Exception | None = None

    def predict_decoded(self, photos: Sequence[DecodedPhoto]) -> list[Prediction]:
        self.batch_sizes.append(len(photos))
        assert self.gate.wait(TIMEOUT_SECONDS)
        if self.error:
            raise self.error
        return super().predict_decoded(photos)


@pytest.fixture
def predictor(trained: Path) -> GatedPredictor:
    return GatedPredictor(trained)


@pytest.fixture
def batcher(predictor: GatedPredictor) -> Iterator[Batcher]:
    batcher = Batcher(predictor, max_batch_size=4)
    batcher.start()
    yield batcher
    batcher.close()


def test_photos_that_wait_are_predicted_in_batches(
    batcher: Batcher, predictor: GatedPredictor, source: Source
) -> None:
    futures = [batcher.submit(DecodedPhoto(str(number), source)) for number in range(9)]
    predictor.gate.set()

    predictions = [future.result(TIMEOUT_SECONDS) for future in futures]
    assert [prediction.photo for prediction in predictions] == [str(n) for n in range(9)]
    assert max(predictor.batch_sizes) == 4
    assert sum(predictor.batch_sizes) == 9


def test_an_error_goes_to_its_batch_and_the_thread_goes_on(
    batcher: Batcher, predictor: GatedPredictor, source: Source
) -> None:
    predictor.gate.set()
    predictor.error = RuntimeError("no memory")
    with pytest.raises(RuntimeError, match="no memory"):
        batcher.submit(DecodedPhoto("x", source)).result(TIMEOUT_SECONDS)

    predictor.error = None
    prediction = batcher.submit(DecodedPhoto("y", source)).result(TIMEOUT_SECONDS)
    assert prediction.photo == "y"


def test_closing_predicts_the_photos_that_wait(
    batcher: Batcher, predictor: GatedPredictor, source: Source
) -> None:
    futures = [batcher.submit(DecodedPhoto(str(number), source)) for number in range(6)]
    predictor.gate.set()
    closing = threading.Thread(target=batcher.close)
    closing.start()
    closing.join(TIMEOUT_SECONDS)

    assert all(future.done() for future in futures)
