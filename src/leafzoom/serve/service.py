"""The state of a running service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from leafzoom.inference.predictor import DecodedPhoto, Predictor
from leafzoom.photo import Source
from leafzoom.serve.access import Access
from leafzoom.serve.batching import Batcher
from leafzoom.serve.limits import Admission, Limits
from leafzoom.serve.monitoring import Monitoring

__all__ = ["Service"]

_DECODER_THREADS = 2
_GREY = 128


class Service:
    """The predictor of a service, with everything that its requests share.

    Args:
        predictor: what diagnoses.
        access: who may ask; by default everyone.
        limits: how much is accepted at once.
        coverage: of the possible answers, where a request names none.

    Attributes:
        ready: true after the self-test of `start`, until the service stops or begins to.
        photos: the admission of photos.
        uploads: the admission of requests whose body is read.
        full_size_decoding: held while a photo is decoded at its full size.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        access: Access | None = None,
        limits: Limits | None = None,
        coverage: float | None = None,
    ) -> None:
        self.predictor = predictor
        self.access = access or Access()
        self.limits = limits or Limits()
        self.coverage = coverage
        self.ready = False

        # How much is in progress, how much may be, and the counts that operators see.
        self.photos = Admission(self.limits.concurrent_photos)
        self.uploads = Admission(self.limits.concurrent_uploads)
        self.monitoring = Monitoring(lambda: self.photos.in_progress, predictor.network.manifest)

        # A photo that is not decoded at a reduced scale takes gigabytes where it is very large.
        self.full_size_decoding = threading.Lock()

        # Decoding and predicting run in threads, so that the event loop stays free.
        self.batcher = Batcher(predictor)
        self.decoders = ThreadPoolExecutor(_DECODER_THREADS, thread_name_prefix="leafzoom-decode")
        self._background_tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the batches, and be ready after the prediction of a grey picture."""
        self.batcher.start()

        # The first prediction shows that the model runs, and warms it up. The page asks for maps.
        size = self.predictor.network.manifest.source_size
        pixels = np.full((size, size, 3), _GREY, np.uint8)
        maps = self.predictor.network.has_evidence
        self_test = DecodedPhoto("self-test", Source(pixels, (size, size)), maps=maps)
        await asyncio.wrap_future(self.batcher.submit(self_test))
        self.ready = True

    async def stop(self) -> None:
        """Finish the photos in the batches' queue, and stop the threads."""
        self.ready = False
        await asyncio.to_thread(self.batcher.close)
        self.decoders.shutdown(wait=False, cancel_futures=True)

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that no request waits for."""
        # The event loop itself holds no reference to a task, which could vanish before its end.
        task = asyncio.ensure_future(work)
        self._background_tasks.add(task)
        task.add_done_callback(self._background_tasks.discard)
