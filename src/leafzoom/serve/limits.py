"""How much the service accepts at once, and the errors of what it refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from leafzoom.errors import LeafzoomError
from leafzoom.photo import MAX_PIXELS
from leafzoom.photo_file import MAX_BYTES

__all__ = [
    "Admission",
    "BodyLimit",
    "BodyTimeout",
    "BusyError",
    "Limits",
    "NoSpaceError",
    "TooLargeError",
    "TooSlowError",
]

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
        request_bytes: of all photos of a request.
        jpeg_pixels: of a JPEG, which is decoded at a reduced scale.
        other_pixels: of a photo in another format. These are decoded at full size, one at a time:
            with transparency, 66 million take 1.3 GB.
        concurrent_photos: that are decoded or wait for their diagnosis, over all requests; a
            request beyond that is refused with 429. The number is small, since each photo waits
            for all admitted before it.
        concurrent_uploads: requests whose body is read at the same time.
        upload_stall_s: how long a body may stop; a slow one is read to its end.
        upload_bytes_per_s: the slowest body that is read to its end.
        answer_timeout_s: for the diagnoses of a request.
        admission_timeout_s: how long several photos of one request wait to be admitted.
    """

    photos: int = 6
    photo_bytes: int = MAX_BYTES
    request_bytes: int = 150 * 2**20
    jpeg_pixels: int = MAX_PIXELS
    other_pixels: int = 66_000_000
    concurrent_photos: int = 4
    concurrent_uploads: int = 16
    upload_stall_s: float = 30.0
    upload_bytes_per_s: int = 1000
    answer_timeout_s: float = 20.0
    admission_timeout_s: float = 3.0

    @property
    def body_bytes(self) -> int:
        """Of a whole request, with room for the form around the photos."""
        return self.request_bytes + _FORM_OVERHEAD_BYTES

    @property
    def size_advice(self) -> str:
        """The limits of sizes, for people whose photos are beyond them."""
        return (
            f"too large: at most {self.photos} photos of {self.photo_bytes >> 20} MB each, "
            f"{self.request_bytes >> 20} MB together"
        )


class BusyError(LeafzoomError):
    """More photos or uploads than the service accepts at once."""


class TooLargeError(LeafzoomError):
    """A request's body, a photo or the number of photos is beyond its limit."""


class NoSpaceError(LeafzoomError):
    """The temporary folder cannot take an upload."""


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


class BodyTimeout:
    """Wraps an ASGI application's `receive`, and ends a body that stalls, not one that is slow.

    As in Apache's mod_reqtimeout, each received byte moves the end; never further away than
    `stall_s`, so that no fast start earns the right to hold a place for hours.

    Args:
        receive: what is wrapped.
        stall_s: how long nothing may come.
        bytes_per_s: the slowest body, on average over some `stall_s`.
    """

    def __init__(self, receive: Receive, *, stall_s: float, bytes_per_s: int) -> None:
        self._receive = receive
        self._stall_s = stall_s
        self._bytes_per_s = bytes_per_s
        self._deadline = time.monotonic() + stall_s

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            TimeoutError: it did not come in time.
        """
        remaining_s = max(self._deadline - time.monotonic(), 0)
        message = await asyncio.wait_for(self._receive(), remaining_s)

        earned_s = len(message.get("body", b"")) / self._bytes_per_s
        self._deadline = min(self._deadline + earned_s, time.monotonic() + self._stall_s)
        return message
