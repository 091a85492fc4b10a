"""What the service takes on, and what it refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from leafzoom.errors import LeafzoomError

__all__ = ["Admission", "BodyLimit", "BusyError", "Limits", "TooLargeError"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


@dataclass(frozen=True)
class Limits:
    """Bounds of one service.

    `photos`: of a request. `photo_bytes`: of a photo. `jpeg_pixels`: JPEG is decoded at reduced scale, so it may have
    more than `other_pixels`. `waiting`: photos that are decoded or wait for their diagnosis, over all requests; more
    are refused with 429. It is small, since whoever is let in waits for all before them. `uploads`: requests whose
    body is being read. `upload_s`, `answer_s`: how long a body and an answer may take. `patience_s`: how long several
    photos of one request wait to be let in.
    """

    photos: int = 6
    photo_bytes: int = 25 * 2**20
    jpeg_pixels: int = 60_000_000
    other_pixels: int = 16_000_000
    waiting: int = 4
    uploads: int = 8
    upload_s: float = 60.0
    answer_s: float = 20.0
    patience_s: float = 3.0

    @property
    def body_bytes(self) -> int:
        """Of a whole request, with room for the form around the photos."""
        return self.photos * self.photo_bytes + 64 * 1024


class BusyError(LeafzoomError):
    """More photos wait than the service takes on."""


class TooLargeError(LeafzoomError):
    """A body beyond its limit."""


class Admission:
    """Counts what is under way, for one event loop.

    Args:
        most: what may be under way at once.
    """

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0
        self._held_for_many = False

    @property
    def full(self) -> bool:
        """Whether not even one more has a place."""
        return self.now >= self.most or self._held_for_many

    def take(self, count: int = 1) -> None:
        """Take `count` places; each is given back with `give_back`.

        Raises:
            BusyError: there are not so many left. Where nothing is under way, any count is let in.
        """
        if self._held_for_many or (self.now and self.now + count > self.most):
            raise BusyError("too many photos at once: try again in a second")
        self.now += count

    async def take_many(self, count: int, patience_s: float) -> None:
        """Take `count` places; several together wait for theirs, and nobody is let in before them.

        Else requests of one photo, one after the other, would keep one of six out for ever.

        Raises:
            BusyError: as `take`; for several together, only when they have waited for `patience_s`.
        """
        if count > 1 and not self._held_for_many:
            until = time.monotonic() + patience_s
            self._held_for_many = True
            try:
                while self.now and self.now + count > self.most and time.monotonic() < until:
                    await asyncio.sleep(0.01)
            finally:
                self._held_for_many = False
        self.take(count)

    def give_back(self, count: int = 1) -> None:
        """Give places back."""
        self.now -= count


class BodyLimit:
    """Wraps an ASGI application's `receive` so that no body grows beyond a limit, whatever its header says."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._left = receive, most

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            TooLargeError: the body is beyond the limit.
        """
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise TooLargeError("the request is too large")
        return message
