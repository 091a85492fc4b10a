"""Photos of concurrent requests, diagnosed together by one thread."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future

from leafzoom.inference.predictor import Prediction, Predictor
from leafzoom.photo import Source

__all__ = ["Batcher"]

_Waiting = tuple[str, Source, "Future[Prediction]"]


class Batcher:
    """Gathers photos that come in at the same time into batches for the predictor.

    One thread works; how many photos may wait is for the caller to bound (see `Admission`).

    Args:
        predictor: diagnoses.
        largest: photos of a batch.
        wait_s: how long the first photo of a batch waits for others.
    """

    def __init__(self, predictor: Predictor, *, largest: int = 8, wait_s: float = 0.004) -> None:
        self._predictor, self._largest, self._wait_s = predictor, largest, wait_s
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="leafzoom-batches", daemon=True)
        self._thread.start()

    def submit(self, name: str, source: Source) -> Future[Prediction]:
        """The diagnosis of a photo that is decoded, as soon as it is there."""
        found: Future[Prediction] = Future()
        self._queue.put((name, source, found))
        return found

    def close(self) -> None:
        """Finish what waits, then stop."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = [first], False
            until = time.monotonic() + self._wait_s
            while len(batch) < self._largest:
                try:
                    entry = self._queue.get(timeout=max(until - time.monotonic(), 0))
                except queue.Empty:
                    break
                if entry is None:
                    last = True
                    break
                batch.append(entry)
            self._diagnose(batch)
            if last:
                return

    def _diagnose(self, batch: list[_Waiting]) -> None:
        """One pass; whatever goes wrong is told to those who wait, and the thread lives on."""
        wanted = [entry for entry in batch if entry[2].set_running_or_notify_cancel()]
        if not wanted:
            return
        try:
            predictions = self._predictor.diagnose([(name, None, source) for name, source, _ in wanted])
        except BaseException as error:
            for _, _, found in wanted:
                found.set_exception(error)
            return
        for (_, _, found), prediction in zip(wanted, predictions, strict=True):
            found.set_result(prediction)
