"""Photos of concurrent requests, predicted together by one thread."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field

from leafzoom.inference.prediction import Prediction
from leafzoom.inference.predictor import DecodedPhoto, Predictor

__all__ = ["Batcher"]


@dataclass(frozen=True)
class _PendingPhoto:
    """A photo in the queue, and the future of its prediction."""

    photo: DecodedPhoto
    future: Future[Prediction] = field(default_factory=Future)


class Batcher:
    """Gathers photos that arrive at the same time into batches for the predictor.

    One thread predicts. The caller limits how many photos wait (see `Admission`).

    Args:
        predictor: what predicts the batches.
        max_batch_size: photos of a batch.
        max_wait_s: how long the first photo of a batch waits for others.
    """

    def __init__(
        self, predictor: Predictor, *, max_batch_size: int = 8, max_wait_s: float = 0.004
    ) -> None:
        self._predictor = predictor
        self._max_batch_size = max_batch_size
        self._max_wait_s = max_wait_s

        # None ends the thread.
        self._queue: queue.SimpleQueue[_PendingPhoto | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="leafzoom-batches", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, photo: DecodedPhoto) -> Future[Prediction]:
        """The future prediction of a photo."""
        pending = _PendingPhoto(photo)
        self._queue.put(pending)
        return pending.future

    def close(self) -> None:
        """Predict the photos in the queue, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            self._predict(self._collect_batch(first))

    def _collect_batch(self, first: _PendingPhoto) -> list[_PendingPhoto]:
        """The first photo, and those that arrive within `max_wait_s`."""
        batch = [first]
        deadline = time.monotonic() + self._max_wait_s

        while len(batch) < self._max_batch_size:
            remaining_s = max(deadline - time.monotonic(), 0)
            try:
                pending = self._queue.get(timeout=remaining_s)
            except queue.Empty:
                break

            if pending is None:
                # The end is for `_run`, after this batch.
                self._queue.put(None)
                break
            batch.append(pending)

        return batch

    def _predict(self, batch: list[_PendingPhoto]) -> None:
        """One pass of the network; its error goes to all of the batch, and the thread goes on."""
        # A request that has ended has cancelled its future.
        running = [pending for pending in batch if pending.future.set_running_or_notify_cancel()]
        if not running:
            return

        # An error must not end the thread, or all later photos would wait for ever.
        try:
            predictions = self._predictor.predict_decoded([pending.photo for pending in running])
        except BaseException as error:
            for pending in running:
                pending.future.set_exception(error)
            return

        for pending, prediction in zip(running, predictions, strict=True):
            pending.future.set_result(prediction)
