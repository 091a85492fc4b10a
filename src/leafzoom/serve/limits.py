"""How much the service accepts at once, and the errors of what it refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from leafzoom.errors import LeafzoomError

__all__ = ["Admission", "BodyLimit", "BusyError", "Limits", "TooLargeError", "TooSlowError"]

_FORM_OVERHEAD_BYTES = 64 * 1024
_POLL_SECONDS = 0.01

Message = MutableMapping[str, Any]
"""A message of ASGI."""

Receive = Callable[[], Awaitable[Message]]
"""An ASGI application's `receive`."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one service.

    Attributes:
        photos: of a request.
        photo_bytes: of a photo.
        jpeg_pixels: of a JPEG, which is decoded at a reduced scale.
        other_pixels: of a photo in another format.
        concurrent_photos: that are decoded or wait for their diagnosis, over all requests; a
            request beyond that is refused with 429. The number is small, since each photo waits
            for all admitted before it.
        concurrent_uploads: requests whose body is read at the same time.
        upload_timeout_s: for reading a body.
        answer_timeout_s: for the diagnoses of a request.
        admission_timeout_s: how long several photos of one request wait to be admitted.
    """

    photos: int = 6
    photo_bytes: int = 25 * 2**20
    jpeg_pixels: int = 60_000_000
    other_pixels: int = 16_000_000
    concurrent_photos: int = 4
    concurrent_uploads: int = 8
    upload_timeout_s: float = 60.0
    answer_timeout_s: float = 20.0
    admission_timeout_s: float = 3.0

    @property
    def body_bytes(self) -> int:
        """Of a whole request, with room for the form around the photos."""
        return self.photos * self.photo_bytes + _FORM_OVERHEAD_BYTES


class BusyError(LeafzoomError):
    """More photos or uploads than the service accepts at once."""


class TooLargeError(LeafzoomError):
    """A request's body, a photo or the number of photos is beyond its limit."""


class TooSlowError(LeafzoomError):
    """The diagnoses of a request took longer than the service lets them."""


class Admission:
    """Counts the photos or uploads in progress, for one event loop.

    Args:
        capacity: how many may be in progress at once.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.in_progress = 0
        self._reserved = False

    @property
    def full(self) -> bool:
        """Whether one more would be refused."""
        return self.in_progress >= self.capacity or self._reserved

    def acquire(self, count: int = 1) -> None:
        """Admit `count` at once; `release` each when it is done.

        Any count is admitted where nothing is in progress.

        Raises:
            BusyError: there is no room for so many, or several others are waiting for it.
        """
        if self._reserved or not self._has_room_for(count):
            raise BusyError("too many photos at once: try again in a second")
        self.in_progress += count

    async def acquire_many(self, count: int, timeout_s: float) -> None:
        """Admit `count` together; while several wait for room, no other is admitted.

        Otherwise requests of one photo each would keep a request of six out for ever.

        Raises:
            BusyError: as `acquire`; for several together only after `timeout_s`.
        """
        # Reserve the room that becomes free; one photo does not wait.
        if count > 1 and not self._reserved:
            deadline = time.monotonic() + timeout_s
            self._reserved = True
            try:
                while not self._has_room_for(count) and time.monotonic() < deadline:
                    await asyncio.sleep(_POLL_SECONDS)
            finally:
                self._reserved = False

        # This refuses them if the room did not become free in time.
        self.acquire(count)

    def release(self, count: int = 1) -> None:
        """Count `count` as done."""
        self.in_progress -= count

    def _has_room_for(self, count: int) -> bool:
        return not self.in_progress or self.in_progress + count <= self.capacity


class BodyLimit:
    """Wraps an ASGI application's `receive`, and ends a body that grows beyond a limit.

    It counts the bytes that arrive, whatever the header Content-Length claims.
    """

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._remaining_bytes = max_bytes

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            TooLargeError: the body is beyond the limit.
        """
        message = await self._receive()
        self._remaining_bytes -= len(message.get("body", b""))
        if self._remaining_bytes < 0:
            raise TooLargeError("the request is too large")
        return message
